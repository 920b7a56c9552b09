/**
 * Writes JSON by a schema: what is declared, checked while it is read, in one pass (threat O3). What is more than
 * objects, arrays and scalars is projected, checked and left to `JSON.stringify`.
 */
import { Kind, type TSchema } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { isObject } from './is-object.ts'
import { compileProjection } from './project.ts'

/** The JSON text of a value, or `undefined` for one that does not match. What is written was read once. */
export type Write = (value: unknown) => string | undefined

/**
 * `schema` is a closed copy. `opening` is what an object begins with, such as `{"type":"said"`; properties in `reserved`
 * are then never taken from the value, declared or not.
 */
export function compileWriter(schema: TSchema, opening = '{', reserved: readonly string[] = []): Write {
  return isPlain(schema) ? writePlain(schema, opening) : writeProjected(schema, opening, reserved)
}

const scalars: ReadonlySet<unknown> = new Set([
  ...['String', 'RegExp', 'TemplateLiteral', 'Number', 'Integer'],
  ...['Boolean', 'Null', 'Literal']
])

/** Made of objects and arrays that their members describe in full, and of scalars: what is read can be written at once. */
function isPlain(schema: TSchema): boolean {
  switch (schema[Kind]) {
    case 'Object':
      return isPlainObject(schema) && Object.values(schema.properties as Record<string, TSchema>).every(isPlain)
    case 'Array':
      return isPlainArray(schema) && isPlain(schema.items)
    default:
      return isScalar(schema)
  }
}

function isPlainObject({ additionalProperties, minProperties, maxProperties }: TSchema): boolean {
  return additionalProperties === false && minProperties === undefined && maxProperties === undefined
}

function isPlainArray({ contains, minContains, maxContains, uniqueItems }: TSchema): boolean {
  return contains === undefined && minContains === undefined && maxContains === undefined && !uniqueItems
}

/** A union of scalars is one: `Type.Union([Type.Literal('a'), Type.Literal('b')])`. */
function isScalar({ [Kind]: kind, anyOf }: TSchema): boolean {
  return kind === 'Union' ? (anyOf as TSchema[]).every(isScalar) : scalars.has(kind)
}

function writePlain(schema: TSchema, opening = '{'): Write {
  if (schema[Kind] === 'Object') return writeObject(schema, opening)
  return schema[Kind] === 'Array' ? writeArray(schema) : writeScalar(schema)
}

interface Field {
  readonly name: string
  /** `"name":` */
  readonly key: string
  readonly isOptional: boolean
  readonly write: Write
}

function writeObject(schema: TSchema, opening: string): Write {
  const required = schema.required as readonly string[]
  const fields = Object.entries(schema.properties as Record<string, TSchema>).map(
    ([name, property]): Field => ({
      name,
      key: `${JSON.stringify(name)}:`,
      isOptional: !required.includes(name),
      write: writePlain(property)
    })
  )
  return (value) => {
    if (!isObject(value)) return undefined
    let text = opening
    let separator = opening === '{' ? '' : ','
    for (const { name, key, isOptional, write } of fields) {
      const property = value[name]
      if (property === undefined && isOptional) continue
      const written = write(property)
      if (written === undefined) return undefined
      text += separator + key + written
      separator = ','
    }
    return `${text}}`
  }
}

function writeArray(schema: TSchema): Write {
  const { minItems = 0, maxItems = Number.POSITIVE_INFINITY } = schema as { minItems?: number; maxItems?: number }
  const write = writePlain(schema.items)
  return (value) => {
    if (!Array.isArray(value)) return undefined
    const { length } = value
    if (length < minItems || length > maxItems) return undefined
    let text = '['
    for (let at = 0; at < length; at++) {
      const written = write(value[at])
      if (written === undefined) return undefined
      text += at === 0 ? written : `,${written}`
    }
    return `${text}]`
  }
}

function writeScalar(schema: TSchema): Write {
  const compiled = TypeCompiler.Compile(schema)
  return (value) => {
    if (!compiled.Check(value)) return undefined
    if (typeof value === 'string') return quote(value)
    return Number.isFinite(value) ? String(value) : JSON.stringify(value)
  }
}

/** Below the space. */
const control = /[^ -\uffff]/

/** `JSON.stringify` looks at each character; ASCII that needs no escape is told apart several times as fast. */
function quote(text: string): string {
  const isAsItIs =
    Buffer.byteLength(text) === text.length && !text.includes('"') && !text.includes('\\') && !control.test(text)
  return isAsItIs ? `"${text}"` : JSON.stringify(text)
}

function writeProjected(schema: TSchema, opening: string, reserved: readonly string[]): Write {
  const project = compileProjection(schema, reserved)
  const compiled = TypeCompiler.Compile(schema)
  return (value) => {
    const projected = project(value)
    const text = compiled.Check(projected) ? JSON.stringify(projected) : undefined
    if (text === undefined || opening === '{') return text
    return text === '{}' ? `${opening}}` : `${opening},${text.slice(1)}`
  }
}
