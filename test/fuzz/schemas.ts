/** Random TypeBox schemas of the kinds that a contract may use, each with values that match it. */
import { type TObject, type TSchema, Type } from '@sinclair/typebox'
import fc from 'fast-check'

export interface Sample {
  readonly schema: TSchema
  /** At least one. */
  readonly values: readonly unknown[]
}

const few = { minLength: 1, maxLength: 3 }

function sample(schema: TSchema, values: fc.Arbitrary<unknown>): fc.Arbitrary<Sample> {
  return fc.array(values, few).map((all) => ({ schema, values: all }))
}

/** A lower and an upper bound, either of which may be absent. */
const range = (most: number): fc.Arbitrary<readonly [number, number]> =>
  fc.tuple(fc.integer({ min: -most, max: most }), fc.nat(most)).map(([least, more]) => [least, least + more] as const)

/** With surrogates alone and in pairs, and with what regular expressions and JSON treat in their own way. */
const units = fc.oneof(fc.string({ unit: 'binary', maxLength: 8 }), fc.string({ unit: 'grapheme', maxLength: 8 }))

const bounded = fc.tuple(fc.nat(4), fc.nat(6)).chain(([minLength, more]) => {
  const maxLength = minLength + more
  const fit = units.map((text) => text.slice(0, maxLength).padEnd(minLength, '.'))
  return sample(Type.String({ minLength, maxLength }), fit)
})

/** Linear patterns, each with texts that it takes. */
const patterns = [
  { pattern: '^[a-z]*$', texts: ['', 'abc'] },
  { pattern: '^[0-9]{2,4}$', texts: ['12', '1234'] },
  { pattern: '^a?b+$', texts: ['ab', 'bbb'] },
  { pattern: '^(?:on|off)$', texts: ['on', 'off'] },
  { pattern: '^[^/\\\\]+\\.txt$', texts: ['a.txt'] },
  { pattern: 'x', texts: ['x', 'axb'] }
]
const pattern = fc
  .constantFrom(...patterns)
  .chain(({ pattern: source, texts }) =>
    sample(Type.String({ pattern: source, maxLength: 32 }), fc.constantFrom(...texts))
  )
const expression = fc
  .constantFrom(...patterns)
  .chain(({ pattern: source, texts }) =>
    sample(Type.RegExp(new RegExp(source), { maxLength: 32 }), fc.constantFrom(...texts))
  )

const formats: Readonly<Record<string, readonly string[]>> = {
  date: ['2024-02-29', '1999-12-31'],
  'date-time': ['2024-02-29T23:59:59Z', '1990-12-31T23:59:59.5+01:00'],
  time: ['23:59:59Z', '00:00:00+00:00'],
  uuid: ['00000000-0000-4000-8000-000000000000'],
  email: ['a@example.com'],
  ipv4: ['127.0.0.1'],
  ipv6: ['::1', '2001:db8::8'],
  hostname: ['example.com', 'a'],
  uri: ['https://example.com/a?b#c', 'urn:x:y'],
  'json-pointer': ['', '/a/0']
}
const format = fc
  .constantFrom(...Object.keys(formats))
  .chain((name) => sample(Type.String({ format: name }), fc.constantFrom(...(formats[name] as string[]))))

const integer = range(20).chain(([minimum, maximum]) =>
  sample(Type.Integer({ minimum, maximum }), fc.integer({ min: minimum, max: maximum }))
)
const open = range(20).chain(([exclusiveMinimum, most]) => {
  const exclusiveMaximum = most + 2
  return sample(
    Type.Integer({ exclusiveMinimum, exclusiveMaximum }),
    fc.integer({ min: exclusiveMinimum + 1, max: exclusiveMaximum - 1 })
  )
})
/** With bounds: far from zero the two opinions count in different ways. */
const multiple = fc.integer({ min: 1, max: 7 }).chain((multipleOf) =>
  sample(
    Type.Integer({ multipleOf, minimum: -100, maximum: 100 }),
    fc.integer({ min: -9, max: 9 }).map((n) => n * multipleOf)
  )
)
const number = sample(Type.Number(), fc.double({ noNaN: true, noDefaultInfinity: true }))
const scalar = fc.oneof(fc.string({ maxLength: 5 }), fc.integer({ min: -9, max: 9 }), fc.boolean())
const literal = scalar.map((value): Sample => ({ schema: Type.Literal(value), values: [value] }))
const choice = fc
  .uniqueArray(scalar, { minLength: 2, maxLength: 4 })
  .chain((all) => sample(Type.Union(all.map((value) => Type.Literal(value))), fc.constantFrom(...all)))

const leaf: fc.Arbitrary<Sample> = fc.oneof(
  { weight: 4, arbitrary: bounded },
  { weight: 3, arbitrary: integer },
  ...[open, multiple, number, pattern, expression, format, literal, choice].map((arbitrary) => ({
    weight: 1,
    arbitrary
  })),
  { weight: 1, arbitrary: sample(Type.Boolean(), fc.boolean()) },
  { weight: 1, arbitrary: fc.constant({ schema: Type.Null(), values: [null] }) },
  // Unchecked: JSON alone.
  {
    weight: 1,
    arbitrary: sample(
      Type.Unknown(),
      fc.jsonValue({ maxDepth: 1 }).filter((value) => !isOdd(value))
    )
  }
)

/** Keys that a generator of JSON comes up with and the guard keeps away from objects. */
function isOdd(value: unknown): boolean {
  return JSON.stringify(value).includes('"__proto__"') || JSON.stringify(value).includes('"constructor"')
}

const key = fc
  .oneof(
    fc.stringMatching(/^[a-z]{1,3}$/),
    fc.constantFrom(
      'a-b',
      "it's",
      'a.b',
      'x"y',
      'back\\slash',
      '$',
      'a/b~c',
      '0',
      'ключ',
      'two words',
      'length',
      'then'
    )
  )
  .filter((name) => !(name in Object.prototype) && name !== 'type' && name !== 'ref')

/** A schema cannot declare a name with a line break: it does not compile. */
const recordKey = fc.oneof(key, fc.constantFrom('\n', 'a\nb', '\u2028', ''))

const { object, node } = fc.letrec<{ node: Sample; object: Sample }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 3, depthSize: 'small', withCrossShrink: true },
    { weight: 3, arbitrary: leaf },
    { weight: 3, arbitrary: tie('object') },
    { weight: 1, arbitrary: tie('node').chain(listOf) },
    { weight: 1, arbitrary: fc.array(tie('node'), { maxLength: 3 }).map(tupleOf) },
    { weight: 1, arbitrary: fc.array(tie('node'), { minLength: 1, maxLength: 3 }).map(unionOf) },
    { weight: 1, arbitrary: fc.tuple(tie('node'), fc.uniqueArray(recordKey, { maxLength: 3 })).map(recordOf) },
    { weight: 1, arbitrary: fc.tuple(tie('object'), tie('object')).map(intersectionOf) }
  ),
  object: fc
    .tuple(
      fc.dictionary(key, fc.tuple(tie('node'), fc.boolean()), { maxKeys: 4, noNullPrototype: true }),
      fc.constantFrom(undefined, undefined, undefined, true, false)
    )
    .map(objectOf)
}))

function objectOf([map, additional]: [Record<string, [Sample, boolean]>, boolean | undefined]): Sample {
  const all = Object.entries(map)
  const properties = all.map(([name, [child, isNeeded]]): [string, TSchema] => [
    name,
    isNeeded ? child.schema : Type.Optional(child.schema)
  ])
  const whole = Object.fromEntries(all.map(([name, [{ values }]]) => [name, values[0]]))
  const needed = Object.fromEntries(
    all.filter(([, [, isNeeded]]) => isNeeded).map(([name, [{ values }]]) => [name, values.at(-1)])
  )
  const options = additional === undefined ? {} : { additionalProperties: additional }
  return { schema: Type.Object(Object.fromEntries(properties), options), values: [whole, needed] }
}

function listOf({ schema, values }: Sample): fc.Arbitrary<Sample> {
  return fc.tuple(fc.nat(2), fc.nat(2), fc.boolean()).map(([minItems, more, isUnique]) => {
    const maxItems = minItems + more
    const lists = [minItems, maxItems].map((length) => Array.from({ length }, (_, at) => values[at % values.length]))
    if (!isUnique) return { schema: Type.Array(schema, { minItems, maxItems }), values: lists }
    return { schema: Type.Array(schema, { maxItems: 2, uniqueItems: true }), values: [[], [values[0]]] }
  })
}

function tupleOf(items: readonly Sample[]): Sample {
  return { schema: Type.Tuple(items.map(({ schema }) => schema)), values: [items.map(({ values }) => values[0])] }
}

function unionOf(variants: readonly Sample[]): Sample {
  return { schema: Type.Union(variants.map(({ schema }) => schema)), values: variants.map(({ values }) => values[0]) }
}

function recordOf([child, keys]: [Sample, string[]]): Sample {
  const entries = keys.map((name, at) => [name, child.values[at % child.values.length]])
  return { schema: Type.Record(Type.String(), child.schema), values: [Object.fromEntries(entries), {}] }
}

/** Of objects that say nothing about each other's properties; a name that both declare would need both to match. */
function intersectionOf([one, other]: [Sample, Sample]): Sample {
  const names = Object.keys(one.schema.properties)
  const apart = Object.entries((other.schema as TObject).properties).filter(([name]) => !names.includes(name))
  const isOther = (name: string): boolean => apart.some(([own]) => own === name)
  const second = Type.Object(Object.fromEntries(apart))
  const values = one.values.map((value, at) => {
    const more = Object.entries(other.values[at] as object).filter(([name]) => isOther(name))
    return { ...(value as object), ...Object.fromEntries(more) }
  })
  return { schema: Type.Intersect([Type.Object((one.schema as TObject).properties), second]), values }
}

/** A message's own schema. */
export const message: fc.Arbitrary<Sample> = object
/** What a message may hold. */
export const anySchema: fc.Arbitrary<Sample> = node
