/**
 * Why a connection ends, and the code that tells the peer. Browser-safe: the server, the client and the README read
 * this one table.
 */

/** What a client does after a close: nothing, retry with jitter, retry much later, or fetch a new credential first. */
export type Reconnect = 'no' | 'jitter' | 'backoff' | 'new-credential'

export interface CloseCodeEntry {
  readonly code: number
  readonly reconnect: Reconnect
  readonly meaning: string
}

/** The default codes (RFC 6455 section 7.4, the IANA registry, and three private ones that `'iana'` replaces). */
export const closeCodes = {
  normal: { code: 1000, reconnect: 'no', meaning: 'done' },
  going_away: { code: 1001, reconnect: 'jitter', meaning: 'the server goes away for good' },
  unsupported_data: { code: 1003, reconnect: 'no', meaning: 'a binary frame on a contract route' },
  invalid_data: { code: 1007, reconnect: 'no', meaning: 'not JSON, not UTF-8, too deep, or a poisoned key' },
  policy_violation: { code: 1008, reconnect: 'backoff', meaning: 'a limit or the contract was violated' },
  too_big: { code: 1009, reconnect: 'no', meaning: 'a message above limits.maxPayloadBytes' },
  internal_error: { code: 1011, reconnect: 'backoff', meaning: 'the server failed' },
  restart: { code: 1012, reconnect: 'jitter', meaning: 'the server restarts' },
  unavailable: { code: 1013, reconnect: 'backoff', meaning: 'overloaded, or a back end is down' },
  unauthorized: { code: 4001, reconnect: 'new-credential', meaning: 'the credential is missing, bad or expired' },
  forbidden: { code: 4003, reconnect: 'no', meaning: 'revoked, blocked or no longer allowed' },
  timeout: { code: 4008, reconnect: 'jitter', meaning: 'idle for too long' }
} as const

/** `isolatedDeclarations` admits no `satisfies` on an export, so tables are checked where their keys are named. */
export type Checked<Table, T extends Table> = T

export type CloseCodeName = keyof Checked<Record<string, CloseCodeEntry>, typeof closeCodes>

/** The codes in force: the defaults, a preset, or the developer's own. */
export type CloseCodes = Readonly<Record<CloseCodeName, number>>

/** `closeCodes: 'iana'` uses the registered 3000 Unauthorized, 3003 Forbidden and 3008 Timeout. */
export const closeCodePresets: { readonly iana: Partial<CloseCodes> } = {
  iana: { unauthorized: 3000, forbidden: 3003, timeout: 3008 }
}

/**
 * Every way a connection ends. `code` names the close code sent; `null` means that no close frame is sent
 * (the peer sees 1006). `reason` is the machine token in the close frame. `abusive` ends are not waited for:
 * the socket is destroyed `abuseGraceMs` after the close frame was written (threat R7).
 */
export const closeCauses = {
  client: { code: null, reason: '', abusive: false, meaning: 'the peer closed' },
  lost: { code: null, reason: '', abusive: false, meaning: 'the socket ended without a close frame' },
  server: { code: 'normal', reason: '', abusive: false, meaning: 'connection.close() or a CloseError' },
  invalid_json: { code: 'invalid_data', reason: 'invalid_json', abusive: true, meaning: 'not JSON, or a poisoned key' },
  invalid_frame: { code: null, reason: '', abusive: true, meaning: 'a frame against RFC 6455; ws answered it' },
  binary: { code: 'unsupported_data', reason: 'binary', abusive: true, meaning: 'a binary frame' },
  too_big: { code: 'too_big', reason: 'too_big', abusive: true, meaning: 'above limits.maxPayloadBytes' },
  invalid_messages: { code: 'policy_violation', reason: 'invalid_messages', abusive: true, meaning: 'strikes used up' },
  rate_limited: { code: 'policy_violation', reason: 'rate_limited', abusive: true, meaning: 'a flood' },
  overflow: { code: 'policy_violation', reason: 'overflow', abusive: true, meaning: 'limits.queue is full' },
  too_many_connections: {
    code: 'policy_violation',
    reason: 'too_many_connections',
    abusive: false,
    meaning: 'perUser is full after the 101'
  },
  unauthorized: { code: 'unauthorized', reason: 'unauthorized', abusive: false, meaning: 'no or bad auth message' },
  session_expired: { code: 'unauthorized', reason: 'session_expired', abusive: false, meaning: 'expired, or too old' },
  revoked: { code: 'forbidden', reason: 'revoked', abusive: false, meaning: 'revoked, blocked or disconnected' },
  forbidden: { code: 'forbidden', reason: 'forbidden', abusive: false, meaning: 'authorize said no after the 101' },
  unavailable: { code: 'unavailable', reason: 'unavailable', abusive: false, meaning: 'verifier or store is down' },
  idle: { code: 'timeout', reason: 'idle', abusive: false, meaning: 'no message within idleTimeoutMs' },
  internal: { code: 'internal_error', reason: 'internal', abusive: false, meaning: "the developer's code threw" },
  handler_timeout: {
    code: 'internal_error',
    reason: 'handler_timeout',
    abusive: false,
    meaning: 'a handler took longer than handlerTimeoutMs'
  },
  restart: { code: 'restart', reason: 'restart', abusive: false, meaning: 'the server shuts down' },
  heartbeat_timeout: { code: null, reason: '', abusive: false, meaning: 'no pong in time' },
  slow_consumer: { code: null, reason: '', abusive: false, meaning: 'the send buffer is above its hard bound' },
  close_timeout: { code: null, reason: '', abusive: false, meaning: 'the peer did not answer the close frame' }
} as const

interface CloseCauseEntry {
  readonly code: CloseCodeName | null
  readonly reason: string
  readonly abusive: boolean
  readonly meaning: string
}

export type CloseCause = keyof Checked<Record<string, CloseCauseEntry>, typeof closeCauses>

/** RFC 6455 section 5.5: a control frame carries 125 bytes, two of them are the code. */
export const maxCloseReasonBytes = 123

/** Codes an endpoint may send: RFC 6455 section 7.4.1, the IANA registry (1012, 1013), 3000 to 4999. Not 1005, 1006, 1015. */
export function isSendableCloseCode(code: unknown): code is number {
  if (!Number.isInteger(code)) return false
  const number = code as number
  if (number >= 3000 && number <= 4999) return true
  return (number >= 1000 && number <= 1003) || (number >= 1007 && number <= 1014 && number !== 1010)
}

/** Cuts a reason to 123 UTF-8 bytes without splitting a character (RFC 6455 section 5.5; threat O4). */
export function truncateCloseReason(reason: string): string {
  if (reason.length * 3 <= maxCloseReasonBytes) return reason
  const bytes = new TextEncoder().encode(reason)
  if (bytes.length <= maxCloseReasonBytes) return reason
  let end = maxCloseReasonBytes
  // 0b10xxxxxx continues a character: step back to where one begins.
  while (((bytes[end] as number) & 0xc0) === 0x80) end--
  return new TextDecoder().decode(bytes.subarray(0, end))
}
