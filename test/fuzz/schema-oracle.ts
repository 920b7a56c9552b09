/**
 * Ajv's opinion of a contract, on the schema as its author wrote it, closed by the few lines below.
 *
 * What the guard does on purpose in another way than Ajv, and what is done about it here:
 * - Strings are counted in UTF-16 units, as TypeBox and JavaScript do: `unicode: false`.
 * - Patterns have no flag `u`, as TypeBox compiles them: `unicodeRegExp: false`.
 * - `Type.Record(Type.String(), …)` takes any key; TypeBox's `^(.*)$` would miss one with a line break: it is
 *   `additionalProperties` here.
 * - `Type.RegExp` is a string with a pattern; to Ajv its type is unknown.
 * - Formats are those of ajv-formats, the fast ones but for dates and times.
 */
import { Kind, type TSchema } from '@sinclair/typebox'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { fastFormats, fullFormats } from 'ajv-formats/dist/formats.js'
import { isRef } from './json-model.ts'

const { date, time, 'date-time': dateTime } = fullFormats
const options = {
  strict: false,
  unicode: false,
  unicodeRegExp: false,
  logger: false,
  ownProperties: true,
  strictNumbers: true
} as const
const formats = { ...fastFormats, date, time, 'date-time': dateTime }
const makeAjv = (): Ajv2019 => new Ajv2019({ ...options, meta: false, validateSchema: false, formats })

/** To make one takes longer than to compile a schema, but none forgets all of what it has compiled. */
const schemasOfOne = 200
let ajv = makeAjv()
let compiled = 0

function compile(schema: object): Check {
  if (++compiled % schemasOfOne === 0) ajv = makeAjv()
  const check = ajv.compile(schema)
  return (value) => check(value) === true
}

type Check = (value: unknown) => boolean

/** Whether a value matches the schema, every object of it closed. */
export function checkOf(schema: TSchema): Check {
  return compile(close(schema, false))
}

/** Whether a whole message matches: the envelope, and nothing undeclared beside it. */
export function checkMessageOf(type: string, schema: TSchema): Check {
  const closed = close(schema, false) as { properties: object; required?: string[] }
  const check = compile({
    ...closed,
    properties: { ...closed.properties, type: { const: type }, ref: {} },
    required: ['type', ...(closed.required ?? [])]
  })
  return (value) => check(value) && (!Object.hasOwn(value as object, 'ref') || isRef((value as { ref: unknown }).ref))
}

type Json = Record<string, unknown>

/** A copy in which every object says what it may hold: itself, or the intersection that it is a part of. */
function close(schema: TSchema, isPart: boolean): Json {
  const { properties, patternProperties, items, anyOf, allOf, ...rest } = schema as unknown as Record<string, TSchema>
  const plain = JSON.parse(JSON.stringify(rest)) as Json
  const list = (all: unknown, inside: boolean): Json[] => (all as TSchema[]).map((each) => close(each, inside))
  if (schema[Kind] === 'RegExp') return { type: 'string', pattern: schema.source, maxLength: schema.maxLength }
  if (allOf !== undefined)
    return { ...plain, allOf: list(allOf, true), ...(!isPart && { unevaluatedProperties: false }) }
  if (anyOf !== undefined) return { ...plain, anyOf: list(anyOf, isPart) }
  if (patternProperties !== undefined) {
    const [child] = Object.values(patternProperties) as unknown as [TSchema]
    return { ...plain, additionalProperties: close(child, false) }
  }
  if (properties !== undefined) {
    const closed = Object.entries(properties).map(([name, child]) => [name, close(child as TSchema, false)])
    return { ...(!isPart && { additionalProperties: false }), ...plain, properties: Object.fromEntries(closed) }
  }
  if (items !== undefined) return { ...plain, items: Array.isArray(items) ? list(items, false) : close(items, false) }
  return plain
}
