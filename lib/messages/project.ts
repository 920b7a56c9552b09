/**
 * Builds the value that leaves: plain data with the declared properties only (threat O3, ASVS V15.3.1). Everything is
 * read once, so that what is checked afterwards is what is written, whatever getters, proxies or `toJSON` say.
 */
import { Kind, type TSchema } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { isObject } from './is-object.ts'

export type Project = (value: unknown) => unknown

/** Stands for what cannot match. Not `undefined`, which would make an optional property vanish without a word. */
const mismatch: unique symbol = Symbol('mismatch')

/** `schema` is a closed copy; properties in `reserved` are never taken from the value, declared or not. */
export function compileProjection(schema: TSchema, reserved: readonly string[] = []): Project {
  switch (schema[Kind]) {
    case 'Object':
      return projectObject(schema, reserved)
    case 'Record':
      return projectRecord(compileProjection(Object.values(schema.patternProperties)[0] as TSchema))
    case 'Array': {
      const item = compileProjection(schema.items)
      return (value) => (Array.isArray(value) ? Array.from(value, (each) => item(each)) : mismatch)
    }
    case 'Tuple': {
      const items = ((schema.items ?? []) as TSchema[]).map((item) => compileProjection(item))
      return (value) =>
        Array.isArray(value) && value.length === items.length
          ? items.map((item, index) => item(value[index]))
          : mismatch
    }
    case 'Union':
      return projectUnion(schema.anyOf)
    case 'Intersect':
      // A closed intersection is one object, or several scalars; what follows only takes away.
      return compileProjection(schema.allOf[0])
    case 'Any':
    case 'Unknown':
      return plain
    default:
      // Whatever is no scalar fails the check of a scalar.
      return (value) => value
  }
}

function isScalar(value: unknown): boolean {
  return (typeof value !== 'object' && typeof value !== 'function') || value === null
}

/** What the schema leaves open: whatever JSON makes of it. @throws TypeError for a circle or a bigint */
function plain(value: unknown): unknown {
  const text = JSON.stringify(value)
  return text === undefined ? undefined : JSON.parse(text)
}

function projectObject(schema: TSchema, reserved: readonly string[]): Project {
  const properties = Object.entries(schema.properties as Record<string, TSchema>).map(
    ([name, property]): [string, Project] => [name, compileProjection(property)]
  )
  const additional = schema.additionalProperties as boolean | TSchema
  const addition = additional === true ? plain : additional && compileProjection(additional)
  const known = new Set([...properties.map(([name]) => name), ...reserved])
  return (value) => {
    if (!isObject(value)) return mismatch
    const result: Record<string, unknown> = {}
    for (const [name, project] of properties) {
      const property = value[name]
      const projected = property === undefined ? undefined : project(property)
      if (projected !== undefined) result[name] = projected
    }
    if (addition) copyEntries(value, result, addition, known)
    return result
  }
}

function projectRecord(child: Project): Project {
  return (value) => (isObject(value) ? copyEntries(value, {}, child, new Set()) : mismatch)
}

function copyEntries(from: object, to: Record<string, unknown>, project: Project, skip: ReadonlySet<string>): object {
  for (const [key, value] of Object.entries(from)) {
    if (skip.has(key) || value === undefined) continue
    // Assigning to `__proto__` would change the object rather than its properties, and no peer should parse such a key.
    if (key === '__proto__') throw new TypeError('a key is __proto__')
    const result = project(value)
    if (result !== undefined) to[key] = result
  }
  return to
}

/** The variant the value matches as it is; else the first that its projection matches. */
function projectUnion(schemas: readonly TSchema[]): Project {
  const variants = schemas.map((schema) => {
    const compiled = TypeCompiler.Compile(schema)
    return { project: compileProjection(schema), check: (value: unknown) => compiled.Check(value) }
  })
  return (value) => {
    if (isScalar(value)) return value
    const whole = variants.find(({ check }) => check(value))
    for (const { project, check } of whole ? [whole, ...variants] : variants) {
      const result = project(value)
      if (check(result)) return result
    }
    return mismatch
  }
}
