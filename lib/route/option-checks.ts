import { validateHeaderName, validateHeaderValue } from 'node:http'
import { type CloseCodeName, closeCodePresets, closeCodes, isSendableCloseCode } from '../close-codes.ts'
import { credentialSources } from '../handshake/credentials.ts'
import { credentialPrefixes } from '../handshake/request-shape.ts'
import { storeMethods } from '../limits/store.ts'
import { isObject } from '../messages/is-object.ts'

/** What an option may be: in words, for the error, and as a test. */
export interface OptionCheck {
  readonly allowed: string
  readonly accepts: (value: unknown) => boolean
}

/** The largest number a 32-bit timer or ws's receiver can hold; ws takes more, 0 and NaN for "unlimited" (threat R4). */
export const maxInt32 = 2_147_483_647

export function integer(min: number, max: number = maxInt32): OptionCheck {
  return {
    allowed: `an integer from ${min} to ${max}`,
    accepts: (value) => Number.isInteger(value) && (value as number) >= min && (value as number) <= max
  }
}

/** A rate may be below one a second. */
export function positive(max: number = maxInt32): OptionCheck {
  return {
    allowed: `a number above 0, at most ${max}`,
    accepts: (value) => typeof value === 'number' && value > 0 && value <= max
  }
}

export function oneOf(...values: readonly unknown[]): OptionCheck {
  return {
    allowed: values.map((value) => JSON.stringify(value)).join(' or '),
    accepts: (value) => values.includes(value)
  }
}

export function either(first: OptionCheck, second: OptionCheck): OptionCheck {
  return {
    allowed: `${first.allowed}, or ${second.allowed}`,
    accepts: (value) => first.accepts(value) || second.accepts(value)
  }
}

/** An object with exactly these properties. */
export function shape(properties: Readonly<Record<string, OptionCheck>>): OptionCheck {
  const names = Object.keys(properties)
  return {
    allowed: `{ ${names.map((name) => `${name}: ${properties[name]?.allowed}`).join(', ')} }`,
    accepts: (value) =>
      isObject(value) &&
      Object.keys(value).length === names.length &&
      names.every((name) => properties[name]?.accepts(value[name]))
  }
}

/** Unlike `every` of the list itself also of its holes. */
function all(list: readonly unknown[], accepts: (entry: unknown) => boolean): boolean {
  return Array.from(list).every(accepts)
}

export function listOf(item: OptionCheck, min = 1): OptionCheck {
  return {
    allowed: `${min > 0 ? 'a list that is not empty' : 'a list'}, each ${item.allowed}`,
    accepts: (value) => Array.isArray(value) && value.length >= min && all(value, (entry) => item.accepts(entry))
  }
}

export const boolean: OptionCheck = { allowed: 'true or false', accepts: (value) => typeof value === 'boolean' }
export const no: OptionCheck = { allowed: 'false', accepts: (value) => value === false }
export const func: OptionCheck = { allowed: 'a function', accepts: (value) => typeof value === 'function' }
export const text: OptionCheck = {
  allowed: 'a string that is not empty',
  accepts: (value) => typeof value === 'string' && value !== ''
}
export const texts: OptionCheck = either(text, listOf(text))
export const duration: OptionCheck = integer(1)
export const optionalDuration: OptionCheck = either(duration, no)
export const timeWindow: OptionCheck = either(duration, {
  allowed: "a time such as '1 minute'",
  accepts: (value) => typeof value === 'string' && /^[1-9]\d* ?(ms|s|m|h|(second|minute|hour)s?)$/.test(value)
})
export const credentialFrom: OptionCheck = {
  allowed: `a list of different sources: ${credentialSources.map((source) => `'${source}'`).join(', ')}`,
  accepts: (value) =>
    listOf(oneOf(...credentialSources)).accepts(value) &&
    new Set(value as unknown[]).size === (value as unknown[]).length
}
export const store: OptionCheck = {
  allowed: `a store: an object with the methods ${storeMethods.join(', ')} (see the type Store)`,
  accepts: (value) => isObject(value) && storeMethods.every((name) => typeof value[name] === 'function')
}

// RFC 6455 section 4.1: a subprotocol is a token of RFC 7230.
const tokenPattern = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const prefixes = Object.values(credentialPrefixes)

export const subprotocols: OptionCheck = {
  allowed: `a list of different subprotocol names (RFC 6455), none that begins with ${prefixes.join(' or ')}`,
  accepts: (value) =>
    Array.isArray(value) &&
    value.length > 0 &&
    new Set(value).size === value.length &&
    all(
      value,
      (name) =>
        typeof name === 'string' && tokenPattern.test(name) && !prefixes.some((prefix) => name.startsWith(prefix))
    )
}

/** Headers of the handshake itself, those of one hop, and those that would change how the answer is read (threat H14). */
const forbiddenHeaders =
  /^(connection|upgrade|sec-websocket-.*|content-(type|length|encoding|range)|transfer-encoding|date|keep-alive|proxy-connection|te|trailer|http2-settings)$/

export const constantHeaders: OptionCheck = {
  allowed: 'an object of constant header values, none of the handshake itself',
  accepts: (value) => isObject(value) && Object.entries(value).every(([name, content]) => isHeader(name, content))
}

function isHeader(name: string, value: unknown): boolean {
  try {
    validateHeaderName(name)
    validateHeaderValue(name, value as string)
    return typeof value === 'string' && !forbiddenHeaders.test(name.toLowerCase())
  } catch {
    return false
  }
}

export const closeCodeMap: OptionCheck = {
  allowed: `${Object.keys(closeCodePresets)
    .map((name) => `'${name}'`)
    .join(' or ')}, or an object of ${Object.keys(closeCodes).join(', ')} with codes that may be sent`,
  accepts: (value) =>
    (typeof value === 'string' && Object.hasOwn(closeCodePresets, value)) ||
    (isObject(value) &&
      Object.entries(value).every(
        ([name, code]) => Object.hasOwn(closeCodes, name as CloseCodeName) && isSendableCloseCode(code)
      ))
}

export const anything: OptionCheck = { allowed: 'any value', accepts: () => true }
