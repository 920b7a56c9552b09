/** What leaves: messages by their schema, and the messages of the wire itself. */
import type { TSchema } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { reservedProperties } from '../contract.ts'
import { explain } from './details.ts'
import { compileProjection } from './project.ts'

/**
 * A message or reply of the application's own does not match its schema. The message names the type and the path,
 * never the value; `cause` is what reading the value threw, if it did.
 */
export class EncodeError extends Error {
  readonly code = 'WSG_ERR_ENCODE'

  constructor(what: string, path: string, problem: string, cause?: unknown) {
    super(`${what}: ${path || 'the whole'} ${problem}`, cause === undefined ? undefined : { cause })
    this.name = 'EncodeError'
  }
}

/** The JSON text of a value by its closed schema. @throws EncodeError */
export type Encode = (value: unknown) => string

/** `what` is how an EncodeError names the message, for example `message "chat"`. */
export function compileEncoder(what: string, schema: TSchema, reserved: readonly string[] = []): Encode {
  const project = compileProjection(schema, reserved)
  const compiled = TypeCompiler.Compile(schema)
  return (value) => {
    let projected: unknown
    let matches: boolean
    try {
      projected = project(value)
      matches = compiled.Check(projected)
    } catch (error) {
      throw new EncodeError(what, '', 'cannot be read as JSON', error)
    }
    const text = matches ? JSON.stringify(projected) : undefined
    if (text !== undefined) return text
    const detail = matches ? undefined : explain(schema, projected)[0]
    throw new EncodeError(what, detail?.path ?? '', detail?.message ?? 'is undefined')
  }
}

/** The same for a server message: `{"type":…}` before its properties, where no property can stand in for it. */
export function compileMessageEncoder(type: string, schema: TSchema): Encode {
  const encode = compileEncoder(`message "${type}"`, schema, reservedProperties)
  const start = `{"type":${JSON.stringify(type)}`
  return (message) => {
    const text = encode(message)
    return text === '{}' ? `${start}}` : `${start},${text.slice(1)}`
  }
}

export interface ErrorMessage {
  readonly code: string
  readonly message: string
  readonly ref?: string | number | undefined
  readonly details?: unknown
  readonly retryAfterMs?: number | undefined
  readonly dropped?: number | undefined
  readonly refs?: readonly (string | number)[] | undefined
}

/** `{"type":"error",…}`. Never throws: details that are not JSON are left out. */
export function encodeErrorMessage(error: ErrorMessage): string {
  const { code, message, ref, details, retryAfterMs, dropped, refs } = error
  const fields = { type: 'error', code, message, ref, details, retryAfterMs, dropped, refs }
  try {
    return JSON.stringify(fields)
  } catch {
    return JSON.stringify({ ...fields, details: undefined })
  }
}

/** `{"type":"reply",…}`; `dataJson` is what `encodeReply` of the incoming message returned. */
export function encodeReply(ref: string | number, dataJson: string): string {
  return `{"type":"reply","ref":${JSON.stringify(ref)},"data":${dataJson}}`
}

/** `{"type":"auth_ok",…}`; `expiresInMs` is left out for a credential that does not expire. */
export function encodeAuthOk(expiresInMs: number | undefined): string {
  return JSON.stringify({ type: 'auth_ok', expiresInMs })
}
