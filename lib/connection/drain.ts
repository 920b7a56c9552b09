import { setImmediate, setTimeout } from 'node:timers/promises'
import type { Connection } from './connection.ts'
import type { Runtime } from './runtime.ts'

/** How a shutdown goes. */
export interface ShutdownOptions {
  /** Until the last socket is destroyed, whatever it is doing. */
  readonly timeoutMs: number
  /** The closes are spread over this time, so that a fleet of clients does not come back at once (threat P6). */
  readonly spreadMs: number
}

/** At most so many connections are told in one turn of the loop. */
export const drainBatchSize = 100
/** A spread takes steps of about this time, or one connection a step. */
const spreadStepMs = 50

/**
 * Closes every connection with 1012 in batches and waits until their sockets are gone and every handler and `onClose`
 * has settled, at most `timeoutMs`; then it destroys what is left (threat P5).
 */
export async function drainConnections(runtime: Runtime, { timeoutMs, spreadMs }: ShutdownOptions): Promise<void> {
  const connections = [...runtime.registry.list]
  const deadline = new AbortController()
  const timer = globalThis.setTimeout(() => deadline.abort(), timeoutMs)
  const gone = connections.map((connection) => socketClosed(connection))
  const drained = tellAll(connections, spreadMs, deadline.signal).then(async (drains) => {
    await Promise.all([...drains, ...gone])
    // Also of connections that had ended before: they are in no list any more.
    await Promise.all(runtime.registry.closing)
  })
  await Promise.race([drained, aborted(deadline.signal)])
  clearTimeout(timer)
  for (const { rawSocket } of connections) rawSocket.destroy()
}

async function tellAll(
  connections: readonly Connection[],
  spreadMs: number,
  signal: AbortSignal
): Promise<Promise<void>[]> {
  const drains: Promise<void>[] = []
  const { length } = connections
  const steps = Math.max(Math.ceil(length / drainBatchSize), Math.min(length, Math.ceil(spreadMs / spreadStepMs)))
  for (let step = 1; step <= steps; step++) {
    const batch = connections.slice(drains.length, Math.round((step * length) / steps))
    drains.push(...batch.map((connection) => connection.drain()))
    if (step === steps || signal.aborted) break
    if (spreadMs > 0) await setTimeout(spreadMs / steps, undefined, { signal }).catch(() => {})
    else await setImmediate()
  }
  return drains
}

function socketClosed({ rawSocket }: Connection): Promise<void> {
  return new Promise((resolve) => {
    if (rawSocket.closed) resolve()
    else rawSocket.once('close', () => resolve())
  })
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
