/** What comes in: text to a message that its schema has accepted, or the reason why not. Nothing here throws. */
import secureJsonParse from 'secure-json-parse'
import type { CompiledContract, IncomingMessage } from './compile-contract.ts'
import type { Detail } from './details.ts'
import { isObject } from './is-object.ts'

export interface JsonLimits {
  /** How deep objects and arrays may nest; the message itself is the first level. */
  readonly depth: number
  /** How many properties all objects of a message may have together. */
  readonly keys: number
}

export type Decoded =
  | {
      readonly kind: 'message'
      readonly message: IncomingMessage
      readonly value: Record<string, unknown>
      readonly ref: string | number | undefined
    }
  | { readonly kind: 'invalid_json' }
  | {
      readonly kind: 'rejected'
      readonly code: 'unknown_type' | 'invalid_message'
      readonly ref: string | number | undefined
      readonly details: Detail[] | undefined
    }

/** What `parseJson` returns for a text that closes the connection with 1007. */
export const invalidJson: unique symbol = Symbol('invalid JSON')

/** The longest `ref` that is a string. */
export const maxRefLength = 64

const quote = 0x22
const backslash = 0x5c
const colon = 0x3a

/**
 * Parses JSON from a stranger. Returns `invalidJson` when it is not JSON, is too deep, has too many keys, or has a key
 * that could poison a prototype (threats M3, M4, M8).
 */
export function parseJson(text: string, limits: JsonLimits): unknown {
  if (mayExceed(text, limits) && exceeds(text, limits)) return invalidJson
  try {
    // JSON can spell these keys in no other way than as they are or with \u escapes.
    if (!text.includes('__proto__') && !text.includes('constructor') && !text.includes('\\u')) return JSON.parse(text)
    // secure-json-parse would skip a byte order mark, which is not JSON.
    if (text.startsWith('\uFEFF')) return invalidJson
    return secureJsonParse(text, { protoAction: 'error', constructorAction: 'error' })
  } catch {
    return invalidJson
  }
}

/** A cheap look: too few brackets and colons, even counting those in strings, need no scan. */
function mayExceed(text: string, { depth, keys }: JsonLimits): boolean {
  // A level takes two characters, a key with its value at least four.
  if (text.length > 2 * depth && count(text, '{', depth) + count(text, '[', depth) > depth) return true
  return text.length > 4 * keys && count(text, ':', keys) > keys
}

/** Occurrences of a character, at most one more than `most`. */
function count(text: string, character: string, most: number): number {
  let found = 0
  for (let at = text.indexOf(character); at !== -1 && found <= most; at = text.indexOf(character, at + 1)) found++
  return found
}

/** Goes through the text once, past strings, and stops where a limit is passed. */
function exceeds(text: string, limits: JsonLimits): boolean {
  let depth = 0
  let keys = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) at = endOfString(text, at)
    else if (code === colon) {
      if (++keys > limits.keys) return true
    }
    // [ and { differ from ] and } only in the bit 0x20 and two below: 5b, 7b and 5d, 7d.
    else if ((code | 0x20) === 0x7b) {
      if (++depth > limits.depth) return true
    } else if ((code | 0x20) === 0x7d) depth--
  }
  return false
}

function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quote) return at
    if (code === backslash) at++
  }
  return text.length
}

/** The `ref` of an envelope when it is a string of at most 64 characters or a safe integer. */
export function readRef(value: unknown): string | number | undefined {
  if (!isObject(value) || !Object.hasOwn(value, 'ref')) return undefined
  const { ref } = value
  if (typeof ref === 'string') return ref.length <= maxRefLength ? ref : undefined
  return Number.isSafeInteger(ref) ? (ref as number) : undefined
}

/** Parses a text frame and checks it against the contract. */
export function decode(text: string, contract: CompiledContract, limits: JsonLimits): Decoded {
  const value = parseJson(text, limits)
  if (value === invalidJson) return { kind: 'invalid_json' }
  if (!isObject(value)) {
    return rejected('invalid_message', undefined, [{ path: '', message: 'must be an object' }])
  }
  const type = Object.hasOwn(value, 'type') ? value.type : undefined
  const message = typeof type === 'string' ? contract.incoming.get(type) : undefined
  if (!message) return rejected('unknown_type', readRef(value), undefined)
  if (!message.check(value)) return rejected('invalid_message', readRef(value), message.details(value))
  return { kind: 'message', message, value, ref: readRef(value) }
}

function rejected(
  code: 'unknown_type' | 'invalid_message',
  ref: string | number | undefined,
  details: Detail[] | undefined
): Decoded {
  return { kind: 'rejected', code, ref, details }
}
