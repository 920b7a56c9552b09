/**
 * Refuses, while the app boots, what a schema cannot check, cannot bound or would check otherwise than its author
 * thinks (threats M5, M7, M8). What passes here is a tree of the kinds in `keywords`, each with only keywords that
 * TypeBox's compiler carries out.
 */
import { Kind, TransformKind, type TSchema } from '@sinclair/typebox'
import { formatNames, registerFormat } from './formats.ts'
import { patternProblem } from './pattern-lint.ts'

/** Throws an OptionError that names the place, the problem and the fix. `path` is a JSON pointer into the schema. */
export type Refuse = (path: string, problem: string, fix: string) => never

const range = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf']
const counts = [
  ...['minLength', 'maxLength', 'minItems', 'maxItems'],
  ...['minContains', 'maxContains', 'minProperties', 'maxProperties']
]

/** The kinds that JSON can carry, and the keywords TypeBox checks on each. */
const keywords: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['Any', []],
  ['Unknown', []],
  ['Never', ['not']],
  ['Null', []],
  ['Boolean', []],
  ['Literal', ['const']],
  ['String', ['minLength', 'maxLength', 'pattern', 'format']],
  ['RegExp', ['minLength', 'maxLength']],
  ['TemplateLiteral', ['minLength', 'maxLength', 'pattern']],
  ['Number', range],
  ['Integer', range],
  ['Array', ['items', 'minItems', 'maxItems', 'uniqueItems', 'contains', 'minContains', 'maxContains']],
  ['Tuple', ['items', 'additionalItems', 'minItems', 'maxItems']],
  ['Object', ['properties', 'required', 'additionalProperties', 'minProperties', 'maxProperties']],
  ['Record', ['patternProperties', 'additionalProperties', 'minProperties', 'maxProperties']],
  ['Union', ['anyOf']],
  ['Intersect', ['allOf', 'unevaluatedProperties']],
  ['Not', ['not']]
])

/** Keywords of JSON Schema and OpenAPI that promise a check. On a kind that does not carry them out they are refused. */
const promises = new Set([
  ...[...keywords.values()].flat(),
  ...['enum', 'oneOf', 'if', 'then', 'else', 'nullable', 'prefixItems', 'propertyNames', 'unevaluatedItems'],
  ...['dependentRequired', 'dependentSchemas', 'dependencies']
])

const nesting = 'write the nesting out to a fixed depth'
const notJson = 'declare what JSON carries: Type.String, Type.Number, Type.Boolean, Type.Null, Type.Array, Type.Object'
const fixes: Readonly<Record<string, string>> = {
  Date: "use Type.String({ format: 'date-time' })",
  Uint8Array: "use Type.String({ format: 'byte' })",
  BigInt: 'use Type.String with a pattern, or Type.Integer',
  Undefined: 'use Type.Optional',
  Void: 'leave it out, or use Type.Null',
  Ref: nesting,
  This: nesting,
  Import: nesting,
  Unsafe: 'use a Type.… that is checked; for an enum, Type.Union of Type.Literal'
}

/** Deeper schemas are refused; `limits.json.depth` would let no message that deep in. */
const maxDepth = 64

interface Walk {
  readonly refuse: Refuse
  /** The schemas that contain this one, to see a circle. */
  readonly parents: readonly unknown[]
  /** Directly inside an intersection, where `Type.Not` has something to take away from. */
  readonly member: boolean
  /** Inside `not` or `contains`, which stay as open as they were written. */
  readonly selects: boolean
}

/** Checks one schema and everything in it. */
export function lintSchema(schema: unknown, refuse: Refuse): asserts schema is TSchema {
  visit(schema, '', { refuse, parents: [], member: false, selects: false })
}

/** True for anything made by `Type.…`. */
export function isTypeBoxSchema(value: unknown): value is TSchema {
  return typeof value === 'object' && value !== null && Kind in value
}

/** A JSON pointer one step further (RFC 6901). */
export function step(path: string, ...keys: string[]): string {
  return keys.reduce((all, key) => `${all}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`, path)
}

function visit(schema: unknown, path: string, walk: Walk): void {
  const refuse: Refuse = walk.refuse
  if (!isTypeBoxSchema(schema)) refuse(path, 'this is not a TypeBox schema', 'use Type.… of @sinclair/typebox')
  if ('$ref' in schema || walk.parents.includes(schema)) refuse(path, 'recursion is not supported', nesting)
  if (walk.parents.length > maxDepth) refuse(path, `it is nested deeper than ${maxDepth}`, 'flatten it')
  if (TransformKind in schema) refuse(path, 'Type.Transform is not applied', 'convert the value in the handler')
  const kind = schema[Kind]
  const known = keywords.get(kind)
  if (!known) refuse(path, `Type.${kind} cannot be checked in JSON`, fixes[kind] ?? notJson)
  for (const keyword of Object.keys(schema)) {
    if (!promises.has(keyword) || known.includes(keyword)) continue
    refuse(path, `\`${keyword}\` is not checked on Type.${kind}`, 'remove it, or say it with Type.…')
  }
  lintShape(schema, path, refuse)
  lintBounds(schema, path, refuse)
  lintKind(schema, path, walk)
  const parents = [...walk.parents, schema]
  for (const [child, childPath] of children(schema, path)) {
    const selects = walk.selects || kind === 'Not' || child === schema.contains
    visit(child, childPath, { refuse, parents, member: kind === 'Intersect', selects })
  }
}

const parts: Readonly<Record<string, string>> = {
  Object: 'properties',
  Record: 'patternProperties',
  Union: 'anyOf',
  Intersect: 'allOf'
}

/** What was put together by hand may lack its parts. */
function lintShape(schema: TSchema, path: string, refuse: Refuse): void {
  const keyword = parts[schema[Kind]]
  if (keyword === undefined) return
  const part: unknown = schema[keyword]
  const isList = keyword === 'anyOf' || keyword === 'allOf'
  if (typeof part === 'object' && part !== null && Array.isArray(part) === isList) return
  refuse(path, `\`${keyword}\` is missing`, `make it with Type.${schema[Kind]}`)
}

function lintBounds(schema: TSchema, path: string, refuse: Refuse): void {
  for (const keyword of counts) {
    const value: unknown = schema[keyword]
    if (value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0)) continue
    refuse(path, `\`${keyword}\` is not a length`, 'give a whole number from 0')
  }
  for (const keyword of range) {
    const value: unknown = schema[keyword]
    if (value === undefined || (Number.isFinite(value) && (keyword !== 'multipleOf' || (value as number) > 0))) continue
    refuse(path, `\`${keyword}\` is not a bound`, 'give a finite number (multipleOf: above 0)')
  }
}

function lintKind(schema: TSchema, path: string, walk: Walk): void {
  const refuse: Refuse = walk.refuse
  switch (schema[Kind]) {
    case 'String':
      lintString(schema, path, refuse)
      break
    case 'RegExp':
      lintPattern(schema.source, schema.flags, requireMaxLength(schema, path, refuse), path, refuse)
      break
    case 'TemplateLiteral':
      lintPattern(schema.pattern, '', schema.maxLength, path, refuse)
      break
    case 'Literal':
      if (typeof schema.const === 'number' && !Number.isFinite(schema.const)) {
        refuse(path, 'JSON has no such number', 'use a finite number')
      }
      break
    case 'Array':
      if (schema.uniqueItems && schema.maxItems === undefined) {
        refuse(path, '`uniqueItems` without `maxItems` is not bounded', 'add maxItems')
      }
      break
    case 'Object':
      lintObject(schema, path, refuse)
      break
    case 'Record':
      lintRecord(schema, path, refuse)
      break
    case 'Intersect':
      if (walk.selects && schema.unevaluatedProperties !== undefined) {
        refuse(path, '`unevaluatedProperties` has no meaning inside `not` or `contains`', 'remove it')
      }
      break
    case 'Not':
      if (!walk.member) {
        refuse(path, 'Type.Not alone accepts everything else', 'put it beside the type it narrows in Type.Intersect')
      }
  }
}

function requireMaxLength(schema: TSchema, path: string, refuse: Refuse): number {
  if (schema.maxLength === undefined) refuse(path, 'a pattern without `maxLength` is not bounded', 'add maxLength')
  return schema.maxLength
}

function lintPattern(source: string, flags: string, maxLength: number | undefined, path: string, refuse: Refuse): void {
  const found = patternProblem(source, flags, maxLength)
  if (found) refuse(path, found.problem, found.fix)
}

function lintString(schema: TSchema, path: string, refuse: Refuse): void {
  const { pattern, format } = schema
  if (pattern !== undefined) {
    if (typeof pattern !== 'string') refuse(path, '`pattern` is not a string', 'give its source, or use Type.RegExp')
    lintPattern(pattern, '', requireMaxLength(schema, path, refuse), path, refuse)
  }
  if (format !== undefined && registerFormat(format) === undefined) {
    const fix = `use one of ${formatNames.join(', ')}, or put it into FormatRegistry of @sinclair/typebox`
    refuse(path, `the format "${format}" is unknown`, fix)
  }
}

function lintObject(schema: TSchema, path: string, refuse: Refuse): void {
  const names = Object.getOwnPropertyNames(schema.properties)
  for (const name of names) {
    // The compiled check reads `value.name`, and every object inherits these.
    if (name in Object.prototype) {
      refuse(step(path, 'properties', name), 'every object has a property of this name', 'use another name')
    }
  }
  const unknown = (schema.required as readonly string[] | undefined)?.find((name) => !names.includes(name))
  if (unknown !== undefined) refuse(path, `\`required\` names the undeclared "${unknown}"`, 'declare it')
}

function lintRecord(schema: TSchema, path: string, refuse: Refuse): void {
  const patterns = Object.keys(schema.patternProperties)
  if (patterns.length !== 1) refuse(path, 'a record has one pattern of keys', 'use Type.Record')
  lintPattern(patterns[0] as string, '', undefined, path, refuse)
  // TypeBox compiles that schema against the wrong value.
  if (isTypeBoxSchema(schema.additionalProperties)) {
    refuse(path, 'a schema of `additionalProperties` is not supported on Type.Record', 'use Type.Object')
  }
}

/** The schemas directly inside one, each with its path. */
function children(schema: TSchema, path: string): [unknown, string][] {
  const list = (keyword: string): [unknown, string][] =>
    ((schema[keyword] ?? []) as unknown[]).map((child, index) => [child, step(path, keyword, String(index))])
  const map = (keyword: string): [unknown, string][] =>
    Object.entries(schema[keyword] as object).map(([name, child]) => [child, step(path, keyword, name)])
  const optional = (keyword: string): [unknown, string][] =>
    schema[keyword] === undefined || typeof schema[keyword] === 'boolean'
      ? []
      : [[schema[keyword], step(path, keyword)]]
  switch (schema[Kind]) {
    case 'Array':
      return [[schema.items, step(path, 'items')], ...optional('contains')]
    case 'Tuple':
      return list('items')
    case 'Object':
      return [...map('properties'), ...optional('additionalProperties')]
    case 'Record':
      return map('patternProperties')
    case 'Union':
      return list('anyOf')
    case 'Intersect':
      return [...list('allOf'), ...optional('unevaluatedProperties')]
    case 'Not':
      return [[schema.not, step(path, 'not')]]
    default:
      return []
  }
}
