import type { FastifyRequest } from 'fastify'
import { credentialPrefixes, type Offers } from './request-shape.ts'
import type { UrlSecrets } from './url-secrets.ts'

/** Where a credential may come from: each is asked for by name, none is ambient (threat A8). */
export const credentialSources = ['header', 'subprotocol', 'cookie', 'query', 'ticket', 'message'] as const
export type CredentialSource = (typeof credentialSources)[number]

/** No token is looked at that is longer than this (threat A9). */
export const maxTokenBytes = 8_192

/** The query parameter of a ticket. */
export const ticketParam = 'ticket'

export interface Credential {
  readonly kind: 'token' | 'ticket'
  readonly value: string
}

export type CredentialResult =
  | Credential
  | { readonly kind: 'none' }
  | { readonly kind: 'malformed' }
  | { readonly kind: 'ambiguous' }

export interface CredentialOptions {
  readonly from: readonly CredentialSource[]
  readonly queryParam: string
  readonly cookieName: string
}

/**
 * Reads the one credential of a handshake. Two at once are refused (RFC 6750 section 2, threat A7); a bad one of one
 * kind never falls through to another.
 */
export function readCredential(
  request: FastifyRequest,
  offers: Offers,
  secrets: UrlSecrets['taken'],
  options: CredentialOptions
): CredentialResult {
  const found: CredentialResult[] = []
  for (const source of options.from) {
    if (source === 'header') found.push(...fromHeader(request.headers.authorization))
    else if (source === 'subprotocol') found.push(...offers.credentials.flatMap(bearerOffer))
    else if (source === 'cookie') found.push(...fromCookie(request, options.cookieName))
    else if (source === 'query') found.push(...values('token', secrets.get(options.queryParam)))
    else if (source === 'ticket') {
      found.push(...values('ticket', secrets.get(ticketParam)), ...offers.credentials.flatMap(ticketOffer))
    }
  }
  if (found.length > 1) return { kind: 'ambiguous' }
  const [only = { kind: 'none' }] = found
  return 'value' in only && (only.value === '' || only.value.length > maxTokenBytes) ? { kind: 'malformed' } : only
}

function fromHeader(header: string | undefined): CredentialResult[] {
  if (header === undefined) return []
  const [, token] = /^Bearer ([^ ]+)$/i.exec(header) ?? []
  return [token === undefined ? { kind: 'malformed' } : { kind: 'token', value: token }]
}

function bearerOffer(offer: string): CredentialResult[] {
  const { bearer, base64urlBearer } = credentialPrefixes
  if (offer.startsWith(bearer)) return [{ kind: 'token', value: offer.slice(bearer.length) }]
  if (!offer.startsWith(base64urlBearer)) return []
  const encoded = offer.slice(base64urlBearer.length)
  const token = Buffer.from(encoded, 'base64url')
  // Buffer skips what it does not know: only the canonical spelling is a token.
  return [token.toString('base64url') === encoded ? { kind: 'token', value: token.toString() } : { kind: 'malformed' }]
}

function ticketOffer(offer: string): CredentialResult[] {
  const { ticket } = credentialPrefixes
  return offer.startsWith(ticket) ? [{ kind: 'ticket', value: offer.slice(ticket.length) }] : []
}

function values(kind: Credential['kind'], found: readonly string[] | undefined): CredentialResult[] {
  return found?.map((value) => ({ kind, value })) ?? []
}

/** @fastify/cookie keeps the first of two cookies with one name; a second one is somebody's attempt (threat A7). */
function fromCookie(request: FastifyRequest, name: string): CredentialResult[] {
  const { cookies } = request as { cookies?: Record<string, string | undefined> }
  const value = cookies?.[name]
  if (value === undefined) return []
  const pairs = (request.headers.cookie ?? '').split(';').filter((pair) => pair.split('=', 1)[0]?.trim() === name)
  return pairs.length > 1 ? [{ kind: 'ambiguous' }, { kind: 'ambiguous' }] : [{ kind: 'token', value }]
}
