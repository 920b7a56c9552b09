import type { FastifyRequest } from 'fastify'
import { type CloseCause, closeCauses } from '../close-codes.ts'
import { MessageError } from '../errors.ts'
import type { Identity } from '../limits/store.ts'
import type { CompiledContract } from '../messages/compile-contract.ts'
import { parseJson } from '../messages/decode.ts'
import { encodeAuthOk } from '../messages/encode.ts'
import { isObject } from '../messages/is-object.ts'
import { type Connection, isPromise, pausedBy } from './connection.ts'
import { accept, isServed, open } from './dispatch.ts'
import { write } from './outbound.ts'
import type { Frame } from './parts.ts'

/** A verified credential. */
export interface Verified {
  readonly user: unknown
  readonly identity: Identity | undefined
}

/** What a verifier says after the 101; `errorCode` is for the log, never for the peer. */
export type VerifyOutcome =
  | (Verified & { readonly ok: true })
  | { readonly ok: false; readonly cause: 'unauthorized' | 'unavailable'; readonly errorCode: string }

/** The life of a credential on an open connection, as the handshake stage knows how to do it. */
export interface Session {
  /** Verifies a token sent in an `auth` message; stops when `connection.signal` is aborted, if the verifier can. */
  readonly verify: (token: string, connection: Connection) => Promise<VerifyOutcome>
  /** Asks the route's `authorize`, where it has one. */
  readonly authorize: ((user: unknown, connection: Connection) => boolean | Promise<boolean>) | undefined
  readonly refresh: { readonly perMinute: number } | false
}

/** Slots, `authorize` and `data` for a connection that authenticates after its 101. */
export type AdmitLate = (verified: Verified) => Promise<CloseCause | undefined>

/**
 * Sets what ends a connection by time: max lifetime with 10 % jitter, so that a fleet does not return at once. A
 * revocation that came while the handshake ran did not find the connection: it is asked for once more.
 */
export function startSession(connection: Connection, now: number): void {
  const { maxLifetimeMs, reauthorizeMs } = connection.settings
  if (maxLifetimeMs !== false) connection.lifetimeEndsAt = now + maxLifetimeMs * (0.9 + 0.2 * Math.random())
  if (reauthorizeMs !== false) connection.reauthorizeAt = now + reauthorizeMs
  void endIfRefused(connection)
}

/** Revoked or blocked is 4003, a store that cannot tell 1013. @returns false when the connection goes on */
function endIfRefused(connection: Connection): boolean | Promise<boolean> {
  const { identity, runtime } = connection
  if (identity === undefined) return false
  const settle = (isRefused: boolean): boolean => {
    if (isRefused && connection.state === 'open') connection.report('ws.auth_failed', { reason: 'revoked' })
    if (isRefused) connection.end('revoked')
    return isRefused
  }
  const down = (): boolean => {
    connection.end('unavailable')
    return true
  }
  try {
    const isRefused = runtime.store.isRefused(identity)
    return isPromise(isRefused) ? isRefused.then(settle, down) : settle(isRefused)
  } catch {
    return down()
  }
}

/**
 * Waits for `{ type: 'auth', token }` as the first message; anything in its place closes with 4001. Then the socket is
 * not read until the token is settled: what ws had already read waits within `limits.queue`, what comes later waits in
 * the kernel and with the peer. A paused socket may not show that its peer has left: `timeoutMs` holds for message and
 * verifier together, and ends that one too.
 */
export function expectAuth(connection: Connection, request: FastifyRequest, timeoutMs: number, admit: AdmitLate): void {
  connection.authDeadline = connection.runtime.clock.now() + timeoutMs
  connection.authenticate = (frame) => {
    const token = readToken(connection, frame)
    if (token === undefined) return endUnauthenticated(connection)
    const held: Frame[] = []
    connection.authenticate = (later) => hold(connection, held, later)
    connection.authDeadlineCause = 'unavailable'
    connection.pause(pausedBy.auth)
    authenticate(connection, token, admit).then(
      (isIn) => {
        if (!isIn) return
        open(connection, request)
        const now = connection.runtime.clock.now()
        for (const later of held) if (isServed(connection)) accept(connection, later, now)
        connection.resume(pausedBy.auth)
      },
      () => connection.end('unavailable')
    )
  }
}

function hold(connection: Connection, held: Frame[], frame: Frame): void {
  const { messages, bytes } = connection.settings.limits.queue
  // A copy: the frame is a view that would pin the 64 KiB chunk it came in.
  held.push({ ...frame, data: Buffer.from(frame.data) })
  const heldBytes = held.reduce((sum, later) => sum + later.bytes, 0)
  if (held.length > messages || heldBytes > bytes) connection.end('overflow')
}

/** The first message was none that says who it is, or did not come. */
export function endUnauthenticated(connection: Connection): void {
  connection.report('ws.auth_failed', { reason: 'no_credential' })
  connection.end('unauthorized')
}

/** What the checks of a user find wrong with the credential; a user with too many connections has a good one. */
const failedCauses: ReadonlySet<CloseCause> = new Set(['revoked', 'session_expired'])

async function authenticate(connection: Connection, token: string, admit: AdmitLate): Promise<boolean> {
  const outcome = await verify(connection, token)
  if (!outcome.ok) return false
  const cause = await admit(outcome)
  if (connection.state !== 'open') return false
  if (cause !== undefined) {
    const sub = outcome.identity?.subject
    if (cause === 'forbidden') connection.report('ws.forbidden', { reason: cause, sub })
    else if (failedCauses.has(cause)) connection.report('ws.auth_failed', { reason: cause, sub })
    connection.end(cause)
    return false
  }
  connection.user = outcome.user
  connection.runtime.registry.identify(connection, outcome.identity)
  // Again: a revocation that came during `admit` did not find the connection.
  if (await endIfRefused(connection)) return false
  // A peer that has closed meanwhile cannot be told, and is not opened.
  if (!write(connection, encodeAuthOk(msLeft(connection)))) return false
  connection.authDeadline = Number.POSITIVE_INFINITY
  connection.authenticate = undefined
  connection.report('ws.authenticated', { expiresAt: connection.expiresAt })
  return true
}

/**
 * Verifies, and ends the connection when that fails: a bad token is 4001, a verifier that is down 1013. An answer that
 * comes after the end, or after the old credential has expired, changes nothing.
 */
async function verify(connection: Connection, token: string): Promise<VerifyOutcome> {
  const outcome = await connection.settings.session.verify(token, connection)
  if (!isServed(connection)) return late
  if (!outcome.ok) {
    connection.report('ws.auth_failed', { reason: outcome.cause, errorCode: outcome.errorCode })
    connection.end(outcome.cause)
  }
  return outcome
}

const late: VerifyOutcome = { ok: false, cause: 'unauthorized', errorCode: 'LATE' }

/**
 * `{ type: 'auth', token }` on an authenticated connection: the new credential takes the place of the old one when it
 * is valid, of the same subject and does not expire earlier (threat Z5), and `authorize` agrees: who would not get in
 * with it does not stay with it (threat Z1). Bounded by `auth.refresh.perMinute`.
 *
 * It waits for its turn like any message: what was sent before it runs as the old `user`, who is the same subject and
 * whose credential is checked again before each message; what was sent behind it runs as the new one. No handler sees
 * `user` change while it runs.
 */
export async function refresh(message: Record<string, unknown>, connection: Connection): Promise<void> {
  const { refresh: allowed } = connection.settings.session
  const now = connection.runtime.clock.now()
  if (allowed === false) throw new MessageError('forbidden', 'this route does not refresh credentials')
  if (!takeRefresh(connection, allowed.perMinute, now)) throw new MessageError('rate_limited', 'too many refreshes')
  const outcome = await verify(connection, String(message.token))
  if (!outcome.ok) return
  const { identity } = outcome
  if (identity?.subject !== connection.identity?.subject) {
    connection.report('ws.forbidden', { reason: 'refresh_subject' })
    return connection.end('forbidden')
  }
  if ((identity?.expiresAt ?? Number.POSITIVE_INFINITY) < (connection.expiresAt ?? 0)) {
    throw new MessageError('forbidden', 'the new credential expires before the old one')
  }
  if (!(await isAllowed(connection, outcome.user, 'refresh'))) return
  connection.user = outcome.user
  connection.runtime.registry.identify(connection, identity)
  // A credential that was revoked extends nothing.
  if (await endIfRefused(connection)) return
  connection.report('ws.refreshed', { reason: 'auth', expiresAt: connection.expiresAt })
  write(connection, encodeAuthOk(msLeft(connection)))
}

function takeRefresh(connection: Connection, perMinute: number, now: number): boolean {
  if (now - connection.refreshedSince >= 60_000) {
    connection.refreshedSince = now
    connection.refreshes = 0
  }
  return ++connection.refreshes <= perMinute
}

/** Asks `authorize` again on the live connection, every `reauthorizeMs`. */
export function reauthorize(connection: Connection, now: number): void {
  // Not again before this one has answered; one that never does is no yes.
  connection.reauthorizeAt = Number.POSITIVE_INFINITY
  connection.authDeadline = now + connection.settings.handlerTimeoutMs
  connection.authDeadlineCause = 'unavailable'
  void isAllowed(connection, connection.user, 'reauthorize').then((isStillAllowed) => {
    if (!isStillAllowed) return
    connection.authDeadline = Number.POSITIVE_INFINITY
    connection.reauthorizeAt = now + Number(connection.settings.reauthorizeMs)
  })
}

/** Anything but true closes with 4003, what `authorize` throws with 1013. What comes after the end is no news. */
async function isAllowed(connection: Connection, user: unknown, reason: 'refresh' | 'reauthorize'): Promise<boolean> {
  const { authorize } = connection.settings.session
  if (authorize === undefined) return true
  try {
    const answer = await authorize(user, connection)
    if (!isServed(connection)) return false
    if (answer === true) return true
    connection.report('ws.forbidden', { reason })
    connection.end('forbidden')
  } catch (error) {
    connection.reportError(error, 'authorize')
    connection.end('unavailable')
  }
  return false
}

/** Ends a connection whose credential was revoked, blocked or disconnected. */
export function revoke(connection: Connection, reason: string | undefined): void {
  connection.end('revoked', undefined, reason ?? closeCauses.revoked.reason)
}

function msLeft(connection: Connection): number | undefined {
  const { expiresAt, runtime } = connection
  return expiresAt === undefined ? undefined : Math.max(0, expiresAt - runtime.clock.wall())
}

/** The one shape of an auth message is that of the refresh: closed, as every message is. */
function readToken({ settings }: Connection, frame: Frame): string | undefined {
  const { incoming } = settings.contract as CompiledContract
  const envelope = parseJson(frame.data.toString(), settings.limits.json)
  if (!isObject(envelope) || envelope.type !== 'auth' || !incoming.get('auth')?.check(envelope)) return undefined
  return envelope.token as string
}
