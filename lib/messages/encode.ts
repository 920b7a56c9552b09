/** What leaves: messages by their schema, and the messages of the wire itself. */
import { Kind, type TSchema } from '@sinclair/typebox'
import { reservedProperties } from '../contract.ts'
import { isInstance } from '../errors.ts'
import { type Detail, explain } from './details.ts'
import { compileProjection } from './project.ts'
import { compileWriter } from './writer.ts'

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
export function compileEncoder(
  what: string,
  schema: TSchema,
  opening?: string,
  reserved: readonly string[] = []
): Encode {
  const write = compileWriter(schema, opening, reserved)
  const project = compileProjection(schema, reserved)
  return (value) => {
    try {
      const text = write(value)
      if (text !== undefined) return text
      throw violation(what, schema, project(value))
    } catch (error) {
      throw isInstance(error, EncodeError) ? error : new EncodeError(what, '', 'cannot be read as JSON', error)
    }
  }
}

function violation(what: string, schema: TSchema, projected: unknown): EncodeError {
  // Any value would do, but JSON has none for this one.
  if (projected === undefined && openKinds.has(schema[Kind])) return new EncodeError(what, '', 'is undefined')
  const { path, message } = explain(schema, projected)[0] as Detail
  return new EncodeError(what, path, message)
}

const openKinds: ReadonlySet<unknown> = new Set(['Any', 'Unknown'])

/** The same for a server message: `{"type":…` before its properties, where no property can stand in for it. */
export function compileMessageEncoder(type: string, schema: TSchema): Encode {
  return compileEncoder(`message "${type}"`, schema, `{"type":${JSON.stringify(type)}`, reservedProperties)
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
