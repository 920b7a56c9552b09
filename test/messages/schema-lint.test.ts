import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Kind, type TSchema, Type } from '@sinclair/typebox'
import type { Contract } from '../../lib/contract.ts'
import { compileContract } from '../../lib/messages/compile-contract.ts'

/** The message of the OptionError for a property `p` of a message `m`. */
function refusal(p: unknown): string {
  return refusalOf({ m: Type.Object({ p: p as TSchema }) })
}

function refusalOf(clientToServer: unknown, more: object = {}): string {
  const contract = { name: 'c', clientToServer, serverToClient: {}, ...more } as Contract
  try {
    compileContract(contract, '/chat')
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'WSG_ERR_OPTION')
    return (error as Error).message
  }
  return ''
}

function assertRefused(cases: [unknown, RegExp][]): void {
  for (const [schema, expected] of cases) assert.match(refusal(schema), expected)
}

test('a refusal names the option, the route, the direction, the type, the path and the fix', () => {
  assert.equal(
    refusal(Type.Array(Type.Object({ 'a/b': Type.Date() }))),
    'fastify-ws-guard: option `contract` of route "/chat": clientToServer.m/properties/p/items/properties/a~1b: ' +
      "Type.Date cannot be checked in JSON; use Type.String({ format: 'date-time' })"
  )
  const serverToClient = { s: Type.Object({ a: Type.Void() }) }
  assert.match(refusalOf({}, { serverToClient }), /serverToClient\.s\/properties\/a: Type\.Void/)
  const entry = { message: Type.Object({}), reply: Type.Array(Type.Undefined()) }
  assert.match(refusalOf({ m: entry }), /clientToServer\.m\.reply\/items: Type\.Undefined/)
})

test('kinds that JSON cannot carry or that check nothing are refused', () => {
  const kinds = [
    ...[Type.Uint8Array(), Type.BigInt(), Type.Symbol(), Type.Function([], Type.Null()), Type.Promise(Type.Null())],
    ...[Type.Constructor([], Type.Null()), Type.Iterator(Type.Null()), Type.AsyncIterator(Type.Null())],
    ...[Type.Unsafe({ enum: ['a'] }), Type.Argument(0)]
  ]
  for (const kind of kinds) assert.match(refusal(kind), /cannot be checked in JSON; (use|declare)/)
  const transform = Type.Transform(Type.String())
    .Decode((value) => value)
    .Encode((value) => value)
  assertRefused([
    [transform, /Type\.Transform is not applied/],
    [Type.Not(Type.String()), /Type\.Not alone/],
    [Type.Literal(Number.POSITIVE_INFINITY), /no such number/]
  ])
})

test('recursion is refused, however it is built', () => {
  const circle = Type.Object({ self: Type.Null() as TSchema })
  circle.properties.self = circle
  let deep: TSchema = Type.Null()
  for (let level = 0; level < 70; level++) deep = Type.Array(deep)
  const module = Type.Module({ A: Type.Object({ b: Type.Ref('B') }), B: Type.String() })
  assertRefused([
    [Type.Recursive((This) => Type.Object({ next: Type.Optional(This) })), /recursion/],
    [Type.Ref('X'), /recursion/],
    [module.Import('A'), /recursion/],
    [circle, /recursion/],
    [deep, /nested deeper than 64/]
  ])
})

test('M7: patterns must be linear and bounded', () => {
  const maxLength = 10
  assertRefused([
    [Type.String({ pattern: '^a$' }), /without `maxLength`.*add maxLength/],
    [Type.RegExp(/^a$/), /without `maxLength`/],
    [Type.String({ pattern: '^(a+)+$', maxLength }), /exponential/],
    [Type.RegExp(/^(a+)+$/, { maxLength }), /exponential/],
    [Type.RegExp(/a/g, { maxLength }), /flags/],
    [Type.String({ pattern: '(', maxLength }), /not a valid regular expression/],
    [Type.String({ pattern: /a/ as unknown as string, maxLength }), /not a string/],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the syntax of TypeBox
    [Type.TemplateLiteral('${string}-${string}'), /length\^2 steps.*maxLength of at most 2449/],
    [Type.Record(Type.String({ pattern: '^(a+)+$' }), Type.Null()), /exponential/],
    [Type.Record(Type.String({ pattern: 'a+b+' }), Type.Null()), /length\^3 steps/]
  ])
  const fine = [
    Type.String({ pattern: '^[a-z]+$', maxLength }),
    Type.RegExp(/^[a-z]+$/i, { maxLength }),
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the syntax of TypeBox
    Type.TemplateLiteral('user-${string}'),
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the syntax of TypeBox
    Type.TemplateLiteral('${string}-${string}', { maxLength }),
    Type.Record(Type.String(), Type.Null()),
    Type.Record(Type.Number(), Type.Null()),
    Type.Record(Type.String({ pattern: '^[a-z]{1,9}$' }), Type.Null())
  ]
  for (const schema of fine) assert.equal(refusal(schema), '')
})

test('M8: bounds are finite, of the right type, and there where they are needed', () => {
  assertRefused([
    [Type.Array(Type.Null(), { uniqueItems: true }), /`uniqueItems` without `maxItems`/],
    [Type.String({ maxLength: Number.POSITIVE_INFINITY }), /`maxLength` is not a length/],
    [Type.String({ maxLength: '5' as unknown as number }), /`maxLength` is not a length/],
    [Type.Array(Type.Null(), { minItems: -1 }), /`minItems` is not a length/],
    [Type.Object({}, { maxProperties: 1.5 }), /`maxProperties` is not a length/],
    [Type.Number({ minimum: Number.NaN }), /`minimum` is not a bound/],
    [Type.Number({ maximum: Number.POSITIVE_INFINITY }), /`maximum` is not a bound/],
    [Type.Integer({ multipleOf: 0 }), /`multipleOf` is not a bound/]
  ])
  assert.equal(refusal(Type.Array(Type.Null(), { uniqueItems: true, maxItems: 9 })), '')
  assert.equal(refusal(Type.Number({ minimum: -5, maximum: 5, multipleOf: 0.5 })), '')
})

test('keywords that TypeBox would ignore are refused, annotations are not', () => {
  assertRefused([
    [Type.String({ enum: ['a'] }), /`enum` is not checked on Type\.String/],
    [Type.Integer({ format: 'int32' }), /`format` is not checked on Type\.Integer/],
    [Type.String({ nullable: true }), /`nullable`/],
    [Type.Object({}, { patternProperties: {} }), /`patternProperties`/],
    [Type.RegExp(/a/, { maxLength: 1, format: 'uuid' }), /`format`/]
  ])
  assert.equal(refusal(Type.String({ title: 't', description: 'd', examples: ['e'], default: 'f', $id: 'x' })), '')
})

test('M7: an unknown format is refused with the list of known ones', () => {
  assertRefused([
    [Type.String({ format: 'nope' }), /the format "nope" is unknown; use one of .*uuid/],
    [Type.String({ format: 'regex' }), /the format "regex" is unknown/]
  ])
})

test('what is no TypeBox schema is refused', () => {
  const plain = { type: 'object', properties: {} }
  for (const p of [plain, null, undefined, 'string', 5]) assert.match(refusal(p), /not a TypeBox schema; use Type\./)
  assert.match(refusalOf({ m: plain }), /clientToServer\.m: is neither a TypeBox schema nor/)
  assert.match(refusalOf({ m: { message: plain } }), /clientToServer\.m: this is not a TypeBox schema/)
  assert.match(refusalOf({ m: { message: Type.Object({}), reply: undefined } }), /m\.reply: this is not a TypeBox/)
  assert.match(refusalOf({ m: { message: Type.Object({}), replay: Type.Null() } }), /unknown property "replay"/)
  const tampered = Type.Object({ a: Type.Null() })
  tampered.required = ['b' as 'a']
  assert.match(refusal(tampered), /`required` names the undeclared "b"/)
  const record = Type.Record(Type.String(), Type.Null())
  assert.match(refusal({ ...record, patternProperties: {} }), /one pattern/)
  for (const kind of ['Object', 'Record', 'Union', 'Intersect']) {
    assert.match(refusal({ [Kind]: kind }), /is missing; make it with Type\./)
    assert.match(
      refusal({ [Kind]: kind, properties: null, patternProperties: [], anyOf: {}, allOf: 1 }),
      /missing|not ch/
    )
  }
  assert.match(refusal({ [Kind]: 'Array', type: 'array' }), /p\/items: this is not a TypeBox schema/)
  assert.match(refusalOf({ m: { [Kind]: 'Object' } }), /`properties` is missing/)
  assert.match(refusal(Type.Record(Type.Number(), Type.Null(), { additionalProperties: Type.Null() })), /Type\.Object/)
  assert.match(refusal(Type.Object({ 'a\u0007': Type.Null() })), /TypeBox cannot compile/)
})

test('M4: names that every object has are refused', () => {
  for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
    const properties = Object.fromEntries([[name, Type.Unknown()]])
    assert.match(refusal({ ...Type.Object({}), properties, required: [name] }), /every object has/, name)
    assert.match(refusalOf(Object.fromEntries([[name, Type.Object({})]])), /every object has/, name)
  }
})

test('reserved types and properties are refused', () => {
  for (const type of ['auth', 'auth_ok', 'reply', 'error', '$x', '$']) {
    assert.match(refusalOf({ [type]: Type.Object({}) }), /the name is reserved/, type)
    const serverToClient = { [type]: Type.Object({}) }
    assert.match(refusalOf({}, { serverToClient }), /the name is reserved/, type)
  }
  for (const name of ['type', 'ref']) {
    assert.match(refusalOf({ m: Type.Object({ [name]: Type.String() }) }), new RegExp(`m/properties/${name}: `))
    const serverToClient = { m: Type.Object({ [name]: Type.String() }) }
    assert.match(refusalOf({}, { serverToClient }), /reserved for the envelope/)
  }
  assert.equal(refusal(Type.Object({ type: Type.String(), ref: Type.String() })), '')
})

test('the top level of a message is an object', () => {
  assert.match(refusalOf({ m: Type.String() }), /Type\.String at the top level; use Type\.Object/)
  const intersect = Type.Intersect([Type.Object({ a: Type.Null() }), Type.Object({ b: Type.Null() })])
  assert.match(refusalOf({ m: intersect }), /use Type\.Composite/)
  assert.match(refusalOf({ m: Type.Object({}, { maxProperties: 3 }) }), /would count the envelope/)
  assert.match(refusalOf({ m: Type.Object({}, { minProperties: 3 }) }), /would count the envelope/)
})

test('a contract has a name and messages', () => {
  const m = { m: Type.Object({}) }
  for (const name of [undefined, '', ' a', 'a\nb', 'a\u2028b', 'x'.repeat(129), 5]) {
    assert.match(refusalOf(m, { name }), /`name` is missing or not a name/)
  }
  for (const contract of [undefined, null, 'chat', []]) {
    assert.throws(() => compileContract(contract as unknown as Contract, '/'), /is not an object; make it with define/)
  }
  assert.match(refusalOf({}), /declares no message/)
  for (const messages of [undefined, null, [], Type.Object({})]) {
    assert.match(refusalOf(messages), /clientToServer: is not an object of message types/)
    assert.match(refusalOf(m, { serverToClient: messages }), /serverToClient: is not an object of message types/)
  }
  for (const type of ['', 'a\u0000b', 'x'.repeat(200)]) assert.match(refusalOf({ [type]: m.m }), /is not a name/)
})

test('M5: intersections that cannot be closed are refused', () => {
  const a = Type.Object({ a: Type.Null() })
  const b = (options: object): TSchema => Type.Object({ b: Type.Null() }, options)
  const five = Type.Union([1, 2, 3, 4, 5].map((value) => Type.Literal(value)))
  assertRefused([
    [Type.Intersect([a, Type.Record(Type.String(), Type.Null())]), /Type\.Record inside Type\.Intersect/],
    [Type.Intersect([Type.Array(a), Type.Array(a)]), /Type\.Array inside Type\.Intersect/],
    [Type.Intersect([a, Type.String()]), /never match together/],
    [Type.Intersect([Type.Not(a), Type.Not(Type.Null())]), /only says what is not allowed/],
    [Type.Intersect([a, b({ additionalProperties: false })]), /`additionalProperties` of a member/],
    [Type.Intersect([a, b({ additionalProperties: Type.Null() })]), /`additionalProperties` of a member/],
    [Type.Intersect([five, five, five]), /more than 64 variants/],
    [Type.Intersect([a, Type.Intersect([a, a], { unevaluatedProperties: true })]), /outer one/],
    [Type.Intersect([a, Type.Not(Type.Intersect([a, a], { unevaluatedProperties: false }))]), /no meaning inside/]
  ])
})
