/** Waiting without sleeping: for a condition, for an event, for a server's connections. */
import type { EventEmitter } from 'node:events'
import { once as eventOnce } from 'node:events'
import type { Server } from 'node:net'
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises'

export interface UntilOptions {
  /** Default 2000. */
  readonly timeoutMs?: number
  /** Between two questions. Default: a turn of the event loop, which leaves no time to a process that is asked. */
  readonly everyMs?: number
  /** What is waited for, for the error. */
  readonly what?: string
}

const defaultTimeoutMs = 2000

/** Resolves with the first truthy value of `probe`, which is asked every turn of the event loop, or `everyMs`. */
export async function until<T>(
  probe: () => T | Promise<T>,
  { timeoutMs = defaultTimeoutMs, everyMs = 0, what = 'the condition' }: UntilOptions = {}
): Promise<Exclude<T, false | 0 | '' | null | undefined>> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const value = await probe()
    if (value) return value as Exclude<T, false | 0 | '' | null | undefined>
    if (performance.now() > deadline) throw new Error(`${what} did not come true within ${timeoutMs} ms`)
    await (everyMs > 0 ? pause(everyMs) : nextTurn())
  }
}

/** Repeats an assertion until it no longer throws; at the end of the time its own error comes out. */
export async function eventually<T>(
  assertion: () => T | Promise<T>,
  { timeoutMs = defaultTimeoutMs, everyMs = 0 }: UntilOptions = {}
): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    try {
      return await assertion()
    } catch (error) {
      if (performance.now() > deadline) throw error
      await (everyMs > 0 ? pause(everyMs) : nextTurn())
    }
  }
}

/** `events.once` with a deadline; the arguments of the event. */
export async function once(
  emitter: EventEmitter,
  event: string,
  { timeoutMs = defaultTimeoutMs }: UntilOptions = {}
): Promise<unknown[]> {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(), timeoutMs)
  try {
    return await eventOnce(emitter, event, { signal: controller.signal })
  } catch (error) {
    if (controller.signal.aborted) throw new Error(`no '${event}' event within ${timeoutMs} ms`)
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/** `promise`, or an error that names it after `timeoutMs` (default 2000). */
export async function within<T>(
  promise: Promise<T>,
  { timeoutMs = defaultTimeoutMs, what = 'the promise' }: UntilOptions = {}
): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not settle within ${timeoutMs} ms`)), timeoutMs)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** How many sockets the server holds. */
export function connectionsOf(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error ? reject(error) : resolve(count)))
  })
}
