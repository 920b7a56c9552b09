import createError, { type FastifyErrorConstructor } from '@fastify/error'

/**
 * A wrong option, contract or route. Thrown while the app boots; the message names the option and the fix.
 * `code` is `WSG_ERR_OPTION`.
 */
export const OptionError: FastifyErrorConstructor<{ code: 'WSG_ERR_OPTION' }, [string]> = createError(
  'WSG_ERR_OPTION',
  'fastify-ws-guard: %s',
  500,
  TypeError
)

/** `instanceof` for what somebody threw: that can be anything, also what throws when it is looked at. */
export function isInstance<T>(thrown: unknown, type: new (...values: never[]) => T): thrown is T {
  try {
    return thrown instanceof type
  } catch {
    return false
  }
}

/** For the log; a message may quote the token. */
export function errorCodeOf(error: unknown): string {
  return (readText(error, 'code') || readText(error, 'name') || 'UNKNOWN').slice(0, 64)
}

/** A property of what somebody threw, as text: that can be anything, also what throws when it is looked at. */
export function readText(error: unknown, property: string): string {
  try {
    const value = (error as Record<string, unknown> | null | undefined)?.[property]
    return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
  } catch {
    return ''
  }
}

/** The `code` of every error message the guard itself sends. */
export const errorCodes = {
  invalid_message: 'the message does not match its schema',
  unknown_type: 'the contract has no such message type',
  forbidden: 'this user may not send this message',
  rate_limited: 'too many messages or bytes',
  internal: 'the handler failed'
} as const

export type ErrorCode = keyof typeof errorCodes

const errorCodePattern = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/

/**
 * Thrown in a handler: the client gets `{ type: 'error', code, message, details? }` and the connection lives.
 * @throws TypeError when `code` is not a token of at most 64 letters, digits, `_`, `.` or `-`
 */
export class MessageError extends Error {
  readonly code: string
  readonly details: unknown

  constructor(code: string, message: string, details?: unknown) {
    super(message)
    if (typeof code !== 'string' || !errorCodePattern.test(code)) {
      throw new TypeError('MessageError: code must be a token of at most 64 letters, digits, "_", "." or "-"')
    }
    this.name = 'MessageError'
    this.code = code
    this.details = details
  }
}

/**
 * Thrown in `onOpen` or a handler: closes the connection. A code that may not be sent becomes 1011, a reason above
 * 123 bytes is cut (RFC 6455 section 5.5).
 */
export class CloseError extends Error {
  readonly closeCode: number
  readonly reason: string

  constructor(closeCode: number, reason = '') {
    super(reason || `close ${closeCode}`)
    this.name = 'CloseError'
    this.closeCode = closeCode
    this.reason = reason
  }
}
