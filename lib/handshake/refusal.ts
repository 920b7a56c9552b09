import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Checked, CloseCodeName } from '../close-codes.ts'
import type { EventPayload } from '../connection/event-table.ts'
import { headerLines } from './upgrade-headers.ts'

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
  readonly detail?: Pick<EventPayload<'ws.refused'>, 'header' | 'origin' | 'expected' | 'errorCode'>
}

/** What to wait when nothing says how long. */
const retryAfterSeconds = 5
/** Waits differ by less than this, or all who are refused would return at once (threat P6). */
const retrySpreadSeconds = 5

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
  const least = retryAfterMs === undefined ? retryAfterSeconds : Math.max(1, Math.ceil(retryAfterMs / 1000))
  return least + Math.floor(Math.random() * retrySpreadSeconds)
}

interface Answer {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

function answerOf(status: number, retryAfterMs: number | undefined, httpVersionMajor: number): Answer {
  const body = JSON.stringify(refusalBody(status))
  const { connection, upgrade, ...headers } = refusalHeaders(status, retryAfterMs)
  // HTTP/2 has neither (RFC 9113 section 8.2.2): node throws for `upgrade` where nobody could catch it.
  const hop = httpVersionMajor > 1 ? {} : { connection, ...(upgrade && { upgrade }) }
  return { headers: { ...hop, ...headers, 'content-type': 'application/json; charset=utf-8' }, body }
}

/**
 * Answers through Fastify, so that its logs and hooks see the refusal. A string with its own content type and
 * serializer: what a hook has set for answers of its own does not change this one.
 * @throws whatever a header of the developer's own that cannot be sent makes node throw
 */
export function sendRefusal(reply: FastifyReply, status: number, retryAfterMs?: number): void {
  const { headers, body } = answerOf(status, retryAfterMs, reply.request.raw.httpVersionMajor)
  reply.code(status).headers(headers).serializer(String).send(body)
}

/** Answers past Fastify, whose hooks or headers have failed at it. */
export function writeRefusal(reply: FastifyReply, status: number, extra: Readonly<Record<string, string>>): void {
  const { headers, body } = answerOf(status, undefined, reply.request.raw.httpVersionMajor)
  reply.hijack()
  // A hook has begun an answer of its own past Fastify.
  if (reply.raw.headersSent) return void reply.raw.destroy()
  reply.raw.writeHead(status, { ...extra, ...headers, 'content-length': String(Buffer.byteLength(body)) }).end(body)
}

/** Answers on the bare socket what Fastify must not see, and ends it. */
export function refuseSocket(socket: Duplex, status: RefusalStatus, extra: readonly string[]): void {
  const { headers, body } = answerOf(status, undefined, 1)
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    ...headerLines({ ...headers, 'content-length': String(Buffer.byteLength(body)) }),
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
