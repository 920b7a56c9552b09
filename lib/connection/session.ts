import type { FastifyRequest } from 'fastify'
import { type CloseCause, closeCauses } from '../close-codes.ts'
import { errorCodeOf } from '../errors.ts'
import type { Identity } from '../limits/store.ts'
import type { CompiledContract } from '../messages/compile-contract.ts'
import { parseJson } from '../messages/decode.ts'
import { encodeAuthOk } from '../messages/encode.ts'
import { isObject } from '../messages/is-object.ts'
import { type Connection, pausedBy } from './connection.ts'
import { accept, isServed, open } from './dispatch.ts'
import { write } from './outbound.ts'
import { copyOf, type Frame } from './parts.ts'
import { isPromise } from './promises.ts'

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
 * revocation that came while the handshake ran did not find the connection: it is asked for once more, and nothing is
 * read or opened before the answer.
 */
export function startSession(connection: Connection, begin: () => void): void {
  const { maxLifetimeMs, reauthorizeMs, handlerTimeoutMs } = connection.settings
  const now = connection.runtime.clock.now()
  if (maxLifetimeMs !== false) connection.lifetimeEndsAt = now + Math.floor(maxLifetimeMs * (0.9 + 0.2 * Math.random()))
  if (reauthorizeMs !== false) connection.reauthorizeAt = now + reauthorizeMs
  const isRefused = endIfRefused(connection)
  if (!isPromise(isRefused)) return isRefused ? undefined : begin()
  connection.pause(pausedBy.auth)
  connection.authDeadline = now + handlerTimeoutMs
  connection.authDeadlineCause = 'unavailable'
  void isRefused.then((refused) => {
    if (refused || !isServed(connection)) return
    connection.authDeadline = undefined
    begin()
    connection.resume(pausedBy.auth)
  })
}

/** Revoked or blocked is 4003, a store that cannot tell 1013. @returns false when the connection goes on */
export function endIfRefused(connection: Connection): boolean | Promise<boolean> {
  const { identity, runtime } = connection
  if (identity === undefined) return false
  const settle = (answer: boolean): boolean => {
    // Nobody stays for whom the store did not say so.
    const isRefused = answer !== false
    if (isRefused && connection.state === 'open') connection.report('ws.auth_failed', { reason: 'revoked' })
    if (isRefused) connection.end('revoked')
    return isRefused
  }
  const down = (error: unknown): boolean => {
    endUnavailable(connection, errorCodeOf(error))
    return true
  }
  try {
    const isRefused = runtime.store.isRefused(identity)
    return isPromise(isRefused) ? Promise.resolve(isRefused).then(settle, down) : settle(isRefused)
  } catch (error) {
    return down(error)
  }
}

/** The store or the verifier could not say whether this user may be here. */
export function endUnavailable(connection: Connection, errorCode: string): void {
  if (connection.state !== 'open') return
  connection.report('ws.auth_failed', { reason: 'unavailable', errorCode })
  connection.end('unavailable')
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
    authenticate(connection, token, admit)
      .then((isIn) => {
        if (!isIn) return
        open(connection, request)
        const now = connection.runtime.clock.now()
        for (const later of held) if (isServed(connection)) accept(connection, later, now)
        connection.resume(pausedBy.auth)
      })
      .catch((error: unknown) => endUnavailable(connection, errorCodeOf(error)))
  }
}

function hold(connection: Connection, held: Frame[], frame: Frame): void {
  const { messages, bytes } = connection.settings.limits.queue
  held.push(copyOf(frame))
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
  connection.authDeadline = undefined
  connection.authenticate = undefined
  connection.report('ws.authenticated', { expiresAt: connection.expiresAt })
  return true
}

/**
 * Verifies, and ends the connection when that fails: a bad token is 4001, a verifier that is down 1013. An answer that
 * comes after the end, or after the old credential has expired, changes nothing.
 */
export async function verify(connection: Connection, token: string): Promise<VerifyOutcome> {
  const outcome = await connection.settings.session.verify(token, connection)
  if (!isServed(connection)) return late
  if (!outcome.ok) {
    connection.report('ws.auth_failed', { reason: outcome.cause, errorCode: outcome.errorCode })
    connection.end(outcome.cause)
  }
  return outcome
}

const late: VerifyOutcome = { ok: false, cause: 'unauthorized', errorCode: 'LATE' }

/** Ends a connection whose credential was revoked, blocked or disconnected. */
export function revoke(connection: Connection, reason: string | undefined): void {
  connection.end('revoked', undefined, reason ?? closeCauses.revoked.reason)
}

export function msLeft(connection: Connection): number | undefined {
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
