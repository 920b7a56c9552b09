import type { FastifyRequest } from 'fastify'
import { printable } from '../connection/events.ts'
import { errorCodeOf } from '../errors.ts'
import { addressOf } from './attempts.ts'
import { readCredential } from './credentials.ts'
import type { Gate } from './gate.ts'
import type { Refusal } from './refusal.ts'
import { checkHandshake, chooseProtocol, type Offers, readOffers } from './request-shape.ts'
import type { HandshakeSettings } from './settings.ts'
import { redeemTicket } from './tickets.ts'
import { isSecure } from './transport.ts'
import type { Upgrade } from './upgrade.ts'

/** Who asks for what: the handshake of a guarded route. */
export interface Peer {
  readonly gate: Gate
  readonly request: FastifyRequest
  readonly upgrade: Upgrade
  readonly settings: HandshakeSettings
}

/** What can be wrong with a verified user; asked before the 101, or after the first message has said who it is. */
export type UserRefusal = Refusal & {
  readonly reason: 'invalid_credential' | 'revoked' | 'per_user' | 'forbidden'
}

/** onRequest: attempts 429 → the shape of the request 400/426 → is there a guarded route at all? */
export async function checkRequest(
  gate: Gate,
  request: FastifyRequest,
  settings: HandshakeSettings | undefined
): Promise<Refusal | undefined> {
  const retryAfterMs = await storeCall(() => (settings?.attempts ?? gate.attempts)(request))
  if (retryAfterMs !== undefined) return { reason: 'attempts', retryAfterMs }
  const malformed = checkHandshake(request.raw)
  if (malformed !== undefined) return malformed
  if (settings !== undefined) return undefined
  return { reason: request.is404 ? 'not_found' : 'not_a_websocket_route' }
}

/** preValidation: TLS 403 → Origin 403 → capacity 503, per IP 429 → credential 400/401 → user 429. */
export async function checkPeer(peer: Peer): Promise<Refusal | undefined> {
  const { request, settings } = peer
  if (settings.requireTls && !isSecure(request)) return { reason: 'tls_required' }
  const offers = readOffers(request.headers['sec-websocket-protocol'])
  return (
    checkOrigin(peer) ??
    checkProtocol(peer, offers) ??
    (await checkCapacity(peer)) ??
    (await checkCredential(peer, offers)) ??
    (await checkUser(peer))
  )
}

function checkOrigin({ request, settings }: Peer): Refusal | undefined {
  const { origins } = settings
  const { origin, host, authorization } = request.headers
  if (!origins.checks) return undefined
  if (origin === undefined) {
    // No browser leaves it out or can send Authorization here; so it is the credential that has to be in that header.
    const isBearer = /^Bearer /i.test(authorization ?? '')
    const isRead = settings.auth === false || settings.auth.from.includes('header')
    if (settings.missingOrigin === 'bearer-only' && isBearer && isRead) return undefined
    return { reason: 'origin_missing', detail: { expected: origins.expected } }
  }
  if (origins.admits({ origin, protocol: request.protocol, host })) return undefined
  return { reason: 'origin_forbidden', detail: { origin: printable(origin), expected: origins.expected } }
}

function checkProtocol({ upgrade, settings }: Peer, offers: Offers): Refusal | undefined {
  const chosen = chooseProtocol(offers, settings.protocols)
  if ('reason' in chosen) return chosen
  upgrade.protocol = chosen.protocol
  return undefined
}

async function checkCapacity({ gate, request, upgrade, settings }: Peer): Promise<Refusal | undefined> {
  const { admission } = gate
  if (!admission.takeTotal(upgrade)) return { reason: 'at_capacity' }
  const isIn = await storeCall(() => admission.takeIp(upgrade, addressOf(request), settings.limits.connections.perIp))
  return isIn ? undefined : { reason: 'per_ip' }
}

async function checkCredential(peer: Peer, offers: Offers): Promise<Refusal | undefined> {
  const { gate, request, upgrade, settings } = peer
  const { auth } = settings
  if (auth === false) return undefined
  const credential = readCredential(request, offers, upgrade.secrets, auth)
  if (credential.kind === 'ambiguous') return { reason: 'ambiguous_credentials' }
  if (credential.kind === 'malformed') return { reason: 'invalid_credential', detail: { errorCode: 'MALFORMED' } }
  if (credential.kind === 'none') return checkUnauthenticated(peer, auth.from.includes('message'))
  if (credential.kind === 'ticket') {
    const { origin } = request.headers
    const ticket = await storeCall(() => redeemTicket(gate.runtime.store, credential.value, settings.path, origin))
    if (ticket === undefined) return { reason: 'invalid_credential', detail: { errorCode: 'TICKET' } }
    upgrade.verified = ticket
  } else {
    const outcome = await auth.authenticator.verify(credential.value, request)
    if (!outcome.ok) {
      const detail = { errorCode: outcome.errorCode }
      return { reason: outcome.cause === 'unavailable' ? 'unavailable' : 'invalid_credential', detail }
    }
    upgrade.verified = outcome
  }
  return undefined
}

/** No credential in the handshake: it may come in the first message, where the route waits for one. */
function checkUnauthenticated({ gate, upgrade, settings }: Peer, isAwaited: boolean): Refusal | undefined {
  if (!isAwaited) return { reason: 'no_credential' }
  const { unauthenticated } = settings.limits.connections
  upgrade.releaseUnauthenticated = gate.admission.takeUnauthenticated(upgrade, unauthenticated)
  return upgrade.releaseUnauthenticated === undefined ? { reason: 'at_capacity' } : undefined
}

/** A verified user: still so, not revoked, and not with too many connections. @throws Unavailable */
export async function checkUser({ gate, upgrade, settings }: Peer): Promise<UserRefusal | undefined> {
  const identity = upgrade.verified?.identity
  if (identity === undefined) return undefined
  const { store, clock } = gate.runtime
  // A ticket's: a token's was looked at with its signature.
  if (identity.expiresAt !== undefined && identity.expiresAt <= clock.wall()) {
    return { reason: 'invalid_credential', detail: { errorCode: 'EXPIRED' } }
  }
  const isRefused = await storeCall(() => store.isRefused(identity))
  // Said in so many words, or nobody comes in: not every store is written in TypeScript.
  if (isRefused !== false) return { reason: 'revoked' }
  const { perUser } = settings.limits.connections
  const isIn = await storeCall(() => gate.admission.takeUser(upgrade, identity.subject, perUser))
  return isIn ? undefined : { reason: 'per_user' }
}

/** preHandler: the coerced params are there. Whoever authenticates by message is asked afterwards. */
export async function checkRights({ request, upgrade, settings }: Peer): Promise<UserRefusal | undefined> {
  if (settings.auth !== false && upgrade.verified === undefined) return undefined
  if (settings.authorize !== undefined && (await settings.authorize(upgrade.verified?.user, request)) !== true) {
    return { reason: 'forbidden' }
  }
  return undefined
}

/** The route's `data`, for a user who may come in. */
export async function makeData({ request, upgrade, settings }: Peer): Promise<undefined> {
  if (settings.auth !== false && upgrade.verified === undefined) return
  upgrade.data = await settings.makeData?.(request)
}

/** A back end that is down refuses; it never lets in (threats A12, N2). */
export class Unavailable extends Error {
  readonly errorCode: string

  constructor(cause: unknown) {
    super('the store is down')
    this.errorCode = errorCodeOf(cause)
  }
}

/** @throws Unavailable for whatever the store, or what was given to it, throws */
async function storeCall<T>(call: () => T | Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw new Unavailable(error)
  }
}
