import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Checked, CloseCodeName } from '../close-codes.ts'

/**
 * The answers instead of a 101: one body per status, so that nobody learns which check failed beyond the status
 * (threat H13). `close` is the code used with `refuse: 'close'`.
 */
export const refusalStatuses = {
  400: { code: 'bad_request', close: 'policy_violation', meaning: 'malformed or ambiguous' },
  401: { code: 'unauthorized', close: 'unauthorized', meaning: 'no credential, or a bad one' },
  403: { code: 'forbidden', close: 'forbidden', meaning: 'Origin, TLS or authorize' },
  404: { code: 'not_found', close: 'policy_violation', meaning: 'no such route' },
  405: { code: 'method_not_allowed', close: 'policy_violation', meaning: 'an upgrade that is no GET' },
  426: { code: 'upgrade_required', close: 'policy_violation', meaning: 'no upgrade, or another version than 13' },
  429: { code: 'too_many_requests', close: 'unavailable', meaning: 'handshakes or connections per IP or user' },
  500: { code: 'internal', close: 'internal_error', meaning: "the developer's own hook failed" },
  503: { code: 'unavailable', close: 'unavailable', meaning: 'full, draining, a back end is down, or too slow' }
} as const

interface StatusEntry {
  readonly code: string
  readonly close: CloseCodeName
  readonly meaning: string
}

export type RefusalStatus = keyof Checked<Record<number, StatusEntry>, typeof refusalStatuses>

/** Why a handshake is refused: in the log (`ws.refused`), never in the answer. */
export const refusalReasons = {
  malformed_request: 400,
  body_on_upgrade: 400,
  duplicate_header: 400,
  subprotocol: 400,
  not_a_websocket_route: 400,
  ambiguous_credentials: 400,
  invalid_parameters: 400,
  no_credential: 401,
  invalid_credential: 401,
  revoked: 401,
  tls_required: 403,
  origin_missing: 403,
  origin_forbidden: 403,
  forbidden: 403,
  not_found: 404,
  method: 405,
  no_upgrade: 426,
  version: 426,
  attempts: 429,
  per_ip: 429,
  per_user: 429,
  hook_failed: 500,
  at_capacity: 503,
  draining: 503,
  unavailable: 503,
  handshake_timeout: 503
} as const

export type RefusalReason = keyof Checked<Record<string, RefusalStatus>, typeof refusalReasons>

/** What cannot be answered by a 101 and a close code: no handshake, or one whose 101 the client would have to fail. */
export const httpOnlyReasons: ReadonlySet<RefusalReason> = new Set([
  'malformed_request',
  'duplicate_header',
  'subprotocol',
  'version'
])

/** A refusal, with what the log may say about it. */
export interface Refusal {
  readonly reason: RefusalReason
  readonly retryAfterMs?: number
  readonly detail?: Readonly<Record<string, string | readonly string[]>>
}

/** What to wait after a 503 when nothing says how long; with jitter, so that refused clients do not return at once. */
const retryAfterSeconds = 5

export function statusOf(refusal: Refusal): RefusalStatus {
  return refusalReasons[refusal.reason]
}

/** The JSON body of a status: nothing in it comes from the request. */
export function refusalBody(status: number): { statusCode: number; error: string; code: string } {
  const known = (refusalStatuses as Record<number, { code: string }>)[status]
  return { statusCode: status, error: STATUS_CODES[status] ?? 'Refused', code: known?.code ?? 'refused' }
}

export function refusalHeaders(status: number, retryAfterMs?: number): Record<string, string> {
  const headers: Record<string, string> = { connection: 'close' }
  if (status === 401) headers['www-authenticate'] = 'Bearer'
  if (status === 426) {
    headers.upgrade = 'websocket'
    headers['sec-websocket-version'] = '13'
  }
  if (status === 429 || status === 503) headers['retry-after'] = String(retryAfter(retryAfterMs))
  return headers
}

function retryAfter(retryAfterMs: number | undefined): number {
  if (retryAfterMs !== undefined) return Math.max(1, Math.ceil(retryAfterMs / 1000))
  return retryAfterSeconds + Math.floor(Math.random() * retryAfterSeconds)
}

/** Answers through Fastify, so that its logs and hooks see the refusal. */
export function sendRefusal(reply: FastifyReply, status: number, retryAfterMs?: number): FastifyReply {
  return reply.code(status).headers(refusalHeaders(status, retryAfterMs)).send(refusalBody(status))
}

/** Answers on the bare socket what Fastify must not see, and ends it. */
export function refuseSocket(socket: Duplex, status: RefusalStatus, extra: readonly string[]): void {
  const body = JSON.stringify(refusalBody(status))
  const headers = {
    ...refusalHeaders(status),
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(Buffer.byteLength(body))
  }
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...extra
  ]
  if (socket.writable) socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`)
  endSocket(socket)
}

/** Destroys a socket as soon as what was written to it has left (threat T7: a proxy must not go on using it). */
export function endSocket(socket: Duplex): void {
  socket.once('finish', () => socket.destroy())
  socket.end()
  if (socket.writableFinished) socket.destroy()
}
