/**
 * Random schemas with values that match them: what holds for every contract. Ajv, on a JSON Schema that the generator
 * writes beside the TypeBox schema, is the second opinion.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type TObject, type TSchema, Type } from '@sinclair/typebox'
import { Ajv } from 'ajv'
import fc from 'fast-check'
import { compileContract } from '../../lib/messages/compile-contract.ts'
import { decode } from '../../lib/messages/decode.ts'

const limits = { depth: 32, keys: 1000 }
const bounded = { interruptAfterTimeLimit: 500, markInterruptAsFailure: false, numRuns: 300 }

interface Sample {
  readonly typebox: TSchema
  readonly json: object
  readonly value: unknown
}

// ASCII, because TypeBox counts UTF-16 units and Ajv counts characters.
const key = fc.stringMatching(/^[a-z'"\\.$]{1,6}$/)
const text = fc.string({ maxLength: 8 })

const leaf: fc.Arbitrary<Sample> = fc.oneof(
  text.map((value) => ({ typebox: Type.String({ maxLength: 8 }), json: { type: 'string', maxLength: 8 }, value })),
  fc.integer({ min: -9, max: 9 }).map((value) => {
    const bounds = { minimum: -9, maximum: 9 }
    return { typebox: Type.Integer(bounds), json: { type: 'integer', ...bounds }, value }
  }),
  fc.boolean().map((value) => ({ typebox: Type.Boolean(), json: { type: 'boolean' }, value })),
  text.map((value) => ({ typebox: Type.Literal(value), json: { const: value }, value })),
  fc.constant({ typebox: Type.Null(), json: { type: 'null' }, value: null })
)

const { object, sample } = fc.letrec<{ sample: Sample; object: Sample }>((tie) => ({
  sample: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    leaf,
    tie('object'),
    fc.array(tie('sample'), { minLength: 1, maxLength: 1 }).map(([item]) => {
      const { typebox, json, value } = item as Sample
      return { typebox: Type.Array(typebox), json: { type: 'array', items: json }, value: [value, value] }
    }),
    fc.array(tie('sample'), { maxLength: 3 }).map((items) => ({
      typebox: Type.Tuple(items.map((item) => item.typebox)),
      json: {
        type: 'array',
        prefixItems: items.map((item) => item.json),
        minItems: items.length,
        maxItems: items.length
      },
      value: items.map((item) => item.value)
    })),
    fc.tuple(tie('sample'), tie('sample')).map(([one, two]) => ({
      typebox: Type.Union([one.typebox, two.typebox]),
      json: { anyOf: [one.json, two.json] },
      value: one.value
    })),
    fc.tuple(tie('sample'), fc.array(key, { maxLength: 2 })).map(([child, keys]) => ({
      typebox: Type.Record(Type.String(), child.typebox),
      json: { type: 'object', additionalProperties: child.json },
      value: Object.fromEntries(keys.map((name) => [name, child.value]))
    }))
  ),
  object: fc
    .dictionary(key, fc.tuple(tie('sample'), fc.boolean()), { maxKeys: 4, noNullPrototype: true })
    .map((map) => {
      const all = Object.entries(map)
      return {
        typebox: Type.Object(
          Object.fromEntries(
            all.map(([name, [child, needed]]) => [name, needed ? child.typebox : Type.Optional(child.typebox)])
          )
        ),
        json: {
          type: 'object',
          properties: Object.fromEntries(all.map(([name, [child]]) => [name, child.json])),
          required: all.filter(([, [, needed]]) => needed).map(([name]) => name),
          additionalProperties: false
        },
        value: Object.fromEntries(all.map(([name, [child]]) => [name, child.value]))
      }
    })
}))

/** A contract whose one message carries the sample in `p`, both ways. */
function contractOf(typebox: TSchema): ReturnType<typeof compileContract> {
  const message: TObject = Type.Object({ p: typebox })
  return compileContract({ name: 'c', clientToServer: { m: message }, serverToClient: { m: message } }, '/')
}

/** Tuples are `items` in the draft that Ajv reads by default. */
function ajvCheck(json: object): (value: unknown) => boolean {
  const draft = JSON.parse(JSON.stringify(json), (_, value) => {
    if (!Array.isArray(value?.prefixItems)) return value
    const { prefixItems, ...rest } = value
    return prefixItems.length > 0 ? { ...rest, items: prefixItems } : rest
  })
  return new Ajv({ strict: false }).compile(draft) as (value: unknown) => boolean
}

/** Every object inside a value. */
function objectsIn(value: unknown): Record<string, unknown>[] {
  if (typeof value !== 'object' || value === null) return []
  const inner = Object.values(value).flatMap(objectsIn)
  return Array.isArray(value) ? inner : [value as Record<string, unknown>, ...inner]
}

test('what matches the schema goes out and comes in unchanged', () => {
  fc.assert(
    fc.property(fc.oneof(object, sample), ({ typebox, value }) => {
      const contract = contractOf(typebox)
      const encoded = contract.outgoing.get('m')?.encode({ p: value }) as string
      const result = decode(encoded, contract, limits)
      assert(result.kind === 'message')
      assert.deepEqual(result.value, { type: 'm', p: value })
    }),
    bounded
  )
})

test('M5, O3: an undeclared property is refused wherever it is, and never leaves', () => {
  fc.assert(
    fc.property(object, fc.nat(), ({ typebox, json, value }, place) => {
      const spoiled = structuredClone(value)
      const objects = objectsIn(spoiled)
      const target = objects[place % objects.length] as Record<string, unknown>
      target['undeclared!'] = 'canary'
      const contract = contractOf(typebox)
      const result = decode(JSON.stringify({ type: 'm', p: spoiled }), contract, limits)
      // In a record the key is allowed, and Ajv knows; its value must then match.
      assert.equal(result.kind === 'message', ajvCheck(json)(spoiled))
      if (result.kind === 'message') return
      assert(result.kind === 'rejected' && !JSON.stringify(result.details).includes('canary'))
      let encoded = ''
      try {
        encoded = contract.outgoing.get('m')?.encode({ p: spoiled }) as string
      } catch {
        return
      }
      assert(!encoded.includes('undeclared!') || ajvCheck(json)(JSON.parse(encoded).p))
    }),
    bounded
  )
})

test('Ajv agrees on values of another schema, and a refusal always says where', () => {
  fc.assert(
    fc.property(sample, sample, (one, other) => {
      const contract = contractOf(one.typebox)
      const result = decode(JSON.stringify({ type: 'm', p: other.value }), contract, limits)
      assert.equal(result.kind === 'message', ajvCheck(one.json)(other.value))
      if (result.kind === 'rejected') assert.match(result.details?.[0]?.path ?? '', /^\/p/)
    }),
    bounded
  )
})

test('M3: any text at all is decoded without an exception', () => {
  const { incoming, ...rest } = contractOf(Type.String())
  const piece = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    '"',
    ':',
    ',',
    '\\',
    '\\u005f',
    '__proto__',
    'constructor',
    '1',
    '"type":"m"'
  )
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.array(piece).map((all) => all.join('')),
        fc.json()
      ),
      (input) => {
        const { kind } = decode(input, { incoming, ...rest }, { depth: 3, keys: 5 })
        assert(kind === 'invalid_json' || kind === 'rejected' || JSON.parse(input).type === 'm')
      }
    ),
    bounded
  )
})
