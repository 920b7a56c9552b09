/** What a text is to the guard, told by JSON.parse, a tokenizer and Ajv, none of which the guard uses for it. */
export interface JsonBounds {
  readonly depth: number
  readonly keys: number
}

export type Told =
  | { readonly kind: 'invalid_json' }
  | { readonly kind: 'unknown_type' | 'invalid_message' }
  | { readonly kind: 'message'; readonly type: string; readonly value: Record<string, unknown> }

/** `checks`: for each type whether a whole message, with its envelope, matches. */
export function tell(text: string, checks: ReadonlyMap<string, (value: unknown) => boolean>, bounds: JsonBounds): Told {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { kind: 'invalid_json' }
  }
  const { depth, keys } = measure(text)
  if (depth > bounds.depth || keys > bounds.keys || isPoisoned(value)) return { kind: 'invalid_json' }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { kind: 'invalid_message' }
  const message = value as Record<string, unknown>
  const type = Object.hasOwn(message, 'type') ? message.type : undefined
  const check = typeof type === 'string' ? checks.get(type) : undefined
  if (check === undefined) return { kind: 'unknown_type' }
  return check(message) ? { kind: 'message', type: type as string, value: message } : { kind: 'invalid_message' }
}

const tokens = /"(?:[^"\\]|\\.)*"|[{}[\]:]/gs

/** Of a text that is JSON: a key that comes twice counts twice. */
export function measure(text: string): { depth: number; keys: number } {
  let depth = 0
  let deepest = 0
  let keys = 0
  for (const [token] of text.matchAll(tokens)) {
    if (token === ':') keys++
    else if (token === '{' || token === '[') deepest = Math.max(deepest, ++depth)
    else if (token === '}' || token === ']') depth--
  }
  return { depth: deepest, keys }
}

/** An own key `__proto__`, or a `constructor` with a `prototype`, however they were spelt. */
export function isPoisoned(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (Object.hasOwn(value, '__proto__')) return true
  const inner: unknown = Object.hasOwn(value, 'constructor') ? Reflect.get(value, 'constructor') : undefined
  if (typeof inner === 'object' && inner !== null && Object.hasOwn(inner, 'prototype')) return true
  return Object.values(value).some(isPoisoned)
}

/** The envelope's `ref`, as the wire defines it. */
export function isRef(ref: unknown): ref is string | number {
  return typeof ref === 'string' ? ref.length <= 64 : Number.isSafeInteger(ref)
}
