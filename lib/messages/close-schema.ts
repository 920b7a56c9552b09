/**
 * The copy of a schema that is compiled: every object closed unless its author wrote `additionalProperties`
 * (threat M5). The author's own schema is left untouched. Expects what `lintSchema` let pass.
 */
import { Kind, type TSchema } from '@sinclair/typebox'
import { registerFormat } from './formats.ts'
import { type Refuse, step } from './schema-lint.ts'
import { registerUniqueItems, uniqueItemsKind } from './unique-items.ts'

type Properties = Record<string, TSchema>

/** TypeBox's pattern for `Type.Record(Type.String(), …)`; it misses keys with a line break. */
const anyKey = '^(.*)$'

/** An intersection of unions is multiplied out; this bounds the product. */
const maxVariants = 64

/** A node of a schema; only what the compiler reads is kept, so an `$id` cannot stand for another schema. */
export function node(kind: string, keywords: object): TSchema {
  return { ...keywords, [Kind]: kind } as unknown as TSchema
}

/** The closed copy. `refuse` is called for an intersection that cannot be closed. */
export function closeSchema(schema: TSchema, refuse: Refuse): TSchema {
  return close(schema, '', refuse)
}

function close(schema: TSchema, path: string, refuse: Refuse): TSchema {
  const inner = (child: TSchema, ...keys: string[]): TSchema => close(child, step(path, ...keys), refuse)
  switch (schema[Kind]) {
    case 'Object':
      return closeObject(schema, path, refuse)
    case 'Record':
      return closeRecord(schema, (child) => inner(child, 'patternProperties'))
    case 'Array':
      return closeArray(schema, inner(schema.items, 'items'))
    case 'Tuple':
      return node('Tuple', {
        ...pick(schema, ['type', 'minItems', 'maxItems', 'additionalItems']),
        ...(schema.items && {
          items: (schema.items as TSchema[]).map((item, index) => inner(item, 'items', String(index)))
        })
      })
    case 'Union':
      return union((schema.anyOf as TSchema[]).map((variant, index) => inner(variant, 'anyOf', String(index))))
    case 'Intersect':
      return closeIntersect(schema, path, refuse)
    default:
      return leaf(schema)
  }
}

function pick(schema: TSchema, keywords: readonly string[]): object {
  return Object.fromEntries(keywords.filter((name) => schema[name] !== undefined).map((name) => [name, schema[name]]))
}

const leafKeywords = [
  ...['type', 'not', 'const', 'minLength', 'maxLength', 'pattern', 'source', 'flags'],
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf']
]

function leaf(schema: TSchema): TSchema {
  const keywords = pick(schema, leafKeywords)
  // A template is checked as a string, because TypeBox ignores its maxLength.
  if (schema[Kind] === 'TemplateLiteral') return node('String', keywords)
  if (schema[Kind] !== 'String' || schema.format === undefined) return node(schema[Kind], keywords)
  return node('String', { ...keywords, format: registerFormat(schema.format) })
}

/** A copy for `not` and `contains`, which select rather than admit: closing them would change what they select. */
function openCopy(schema: TSchema): TSchema {
  const copyAll = (list: TSchema[]): TSchema[] => list.map(openCopy)
  const copyEach = (map: Properties): Properties =>
    Object.fromEntries(Object.entries(map).map(([name, child]) => [name, openCopy(child)]))
  const { properties, patternProperties, additionalProperties, items, contains, anyOf, allOf, not } = schema
  if (!(properties ?? patternProperties ?? items ?? anyOf ?? allOf ?? schema[Kind] === 'Not')) return leaf(schema)
  const { $id: _, ...keywords } = schema
  return node(schema[Kind], {
    ...keywords,
    ...(properties && { properties: copyEach(properties) }),
    ...(patternProperties && { patternProperties: copyEach(patternProperties) }),
    ...(typeof additionalProperties === 'object' && { additionalProperties: openCopy(additionalProperties) }),
    ...(items && { items: Array.isArray(items) ? copyAll(items) : openCopy(items) }),
    ...(contains && { contains: openCopy(contains) }),
    ...(anyOf && { anyOf: copyAll(anyOf) }),
    ...(allOf && { allOf: copyAll(allOf) }),
    ...(schema[Kind] === 'Not' && { not: openCopy(not) })
  })
}

/** One variant stands for itself. One that accepts anything makes the whole do so, and says it to the compiler. */
function union(variants: readonly TSchema[]): TSchema {
  const anything = variants.find(acceptsAnything)
  return anything ?? (variants.length === 1 ? (variants[0] as TSchema) : node('Union', { anyOf: variants }))
}

function acceptsAnything(schema: TSchema): boolean {
  return schema[Kind] === 'Any' || schema[Kind] === 'Unknown'
}

function closeObject(schema: TSchema, path: string, refuse: Refuse): TSchema {
  const { additionalProperties = false } = schema
  const properties = Object.entries(schema.properties as Properties).map(([name, child]) => [
    name,
    close(child, step(path, 'properties', name), refuse)
  ])
  return node('Object', {
    ...pick(schema, ['type', 'minProperties', 'maxProperties']),
    properties: Object.fromEntries(properties),
    required: schema.required ?? [],
    additionalProperties:
      typeof additionalProperties === 'object'
        ? close(additionalProperties, step(path, 'additionalProperties'), refuse)
        : additionalProperties
  })
}

function closeArray(schema: TSchema, items: TSchema): TSchema {
  const array = node('Array', {
    ...pick(schema, ['type', 'minItems', 'maxItems', 'minContains', 'maxContains']),
    items,
    // It says what one element is like, not what it may hold: that is said by `items`.
    ...(schema.contains && { contains: openCopy(schema.contains) })
  })
  if (!schema.uniqueItems) return array
  registerUniqueItems()
  return together([array, node(uniqueItemsKind, {})])
}

function closeRecord(schema: TSchema, inner: (child: TSchema) => TSchema): TSchema {
  const [[pattern, child]] = Object.entries(schema.patternProperties as Properties) as [[string, TSchema]]
  return node('Record', {
    ...pick(schema, ['type', 'minProperties', 'maxProperties']),
    patternProperties: { [pattern === anyKey ? '' : pattern]: inner(child) },
    additionalProperties: schema.additionalProperties ?? false
  })
}

/**
 * TypeBox's own `unevaluatedProperties: false` makes an unescaped regular expression of the property names and
 * forgets those of unions. So an intersection of objects becomes one object, multiplied out over its unions.
 */
function closeIntersect(schema: TSchema, path: string, refuse: Refuse): TSchema {
  const { unevaluatedProperties = false } = schema
  const variants = multiply(schema, path, refuse).map((members) => {
    const objects = members.filter((member) => member[Kind] === 'Object')
    const nots = members.filter((member) => member[Kind] === 'Not').map(openCopy)
    const others = members.filter((member) => !acceptsAnything(member) && !objects.includes(member))
    const positive = others.filter((member) => member[Kind] !== 'Not')
    if (objects.length > 0 && positive.length > 0) {
      refuse(path, 'an object and something else never match together', 'use Type.Union, or one Type.Object')
    }
    if (objects.length + positive.length === 0) {
      refuse(path, 'the intersection only says what is not allowed', 'add the type that is')
    }
    const base = objects.length > 0 ? [merge(objects, unevaluatedProperties, path, refuse)] : positive.map(leaf)
    return together([...base, ...nots])
  })
  return union(variants)
}

function together(members: readonly TSchema[]): TSchema {
  return members.length === 1 ? (members[0] as TSchema) : node('Intersect', { allOf: members })
}

/** Every way to take one variant of each union: the members of each way. */
function multiply(schema: TSchema, path: string, refuse: Refuse): TSchema[][] {
  switch (schema[Kind]) {
    case 'Union':
      return (schema.anyOf as TSchema[]).flatMap((variant) => multiply(variant, path, refuse))
    case 'Intersect': {
      let ways: TSchema[][] = [[]]
      for (const member of schema.allOf as TSchema[]) {
        if (member[Kind] === 'Intersect' && member.unevaluatedProperties !== undefined) {
          refuse(path, '`unevaluatedProperties` of an inner intersection', 'write it on the outer one')
        }
        const more = multiply(member, path, refuse)
        if (ways.length * more.length > maxVariants) {
          refuse(path, `the unions in the intersection make more than ${maxVariants} variants`, 'split the message')
        }
        ways = ways.flatMap((way) => more.map((extra) => [...way, ...extra]))
      }
      return ways
    }
    case 'Array':
    case 'Tuple':
    case 'Record':
      return refuse(
        path,
        `Type.${schema[Kind]} inside Type.Intersect cannot be closed`,
        'write one type, or Type.Object with additionalProperties'
      )
    default:
      return [[schema]]
  }
}

/** One closed object for several: a property that two of them declare must satisfy both. */
function merge(objects: readonly TSchema[], unevaluated: boolean | TSchema, path: string, refuse: Refuse): TSchema {
  const properties = new Map<string, TSchema[]>()
  for (const object of objects) {
    if (object.additionalProperties !== undefined && object.additionalProperties !== true) {
      const fix = 'write it as unevaluatedProperties of Type.Intersect, or use Type.Composite'
      refuse(path, '`additionalProperties` of a member would exclude the properties of the others', fix)
    }
    for (const [name, child] of Object.entries(object.properties as Properties)) {
      properties.set(name, [...(properties.get(name) ?? []), child])
    }
  }
  const merged = [...properties].map(([name, all]): [string, TSchema] => [name, together([...new Set(all)])])
  const open = objects.some((object) => object.additionalProperties === true)
  const bound = (keyword: string): number[] => objects.map((object) => object[keyword]).filter(Number.isInteger)
  const [most, least] = [bound('maxProperties'), bound('minProperties')]
  const object = node('Object', {
    type: 'object',
    properties: Object.fromEntries(merged),
    required: [...new Set(objects.flatMap((member) => (member.required ?? []) as string[]))],
    additionalProperties: open || unevaluated,
    ...(most.length > 0 && { maxProperties: Math.min(...most) }),
    ...(least.length > 0 && { minProperties: Math.max(...least) })
  })
  return closeObject(object, path, refuse)
}
