import type { FastifyRequest } from 'fastify'
import { printable } from '../connection/events.ts'
import { addressOf } from './attempts.ts'
import { errorCodeOf } from './authenticate.ts'
import { readCredential } from './credentials.ts'
import type { Gate } from './gate.ts'
import type { Refusal } from './refusal.ts'
import { checkHandshake, chooseProtocol, readOffers } from './request-shape.ts'
import type { HandshakeSettings } from './settings.ts'
import { redeemTicket } from './tickets.ts'
import { isSecure } from './transport.ts'
import type { Upgrade } from './upgrade.ts'

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
export async function checkPeer(
  gate: Gate,
  request: FastifyRequest,
  upgrade: Upgrade,
  settings: HandshakeSettings
): Promise<Refusal | undefined> {
  if (settings.requireTls && !isSecure(request)) return { reason: 'tls_required' }
  return (
    checkOrigin(request, settings) ??
    checkProtocol(request, upgrade, settings) ??
    (await checkCapacity(gate, request, upgrade, settings)) ??
    (await checkCredential(gate, request, upgrade, settings)) ??
    (await checkUser(gate, upgrade, settings))
  )
}

function checkOrigin(request: FastifyRequest, settings: HandshakeSettings): Refusal | undefined {
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

function checkProtocol(request: FastifyRequest, upgrade: Upgrade, settings: HandshakeSettings): Refusal | undefined {
  const chosen = chooseProtocol(readOffers(request.headers['sec-websocket-protocol']), settings.protocols)
  if ('reason' in chosen) return chosen
  upgrade.protocol = chosen.protocol
  return undefined
}

async function checkCapacity(
  gate: Gate,
  request: FastifyRequest,
  upgrade: Upgrade,
  settings: HandshakeSettings
): Promise<Refusal | undefined> {
  const { admission } = gate
  if (!admission.takeTotal(upgrade)) return { reason: 'at_capacity' }
  const isIn = await storeCall(() => admission.takeIp(upgrade, addressOf(request), settings.limits.connections.perIp))
  return isIn ? undefined : { reason: 'per_ip' }
}

async function checkCredential(
  gate: Gate,
  request: FastifyRequest,
  upgrade: Upgrade,
  settings: HandshakeSettings
): Promise<Refusal | undefined> {
  const { auth } = settings
  if (auth === false) return undefined
  const offers = readOffers(request.headers['sec-websocket-protocol'])
  const credential = readCredential(request, offers, upgrade.secrets, auth)
  if (credential.kind === 'ambiguous') return { reason: 'ambiguous_credentials' }
  if (credential.kind === 'malformed') return { reason: 'invalid_credential', detail: { errorCode: 'MALFORMED' } }
  if (credential.kind === 'none') return checkUnauthenticated(gate, upgrade, settings, auth.from.includes('message'))
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
function checkUnauthenticated(
  gate: Gate,
  upgrade: Upgrade,
  settings: HandshakeSettings,
  isAwaited: boolean
): Refusal | undefined {
  if (!isAwaited) return { reason: 'no_credential' }
  const { unauthenticated } = settings.limits.connections
  upgrade.releaseUnauthenticated = gate.admission.takeUnauthenticated(upgrade, unauthenticated)
  return upgrade.releaseUnauthenticated === undefined ? { reason: 'at_capacity' } : undefined
}

/** A verified user: still so, not revoked, and not with too many connections. */
async function checkUser(gate: Gate, upgrade: Upgrade, settings: HandshakeSettings): Promise<Refusal | undefined> {
  const identity = upgrade.verified?.identity
  if (identity === undefined) return undefined
  const { store, clock } = gate.runtime
  // A ticket's: a token's was looked at with its signature.
  if (identity.expiresAt !== undefined && identity.expiresAt <= clock.wall()) {
    return { reason: 'invalid_credential', detail: { errorCode: 'EXPIRED' } }
  }
  const isRefused = await storeCall(() => store.isRefused(identity))
  if (isRefused) return { reason: 'revoked' }
  const { perUser } = settings.limits.connections
  const isIn = await storeCall(() => gate.admission.takeUser(upgrade, identity.subject, perUser))
  return isIn ? undefined : { reason: 'per_user' }
}

/** preHandler: the coerced params are there. Whoever authenticates by message is asked afterwards. */
export async function checkRights(
  upgrade: Upgrade,
  settings: HandshakeSettings,
  request: FastifyRequest
): Promise<Refusal | undefined> {
  if (settings.auth !== false && upgrade.verified === undefined) return undefined
  if (settings.authorize !== undefined && (await settings.authorize(upgrade.verified?.user, request)) !== true) {
    return { reason: 'forbidden' }
  }
  upgrade.data = await settings.makeData?.(request)
  return undefined
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
