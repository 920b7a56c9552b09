import type { Connection } from './connection.ts'
import { isExpired } from './dispatch.ts'
import { endClosed } from './inbound.ts'
import { countBuffered } from './outbound.ts'
import { reauthorize } from './refresh.ts'
import type { Runtime } from './runtime.ts'
import { endUnauthenticated } from './session.ts'

/** Every connection is visited once in `tickMs * slicesPerSweep` ms, a slice at a time: no sweep stops the loop. */
export const tickMs = 50
export const slicesPerSweep = 4
/**
 * A slice that takes longer stops there, and the next tick goes on: 10,000 pings, or ends, that are due at once would
 * stop the loop for more than 100 ms.
 */
export const maxSliceMs = 3
/** Visits between two looks at the clock. */
const visitsPerLook = 16

/** A peer that has sent its close frame, and has our answer, may hold its socket for this long. */
export const closedGraceMs = 1_000

/**
 * The one timer of all connections: heartbeat, expiry, lifetime, idle, and the deadlines of handlers, of the auth
 * message and of the close handshake. Comparing times instead of setting timers also holds for an `exp` beyond the
 * 24.8 days of a timer (threat Z3).
 */
export class Heartbeat {
  readonly #runtime: Runtime
  #timer: NodeJS.Timeout | undefined
  #cursor = 0

  constructor(runtime: Runtime) {
    this.#runtime = runtime
    runtime.registry.onFirst(() => this.#start())
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #start(): void {
    this.#timer ??= setInterval(() => this.#tick(), tickMs).unref()
  }

  #tick(): void {
    const { registry, clock } = this.#runtime
    const { list } = registry
    if (list.length === 0) return this.stop()
    const now = clock.now()
    for (let left = Math.ceil(list.length / slicesPerSweep); left > 0; left--) {
      if (this.#cursor >= list.length) this.#cursor = 0
      visit(list[this.#cursor++] as Connection, now)
      if (left % visitsPerLook === 0 && clock.now() - now >= maxSliceMs) return
    }
  }
}

/** What time does to one connection. */
export function visit(connection: Connection, now: number): void {
  const elapsedMs = now - connection.tickedAt
  connection.tickedAt = now
  if (connection.state !== 'open') {
    if (isOver(connection.closeDeadline, now)) connection.terminate()
    return
  }
  // Closed by the peer, which has our answer, or by the developer past the connection: its socket is waited for.
  if (connection.socket.readyState !== connection.socket.OPEN) {
    const { closeTimeoutMs } = connection.settings
    const { _closeCode: code } = connection.socket
    endClosed(connection, code)
    connection.closeDeadline = now + (code === 1006 ? closeTimeoutMs : Math.min(closeTimeoutMs, closedGraceMs))
    return
  }
  const { idleTimeoutMs } = connection.settings
  // Who waits for us is not idle.
  if (connection.paused || connection.isRunningHandler) connection.messageAt = now
  if (isExpired(connection) || isOver(connection.lifetimeEndsAt, now)) connection.end('session_expired')
  else if (isOver(connection.authDeadline, now)) missAuthDeadline(connection)
  else if (isOver(connection.inflow?.waiting?.deadline, now)) connection.end('unavailable')
  else if (isOver(connection.jobDeadline, now)) connection.end('handler_timeout')
  else if (idleTimeoutMs !== false && now - connection.messageAt >= idleTimeoutMs) connection.end('idle')
  else {
    if (connection.opened && isOver(connection.reauthorizeAt, now)) reauthorize(connection, now)
    beat(connection, now, elapsedMs)
    countBuffered(connection)
    if (connection.inflow?.isAtRest(connection.settings.limits, now)) connection.inflow = undefined
  }
}

function isOver(deadline: number | undefined, now: number): boolean {
  return deadline !== undefined && now >= deadline
}

function missAuthDeadline(connection: Connection): void {
  const { authDeadlineCause: cause } = connection
  if (cause === 'unauthorized') endUnauthenticated(connection)
  else connection.end(cause)
}

/**
 * Pings a peer that has said nothing for `intervalMs`; ends it when nothing came back within `timeoutMs`. Time does not
 * count while we paused the socket ourselves (a pong cannot be seen) or while its send buffer shrinks (the ping is
 * behind a backlog that the peer is reading).
 */
function beat(connection: Connection, now: number, elapsedMs: number): void {
  const { intervalMs, timeoutMs } = connection.settings.heartbeat
  const buffered = connection.socket.bufferedAmount
  const isExcused = connection.paused || buffered < connection.bufferedAtTick
  connection.bufferedAtTick = buffered
  if (connection.pingSentAt === 0) {
    if (now - connection.heardAt < intervalMs) return
    connection.pingSentAt = now
    connection.socket.ping()
  } else if (isExcused) {
    connection.pingSentAt += elapsedMs
  } else if (now - connection.pingSentAt >= timeoutMs) {
    connection.report('ws.heartbeat_timeout', { reason: 'no_pong' })
    connection.end('heartbeat_timeout')
  }
}
