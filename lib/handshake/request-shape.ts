import type { IncomingMessage } from 'node:http'
import type { Refusal, RefusalReason } from './refusal.ts'

/**
 * What an upgrade request must look like, whatever its path (RFC 6455 section 4.2.1; threats T3, H4 to H6).
 * @returns why it is refused
 */
export function checkUpgrade(request: IncomingMessage): RefusalReason | undefined {
  const { headers } = request
  if (request.method !== 'GET') return 'method'
  if (request.httpVersionMajor !== 1 || request.httpVersionMinor < 1) return 'malformed_request'
  if (headers.host === undefined || headers.host === '') return 'malformed_request'
  if (!isOriginForm(request.url ?? '')) return 'malformed_request'
  if (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0) {
    return 'body_on_upgrade'
  }
  if (headers.upgrade?.toLowerCase() !== 'websocket') return 'malformed_request'
  return undefined
}

/** A path that Fastify's router can decode: absolute and fragment forms would be read differently by a proxy (H5). */
function isOriginForm(url: string): boolean {
  if (!url.startsWith('/') || url.includes('#')) return false
  if (!url.includes('%')) return true
  const end = url.indexOf('?')
  try {
    decodeURIComponent(end === -1 ? url : url.slice(0, end))
    return true
  } catch {
    return false
  }
}

/** Headers of which a second one would be read differently by somebody (threats H2, A7; RFC 6750 section 2). */
const singleHeaders = new Set([
  'host',
  'origin',
  'authorization',
  'sec-websocket-key',
  'sec-websocket-version',
  'sec-websocket-protocol',
  'cookie',
  'upgrade'
])

// RFC 6455 section 4.2.1: base64 of 16 bytes.
const keyPattern = /^[+/0-9A-Za-z]{22}==$/

/** What a handshake of a guarded route must look like besides (threats H2, H4, A7). */
export function checkHandshake(request: IncomingMessage): Refusal | undefined {
  const { rawHeaders, headers } = request
  const seen = new Set<string>()
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase()
    if (!singleHeaders.has(name)) continue
    if (seen.has(name)) return { reason: 'duplicate_header', detail: { header: name } }
    seen.add(name)
  }
  if (headers['sec-websocket-version'] !== '13') return { reason: 'version' }
  if (!keyPattern.test(headers['sec-websocket-key'] ?? '')) return { reason: 'malformed_request' }
  const offers = headers['sec-websocket-protocol']
  return offers === undefined || isProtocolList(offers) ? undefined : { reason: 'subprotocol' }
}

// RFC 7230 section 3.2.6, with the spaces that ws allows around a token.
const offerPattern = /^[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*$/

/** Different tokens (RFC 6455 section 4.1); ws would answer anything else itself, after all checks and in its own way. */
function isProtocolList(header: string): boolean {
  const offers = header.split(',').map((offer) => offerPattern.exec(offer)?.[1])
  return !offers.includes(undefined) && new Set(offers).size === offers.length
}

/** Entries of Sec-WebSocket-Protocol that carry a credential; they are never answered (threat H12). */
export const credentialPrefixes = {
  bearer: 'bearer.',
  base64urlBearer: 'base64url.bearer.',
  ticket: 'ticket.'
} as const

/** The subprotocols a client offers, those with a credential apart. */
export interface Offers {
  readonly protocols: readonly string[]
  readonly credentials: readonly string[]
}

export function readOffers(header: string | undefined): Offers {
  const protocols: string[] = []
  const credentials: string[] = []
  for (const entry of header?.split(',') ?? []) {
    const offer = entry.trim()
    const isCredential = Object.values(credentialPrefixes).some((prefix) => offer.startsWith(prefix))
    ;(isCredential ? credentials : protocols).push(offer)
  }
  return { protocols, credentials }
}

/**
 * Chooses from the route's own list. A client that offers none is served without one; one that offers only a
 * credential or only others would have to fail the connection itself (WHATWG), so it is refused.
 */
export function chooseProtocol(offers: Offers, known: readonly string[]): { protocol: string } | Refusal {
  if (offers.protocols.length + offers.credentials.length === 0) return { protocol: '' }
  const protocol = known.find((name) => offers.protocols.includes(name))
  return protocol === undefined ? { reason: 'subprotocol', detail: { expected: known } } : { protocol }
}
