/**
 * The string formats a contract may use. They live in TypeBox's global registry under private names, so that a format
 * of the same name that the application registered is neither changed nor relied upon.
 */
import { FormatRegistry } from '@sinclair/typebox'
import { fastFormats, fullFormats } from 'ajv-formats/dist/formats.js'

const privatePrefix = 'ws-guard:'

/** Longest date, time or date-time read; the longest useful one has 35 characters. */
const maxTimeLength = 64

/** Regular expressions of ajv-formats that were measured to be linear at 64 KiB (threat M7). `url` is quadratic. */
const linear = [
  'duration',
  'uri',
  'uri-reference',
  'uri-template',
  'email',
  'hostname',
  'ipv4',
  'ipv6',
  'uuid',
  'json-pointer',
  'json-pointer-uri-fragment',
  'relative-json-pointer'
] as const
/** Functions of ajv-formats that know the calendar. */
const times = ['date', 'time', 'date-time', 'iso-time', 'iso-date-time'] as const

/** ajv-formats' own expression has the flag `m` and so accepts any text that has one good or empty line. */
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

type FormatCheck = (value: string) => boolean

const checks: ReadonlyMap<string, FormatCheck> = new Map<string, FormatCheck>([
  ...linear.map((name): [string, FormatCheck] => {
    const expression = fastFormats[name] as RegExp
    return [name, (value) => expression.test(value)]
  }),
  ...times.map((name): [string, FormatCheck] => {
    const { validate } = fullFormats[name] as { validate: FormatCheck }
    return [name, (value) => value.length <= maxTimeLength && validate(value)]
  }),
  ['byte', (value) => base64.test(value)]
])

/** The formats that need no registration by the application. */
export const formatNames: readonly string[] = [...checks.keys()]

/**
 * The name under which TypeBox finds a format: ours under its private name, one that the application itself put into
 * `FormatRegistry` under its own. `undefined` when nobody knows it.
 */
export function registerFormat(name: string): string | undefined {
  const check = checks.get(name)
  if (!check) return FormatRegistry.Has(name) ? name : undefined
  FormatRegistry.Set(privatePrefix + name, check)
  return privatePrefix + name
}

/** The name the developer wrote, for messages. */
export function publicFormatName(name: string): string {
  return name.startsWith(privatePrefix) ? name.slice(privatePrefix.length) : name
}
