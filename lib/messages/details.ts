/**
 * Says where a value departs from its schema, and never what the value is. TypeBox's own `Errors` is not used: it runs
 * a pattern on a string that is already too long, walks without a bound, and lets the application's error function
 * print the value (threats M6, M7).
 */
import { FormatRegistry, Kind, type TSchema } from '@sinclair/typebox'
import { publicFormatName } from './formats.ts'
import { isObject } from './is-object.ts'
import { step } from './schema-lint.ts'
import { hasUniqueItems, uniqueItemsKind } from './unique-items.ts'

export interface Detail {
  /** JSON pointer to the place, without control characters and cut to 128 characters; `''` is the message itself. */
  readonly path: string
  readonly message: string
}

const maxDetails = 8
const maxPathLength = 128
/** Values looked at for one answer: what is larger is only told that it does not match. */
const maxVisits = 2_000

interface Walk {
  readonly found: Detail[]
  readonly visits: { left: number }
}

/** The first 8 departures of a value that its compiled check refused; at least one. */
export function explain(schema: TSchema, value: unknown): Detail[] {
  const walk: Walk = { found: [], visits: { left: maxVisits } }
  visit(schema, value, '', walk)
  return walk.found.length > 0 ? walk.found : [{ path: '', message: 'does not match its schema' }]
}

function report(walk: Walk, path: string, message: string): void {
  if (walk.found.length >= maxDetails) return
  // A key of the client's is part of the path: it may be long, and may hold what would forge a line of a log.
  const clean = path.slice(0, 4 * maxPathLength).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '')
  walk.found.push({ path: clean.slice(0, maxPathLength).replace(/[\uD800-\uDBFF]$/, ''), message })
}

function visit(schema: TSchema, value: unknown, path: string, walk: Walk): void {
  if (walk.found.length >= maxDetails || walk.visits.left-- <= 0) return
  switch (schema[Kind]) {
    case 'Object':
      visitObject(schema, value, path, walk)
      break
    case 'Record':
      visitRecord(schema, value, path, walk)
      break
    case 'Array':
      visitArray(schema, value, path, walk)
      break
    case 'Tuple':
      visitTuple(schema, value, path, walk)
      break
    case 'Union':
      visitUnion(schema, value, path, walk)
      break
    case 'Intersect':
      for (const member of schema.allOf as TSchema[]) visit(member, value, path, walk)
      break
    case 'Not':
      if (matches(schema.not, value, walk) && walk.visits.left > 0) report(walk, path, 'is excluded')
      break
    case uniqueItemsKind:
      // Too long a list has been reported, and is not looked at again.
      if (walk.found.length === 0 && !hasUniqueItems(value)) report(walk, path, 'must not repeat an item')
      break
    default: {
      const problem = leafProblem(schema, value)
      if (problem) report(walk, path, problem)
    }
  }
}

/** True when a walk of its own finds nothing; also when the visits are used up, and nothing more is reported then. */
function matches(schema: TSchema, value: unknown, { visits }: Walk): boolean {
  const trial: Walk = { found: [], visits }
  visit(schema, value, '', trial)
  return trial.found.length === 0
}

function countProblem(size: number, least: number | undefined, most: number | undefined, what: string): string {
  if (least !== undefined && size < least) return `must have at least ${least} ${what}`
  if (most !== undefined && size > most) return `must have at most ${most} ${what}`
  return ''
}

function visitObject(schema: TSchema, value: unknown, path: string, walk: Walk): void {
  if (!isObject(value)) return report(walk, path, 'must be an object')
  const keys = Object.keys(value)
  const count = countProblem(keys.length, schema.minProperties, schema.maxProperties, 'properties')
  if (count) report(walk, path, count)
  const properties = schema.properties as Record<string, TSchema>
  const additional = schema.additionalProperties as boolean | TSchema | undefined
  for (const name of (schema.required ?? []) as string[]) {
    if (!Object.hasOwn(value, name)) report(walk, step(path, name), 'is required')
  }
  for (const key of keys) {
    if (walk.found.length >= maxDetails || walk.visits.left <= 0) return
    if (Object.hasOwn(properties, key)) {
      if (value[key] !== undefined) visit(properties[key] as TSchema, value[key], step(path, key), walk)
    } else if (additional === false) report(walk, step(path, key), 'is not allowed')
    else if (typeof additional === 'object') visit(additional, value[key], step(path, key), walk)
  }
}

function visitRecord(schema: TSchema, value: unknown, path: string, walk: Walk): void {
  if (!isObject(value)) return report(walk, path, 'must be an object')
  const keys = Object.keys(value)
  const count = countProblem(keys.length, schema.minProperties, schema.maxProperties, 'properties')
  if (count) report(walk, path, count)
  const [[pattern, child]] = Object.entries(schema.patternProperties) as [[string, TSchema]]
  const expression = new RegExp(pattern)
  for (const key of keys) {
    if (walk.found.length >= maxDetails || walk.visits.left <= 0) return
    if (expression.test(key)) visit(child, value[key], step(path, key), walk)
    else if (schema.additionalProperties === false) report(walk, step(path, key), 'is not allowed')
  }
}

function visitArray(schema: TSchema, value: unknown, path: string, walk: Walk): void {
  if (!Array.isArray(value)) return report(walk, path, 'must be an array')
  const count = countProblem(value.length, schema.minItems, schema.maxItems, 'items')
  if (count) return report(walk, path, count)
  for (let index = 0; index < value.length && walk.visits.left > 0; index++) {
    visit(schema.items, value[index], `${path}/${index}`, walk)
  }
  if (!schema.contains) return
  const { minContains = 1, maxContains = value.length } = schema
  const found = value.filter((item) => walk.visits.left > 0 && matches(schema.contains, item, walk)).length
  if (walk.visits.left > 0 && (found < Math.max(minContains, 1) || found > maxContains)) {
    report(walk, path, 'must contain certain items')
  }
}

function visitTuple(schema: TSchema, value: unknown, path: string, walk: Walk): void {
  const items = (schema.items ?? []) as TSchema[]
  if (!Array.isArray(value) || value.length !== items.length) {
    return report(walk, path, `must be an array of ${items.length} items`)
  }
  for (const [index, item] of items.entries()) visit(item, value[index], `${path}/${index}`, walk)
}

/** When literals single out one variant, that variant's departures are told; otherwise only that none matches. */
function visitUnion(schema: TSchema, value: unknown, path: string, walk: Walk): void {
  const variants = schema.anyOf as TSchema[]
  if (variants.some((variant) => matches(variant, value, walk))) return
  const meant = variants.filter((variant) => isMeant(variant, value))
  if (meant.length === 1) visit(meant[0] as TSchema, value, path, walk)
  else report(walk, path, 'matches none of the allowed types')
}

function isMeant(variant: TSchema, value: unknown): boolean {
  if (variant[Kind] !== 'Object' || !isObject(value)) return false
  const literals = Object.entries(variant.properties as Record<string, TSchema>).filter(
    ([, property]) => property[Kind] === 'Literal'
  )
  return literals.length > 0 && literals.every(([name, property]) => value[name] === property.const)
}

function leafProblem(schema: TSchema, value: unknown): string {
  switch (schema[Kind]) {
    case 'String':
    case 'RegExp':
      return stringProblem(schema, value)
    case 'Number':
      return Number.isFinite(value) ? rangeProblem(schema, value as number) : 'must be a number'
    case 'Integer':
      return Number.isInteger(value) ? rangeProblem(schema, value as number) : 'must be an integer'
    case 'Boolean':
      return typeof value === 'boolean' ? '' : 'must be a boolean'
    case 'Null':
      return value === null ? '' : 'must be null'
    case 'Literal':
      return value === schema.const ? '' : `must be ${JSON.stringify(schema.const)}`
    case 'Never':
      return 'is not allowed'
    default:
      return ''
  }
}

function stringProblem(schema: TSchema, value: unknown): string {
  if (typeof value !== 'string') return 'must be a string'
  const count = countProblem(value.length, schema.minLength, schema.maxLength, 'characters')
  // What is too long never meets the pattern, whose cost was bounded by that length.
  if (count) return count
  const source = schema.source ?? schema.pattern
  if (source !== undefined && !new RegExp(source, schema.flags).test(value)) return 'must match its pattern'
  if (schema.format === undefined || FormatRegistry.Get(schema.format)?.(value)) return ''
  return `must match the format "${publicFormatName(schema.format)}"`
}

function rangeProblem(schema: TSchema, value: number): string {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema
  if (minimum !== undefined && value < minimum) return `must be at least ${minimum}`
  if (maximum !== undefined && value > maximum) return `must be at most ${maximum}`
  if (exclusiveMinimum !== undefined && value <= exclusiveMinimum) return `must be above ${exclusiveMinimum}`
  if (exclusiveMaximum !== undefined && value >= exclusiveMaximum) return `must be below ${exclusiveMaximum}`
  return multipleOf !== undefined && value % multipleOf !== 0 ? `must be a multiple of ${multipleOf}` : ''
}
