import type { FastifyRequest } from 'fastify'
import { type CloseCause, closeCauses } from '../close-codes.ts'
import { MessageError } from '../errors.ts'
import type { Identity } from '../limits/store.ts'
import { parseJson } from '../messages/decode.ts'
import { encodeAuthOk } from '../messages/encode.ts'
import { type Connection, isPromise } from './connection.ts'
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
  /** Verifies a token sent in an `auth` message. */
  readonly verify: (token: string, connection: Connection) => Promise<VerifyOutcome>
  /** Runs the route's `authorize` again. */
  readonly authorize: (connection: Connection) => boolean | Promise<boolean>
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
 * Waits for `{ type: 'auth', token }` as the first message. Nothing else is read before it is verified: a message in
 * its place closes with 4001, what ws had read behind it waits within `limits.queue`.
 */
export function expectAuth(connection: Connection, request: FastifyRequest, timeoutMs: number, admit: AdmitLate): void {
  connection.authDeadline = connection.runtime.clock.now() + timeoutMs
  connection.authenticate = (frame) => {
    const token = readToken(parseJson(frame.data.toString(), connection.settings.limits.json))
    if (token === undefined) return connection.end('unauthorized')
    const held: Frame[] = []
    connection.authenticate = (later) => hold(connection, held, later)
    connection.authDeadlineCause = 'unavailable'
    authenticate(connection, token, admit).then(
      (isIn) => {
        if (!isIn) return
        open(connection, request)
        const now = connection.runtime.clock.now()
        for (const later of held) if (isServed(connection)) accept(connection, later, now)
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

async function authenticate(connection: Connection, token: string, admit: AdmitLate): Promise<boolean> {
  const outcome = await verify(connection, token)
  if (connection.state !== 'open' || !outcome.ok) return false
  const cause = await admit(outcome)
  if (connection.state !== 'open') return false
  if (cause !== undefined) {
    connection.end(cause)
    return false
  }
  connection.user = outcome.user
  connection.runtime.registry.identify(connection, outcome.identity)
  // Again: a revocation that came during `admit` did not find the connection.
  if (await endIfRefused(connection)) return false
  connection.authDeadline = Number.POSITIVE_INFINITY
  connection.authenticate = undefined
  return write(connection, encodeAuthOk(msLeft(connection)))
}

/** Verifies, and ends the connection when that fails: a bad token is 4001, a verifier that is down 1013. */
async function verify(connection: Connection, token: string): Promise<VerifyOutcome> {
  const outcome = await connection.settings.session.verify(token, connection)
  if (!outcome.ok && connection.state === 'open') {
    connection.report('ws.auth_failed', { reason: outcome.cause, errorCode: outcome.errorCode })
    connection.end(outcome.cause)
  }
  return outcome
}

/**
 * `{ type: 'auth', token }` on an authenticated connection: the new credential takes the place of the old one when it
 * is valid, of the same subject and expires later (threat Z5). Bounded by `auth.refresh.perMinute`.
 */
export async function refresh(message: Record<string, unknown>, connection: Connection): Promise<void> {
  const { refresh: allowed } = connection.settings.session
  const now = connection.runtime.clock.now()
  if (allowed === false) throw new MessageError('forbidden', 'this route does not refresh credentials')
  if (!takeRefresh(connection, allowed.perMinute, now)) throw new MessageError('rate_limited', 'too many refreshes')
  const outcome = await verify(connection, String(message.token))
  if (!outcome.ok || connection.state !== 'open') return
  const { identity } = outcome
  if (identity?.subject !== connection.identity?.subject) {
    connection.report('ws.forbidden', { reason: 'refresh_subject' })
    return connection.end('forbidden')
  }
  if ((identity?.expiresAt ?? Number.POSITIVE_INFINITY) < (connection.expiresAt ?? 0)) {
    throw new MessageError('forbidden', 'the new credential expires before the old one')
  }
  connection.user = outcome.user
  connection.runtime.registry.identify(connection, identity)
  // A credential that was revoked extends nothing.
  if (await endIfRefused(connection)) return
  connection.report('ws.refreshed', { reason: 'auth' })
  write(connection, encodeAuthOk(msLeft(connection)))
}

function takeRefresh(connection: Connection, perMinute: number, now: number): boolean {
  if (now - connection.refreshedSince >= 60_000) {
    connection.refreshedSince = now
    connection.refreshes = 0
  }
  return ++connection.refreshes <= perMinute
}

/** Runs `authorize` again on the live connection; anything but true closes with 4003. */
export function reauthorize(connection: Connection, now: number): void {
  // Not again before this one has answered; one that never does is no yes.
  connection.reauthorizeAt = Number.POSITIVE_INFINITY
  connection.authDeadline = now + connection.settings.handlerTimeoutMs
  connection.authDeadlineCause = 'unavailable'
  const again = async (): Promise<void> => {
    const isAllowed = await connection.settings.session.authorize(connection)
    connection.authDeadline = Number.POSITIVE_INFINITY
    if (isAllowed !== true) {
      connection.report('ws.forbidden', { reason: 'reauthorize' })
      connection.end('forbidden')
    } else if (connection.settings.reauthorizeMs !== false) {
      connection.reauthorizeAt = now + connection.settings.reauthorizeMs
    }
  }
  again().catch((error) => {
    connection.reportError(error, 'authorize')
    connection.end('unavailable')
  })
}

/** Ends a connection whose credential was revoked, blocked or disconnected. */
export function revoke(connection: Connection, reason: string | undefined): void {
  connection.end('revoked', undefined, reason ?? closeCauses.revoked.reason)
}

function msLeft(connection: Connection): number | undefined {
  const { expiresAt, runtime } = connection
  return expiresAt === undefined ? undefined : Math.max(0, expiresAt - runtime.clock.wall())
}

function readToken(envelope: unknown): string | undefined {
  const { type, token } = (envelope ?? {}) as { type?: unknown; token?: unknown }
  return type === 'auth' && typeof token === 'string' ? token : undefined
}
