import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyBaseLogger } from 'fastify'
import { type CloseCause, closeCauses, isSendableCloseCode, truncateCloseReason } from '../close-codes.ts'
import { isInstance, readText } from '../errors.ts'
import type { Identity } from '../limits/store.ts'
import { EncodeError } from '../messages/encode.ts'
import { isObject } from '../messages/is-object.ts'
import { discardUnread } from './discard.ts'
import type { ConnectionEventName, EventPayload, OwnFields } from './event-table.ts'
import type { GuardedSocket } from './guarded-socket.ts'
import type { Inflow } from './inflow.ts'
import { hasRoom, put, releaseBuffered } from './outbound.ts'
import type { Admitted, Frame } from './parts.ts'
import { isPromise } from './promises.ts'
import type { Runtime } from './runtime.ts'
import type { CloseInfo, ConnectionSettings, ConnectionState, WsConnection } from './types.ts'

/** After an abusive end the close frame has this long to leave; then the socket is destroyed (threat R7). */
export const abuseGraceMs = 250

/** Why reading is paused; a socket reads again when no reason is left. */
export const pausedBy = { limit: 1, queue: 2, drain: 4, auth: 8, budget: 16 } as const

/**
 * The one place where the state of an open socket lives: open → closing → closed, each step once. What happens to
 * frames is in `inbound.ts`, the credential in `session.ts`, time in `heartbeat.ts`.
 */
export class Connection implements WsConnection {
  readonly id: string = makeId()
  readonly openedAt: number
  /** `openedAt` on the clock that never jumps. */
  readonly startedAt: number
  /** When its handshake began, on the same clock: the client may have its 101 before we are back at it. */
  readonly askedAt: number
  readonly ip: string
  readonly params: unknown
  readonly socket: GuardedSocket
  readonly settings: ConnectionSettings
  readonly runtime: Runtime

  data: unknown
  user: unknown
  identity: Identity | undefined
  state: ConnectionState = 'open'
  cause: CloseCause | undefined

  /** @internal the raw socket: ws forgets it when it closes */
  readonly rawSocket: Duplex
  /** @internal position in the registry's list */
  position = -1
  /** @internal topics subscribed to */
  topicKeys: Set<string> | undefined

  // Inbound: see inbound.ts.
  /** None while the peer is silent: `inflowOf` makes one. */
  inflow: Inflow | undefined
  /** True while a handler or `onOpen` runs: the next message waits. */
  busy = true
  /** Set until the first message has authenticated the connection: it gets every frame meanwhile. */
  authenticate: ((frame: Frame) => void) | undefined
  /** True once `onOpen` was called: only then `onClose` is owed. */
  opened = false
  received = 0
  refreshes = 0
  /** True while a new credential is looked at: not a handler that somebody would have to wait for. */
  refreshing = false
  /** Gives back what a connection holds until its first message has said who it is. */
  leaveWaiting: (() => void) | undefined
  refreshedSince = 0

  // Outbound: see outbound.ts.
  sent = 0
  dropped = 0
  countedBytes = 0
  /** Written to at the end of this turn of the event loop. */
  isDirty = false

  // Time, in ms of the monotonic clock: see heartbeat.ts. A deadline that is undefined never comes.
  heardAt: number
  tickedAt: number
  pingSentAt = 0
  bufferedAtTick = 0
  messageAt: number
  lifetimeEndsAt: number | undefined
  authDeadline: number | undefined
  /** What passing `authDeadline` means: no message, or a verifier that does not answer. */
  authDeadlineCause: CloseCause = 'unauthorized'
  jobDeadline: number | undefined
  closeDeadline: number | undefined
  reauthorizeAt: number | undefined

  #query: unknown
  #paused = 0
  #abort: AbortController | undefined
  #log: FastifyBaseLogger | undefined
  #closeCode = 1006
  #closeReason = ''
  #idle: (() => void) | undefined
  #whenIdle: Promise<void> | undefined

  constructor(
    socket: GuardedSocket,
    rawSocket: Duplex,
    settings: ConnectionSettings,
    runtime: Runtime,
    admitted: Admitted
  ) {
    const now = runtime.clock.now()
    this.socket = socket
    this.rawSocket = rawSocket
    this.settings = settings
    this.runtime = runtime
    this.openedAt = runtime.clock.wall()
    this.startedAt = now
    this.askedAt = admitted.askedAt
    this.ip = admitted.ip
    this.params = admitted.params
    if (!isBlank(admitted.query)) this.#query = admitted.query
    this.data = admitted.data
    this.user = admitted.user
    this.identity = admitted.identity
    this.heardAt = now
    this.tickedAt = now
    this.messageAt = now
  }

  get query(): unknown {
    if (this.#query === undefined) this.#query = {}
    return this.#query
  }

  get protocol(): string {
    return this.socket.protocol
  }

  get expiresAt(): number | undefined {
    return this.identity?.expiresAt
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      if (this.state !== 'open') this.#abort.abort()
    }
    return this.#abort.signal
  }

  get log(): FastifyBaseLogger {
    this.#log ??= this.settings.log.child({ connectionId: this.id, route: this.settings.path })
    return this.#log
  }

  /** A raw route's handler may run for as long as the connection: nobody waits for it. */
  get isRunningHandler(): boolean {
    return this.busy && this.settings.contract !== undefined
  }

  get paused(): boolean {
    return this.#paused !== 0
  }

  send(type: string, message: unknown): boolean {
    if (this.state !== 'open') return false
    const outgoing = this.settings.contract?.outgoing.get(type)
    if (outgoing === undefined) throw new EncodeError(`message "${String(type)}"`, '/type', 'is none of serverToClient')
    return hasRoom(this) && put(this, outgoing.encode(message))
  }

  subscribe(topic: string): Promise<boolean> {
    return this.runtime.topics.subscribe(this, topic)
  }

  unsubscribe(topic: string): void {
    this.runtime.topics.unsubscribe(this, topic)
  }

  close(code?: number, reason?: string): void {
    if (code !== undefined && !isSendableCloseCode(code)) {
      const shown = typeof code === 'number' ? code : typeof code
      this.#complain({ code: shown }, 'connection.close: a code that may not be sent; 1011 is sent instead')
      this.end('server', this.runtime.closeCodes.internal_error)
    } else {
      this.end('server', code, reason)
    }
  }

  /**
   * Starts the end: nothing is dispatched or sent from here on (RFC 6455 section 5.5.1; threat M2). A cause without a
   * close code destroys the socket at once. The first call wins.
   */
  end(cause: CloseCause, code?: number, reason?: string): void {
    if (this.state !== 'open') return
    const entry = closeCauses[cause]
    if (entry.code === null) {
      this.cause = cause
      this.#leaveOpen()
      this.socket.terminate()
      return
    }
    this.#startClose(cause, code ?? this.runtime.closeCodes[entry.code], this.#checkReason(reason ?? entry.reason))
    this.closeDeadline = this.runtime.clock.now() + (entry.abusive ? abuseGraceMs : this.settings.closeTimeoutMs)
    if (entry.abusive) discardUnread(this.rawSocket)
    else this.#resumeForGood()
  }

  /**
   * The end for a shutdown: the client learns at once that it should reconnect, but its socket stays until the
   * running handler and `onClose` have settled, so that the app's own onClose hooks run after them (threat P5). A raw
   * route's handler may itself wait for the socket to close, so the socket does not wait for that one.
   * @returns when the handler and `onClose` have settled
   */
  async drain(): Promise<void> {
    if (this.state === 'open') {
      this.pause(pausedBy.drain)
      this.#startClose('restart', this.runtime.closeCodes.restart, closeCauses.restart.reason)
    }
    const idle = this.#settled()
    if (this.settings.contract !== undefined) await idle
    await this.finish()
    this.#awaitSocket()
    await idle
  }

  /** An end that ws has already answered, or that cannot be answered: the socket has a moment left to say so. */
  endUnanswered(cause: CloseCause, code: number): void {
    if (this.state !== 'open') return
    this.cause = cause
    this.#closeCode = code
    this.#leaveOpen()
    this.closeDeadline = this.runtime.clock.now() + abuseGraceMs
  }

  /**
   * Closed, whatever ended it: everything the connection held is released, then `onClose` runs, once.
   * @returns when `onClose` has settled
   */
  finish(): Promise<void> {
    if (this.state === 'closed') return Promise.resolve()
    this.state = 'closed'
    this.runtime.registry.remove(this)
    const code = this.#closeCode
    const reason = this.#closeReason
    const cause = this.cause as CloseCause
    this.report('ws.close', {
      code,
      reason,
      cause,
      ms: Math.round(this.runtime.clock.now() - this.startedAt),
      received: this.received,
      sent: this.sent,
      dropped: this.dropped,
      // Of a net.Socket; a test's own duplex need not count.
      receivedBytes: (this.rawSocket as Partial<Socket>).bytesRead,
      sentBytes: (this.rawSocket as Partial<Socket>).bytesWritten
    })
    const closed = this.#runOnClose({ code, reason, cause })
    const { registry } = this.runtime
    const { handlerTimeoutMs } = this.settings
    if (this.settings.onClose !== undefined) registry.trackClosing(closed, handlerTimeoutMs)
    // A handler that outlives its connection: a shutdown waits for it too. A raw one may run for as long as it likes.
    if (this.settings.contract !== undefined && !this.#isSettled) {
      registry.trackClosing(this.#settled(), handlerTimeoutMs)
    }
    return closed
  }

  /** Destroys the socket of a connection that is already ending. */
  terminate(): void {
    const isTold = this.cause === 'client' || closeCauses[this.cause as CloseCause].abusive
    if (!isTold) this.cause = 'close_timeout'
    this.socket.terminate()
  }

  /** Called when the running handler or `onOpen` has settled. */
  becomeIdle(): void {
    this.busy = false
    this.jobDeadline = undefined
    this.#idle?.()
  }

  isPausedBy(reason: number): boolean {
    return (this.#paused & reason) !== 0
  }

  pause(reason: number): void {
    this.#paused |= reason
    this.socket.pause()
  }

  resume(reason: number): void {
    if (this.#paused === 0) return
    this.#paused &= ~reason
    if (this.#paused === 0) this.socket.resume()
  }

  /** An event about this connection, with the identifiers every event carries. */
  report<N extends ConnectionEventName>(event: N, fields: OwnFields<N>, error?: unknown): void {
    const { settings, runtime, id, ip, identity } = this
    const payload = { connectionId: id, route: settings.path, ip, sub: identity?.subject, ...fields }
    runtime.events.emit(event, settings.log, payload as EventPayload<N>, error)
  }

  /** An error the developer's own code threw: logged with the connection's id, shown to `onError`, never to the peer. */
  reportError(error: unknown, where: OwnFields<'ws.handler_error'>['reason']): void {
    // Work that `signal` has stopped did as it was told.
    if (this.#abort?.signal.aborted && isAbortError(error)) return
    this.report('ws.handler_error', { reason: where }, error)
    try {
      const seen = this.settings.onError?.(error, this)
      if (isPromise(seen))
        seen.then(undefined, (second) => this.report('ws.handler_error', { reason: 'onError' }, second))
    } catch (second) {
      this.report('ws.handler_error', { reason: 'onError' }, second)
    }
  }

  async #runOnClose(info: CloseInfo): Promise<void> {
    if (!this.opened) return
    try {
      await this.settings.onClose?.(this, info)
    } catch (error) {
      this.reportError(error, 'onClose')
    }
  }

  #startClose(cause: CloseCause, code: number, reason: string): void {
    this.runtime.topics.catchUp(this)
    this.cause = cause
    this.#closeCode = code
    this.#closeReason = reason
    this.#leaveOpen()
    this.socket.close(code, reason)
  }

  /** Leaves the open state and lets go of everything that only an open connection has. */
  #leaveOpen(): void {
    this.state = 'closing'
    this.leaveWaiting?.()
    clearTimeout(this.inflow?.spell?.timer)
    this.inflow = undefined
    this.runtime.topics.release(this)
    releaseBuffered(this)
    this.#abort?.abort()
  }

  /** True when no handler of the developer's runs. */
  get #isSettled(): boolean {
    return !this.busy || !this.opened || this.refreshing
  }

  /** Resolves when the handler or `onOpen` that runs now has settled; at once when none does. */
  #settled(): Promise<void> {
    if (this.#isSettled) return Promise.resolve()
    this.#whenIdle ??= new Promise((resolve) => (this.#idle = resolve))
    return this.#whenIdle
  }

  /** No longer in the registry, so the heartbeat does not see it: one timer of its own, for a peer that never answers. */
  #awaitSocket(): void {
    if (this.rawSocket.closed) return
    const timer = setTimeout(() => this.socket.terminate(), this.settings.closeTimeoutMs)
    this.rawSocket.once('close', () => clearTimeout(timer))
    this.#resumeForGood()
  }

  #resumeForGood(): void {
    if (this.#paused === 0) return
    this.#paused = 0
    this.socket.resume()
  }

  #checkReason(reason: unknown): string {
    const cut = truncateCloseReason(typeof reason === 'string' ? reason : '')
    if (cut !== reason) this.#complain({}, 'connection.close: a reason that is no string, or above 123 bytes, was cut')
    return cut
  }

  /** A logger that fails keeps no connection open. */
  #complain(fields: object, message: string): void {
    try {
      this.log.error(fields, message)
    } catch {
      // The line is lost.
    }
  }
}

function isAbortError(error: unknown): boolean {
  return isInstance(error, Error) && readText(error, 'name') === 'AbortError'
}

/** Fastify makes an object for each URL without a query. */
function isBlank(query: unknown): boolean {
  return isObject(query) && Object.getPrototypeOf(query) === Object.prototype && Object.keys(query).length === 0
}

/** V8 keeps what it joins as its pieces: copied, the 36 characters of an id take a ninth of the memory. */
function makeId(): string {
  return Buffer.from(randomUUID(), 'latin1').toString('latin1')
}
