import { MessageError } from '../errors.ts'
import { encodeAuthOk } from '../messages/encode.ts'
import type { Connection } from './connection.ts'
import { isServed } from './dispatch.ts'
import { write } from './outbound.ts'
import { endIfRefused, msLeft, verify } from './session.ts'

/**
 * `{ type: 'auth', token }` on an authenticated connection: the new credential takes the place of the old one when it
 * is valid, of the same subject and does not expire earlier (threat Z5), and `authorize` agrees: who would not get in
 * with it does not stay with it (threat Z1). Bounded by `auth.refresh.perMinute`.
 *
 * It waits for its turn like any message: what was sent before it runs as the old `user`, who is the same subject and
 * whose credential is checked again before each message; what was sent behind it runs as the new one. No handler sees
 * `user` change while it runs. Topics that the route's `topics` no longer grants are left.
 */
export async function refresh(message: Record<string, unknown>, connection: Connection): Promise<void> {
  const { refresh: allowed } = connection.settings.session
  if (allowed === false) throw new MessageError('forbidden', 'this route does not refresh credentials')
  if (!takeRefresh(connection, allowed.perMinute, connection.runtime.clock.now())) {
    connection.report('ws.auth_failed', { reason: 'refresh_limited' })
    throw new MessageError('rate_limited', 'too many refreshes')
  }
  connection.refreshing = true
  try {
    await replace(connection, String(message.token))
  } finally {
    connection.refreshing = false
  }
}

async function replace(connection: Connection, token: string): Promise<void> {
  const outcome = await verify(connection, token)
  if (!outcome.ok) return
  const { user, identity } = outcome
  if (identity?.subject !== connection.identity?.subject) {
    connection.report('ws.forbidden', { reason: 'refresh_subject' })
    return connection.end('forbidden')
  }
  if ((identity?.expiresAt ?? Number.POSITIVE_INFINITY) < (connection.expiresAt ?? 0)) {
    connection.report('ws.auth_failed', { reason: 'refresh_expires_earlier' })
    throw new MessageError('forbidden', 'the new credential expires before the old one')
  }
  if (!(await isAllowed(connection, user, 'refresh'))) return
  const { registry, topics, clock } = connection.runtime
  connection.user = user
  registry.identify(connection, identity)
  // A credential that was revoked extends nothing.
  if ((await endIfRefused(connection)) || !isServed(connection)) return
  topics.recheck(connection)
  askAgainIn(connection, clock.now())
  connection.report('ws.refreshed', { reason: 'auth', expiresAt: connection.expiresAt })
  write(connection, encodeAuthOk(msLeft(connection)))
}

function takeRefresh(connection: Connection, perMinute: number, now: number): boolean {
  if (connection.refreshes === 0 || now - connection.refreshedSince >= 60_000) {
    connection.refreshedSince = now
    connection.refreshes = 0
  }
  return ++connection.refreshes <= perMinute
}

/** Asks `authorize` again on the live connection, every `reauthorizeMs`. */
export function reauthorize(connection: Connection, now: number): void {
  const { user } = connection
  // Not again before this one has answered; one that never does is no yes.
  connection.reauthorizeAt = undefined
  connection.authDeadline = now + connection.settings.handlerTimeoutMs
  connection.authDeadlineCause = 'unavailable'
  void isAllowed(connection, user, 'reauthorize').then((isStillAllowed) => {
    if (isStillAllowed && connection.user === user) askAgainIn(connection, now)
  })
}

/** `authorize` has agreed: it is asked again a `reauthorizeMs` later, if at all. */
function askAgainIn(connection: Connection, now: number): void {
  const { reauthorizeMs } = connection.settings
  connection.authDeadline = undefined
  connection.reauthorizeAt = reauthorizeMs === false ? undefined : now + reauthorizeMs
}

/**
 * Anything but true closes with 4003, what `authorize` throws with 1013. What comes after the end is no news, nor what
 * is said about a user whom a refresh has replaced meanwhile.
 */
async function isAllowed(connection: Connection, user: unknown, reason: 'refresh' | 'reauthorize'): Promise<boolean> {
  const { authorize } = connection.settings.session
  if (authorize === undefined) return true
  const isReplaced = (): boolean => reason === 'reauthorize' && connection.user !== user
  try {
    const answer = await authorize(user, connection)
    if (!isServed(connection)) return false
    if (answer === true || isReplaced()) return true
    connection.report('ws.forbidden', { reason })
    connection.end('forbidden')
  } catch (error) {
    connection.reportError(error, 'authorize')
    if (isReplaced()) return true
    connection.end('unavailable')
  }
  return false
}
