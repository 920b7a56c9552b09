import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FormatRegistry, type TSchema, Type } from '@sinclair/typebox'
import { DefaultErrorFunction, SetErrorFunction } from '@sinclair/typebox/errors'
import type { Contract } from '../../lib/contract.ts'
import { compileContract, type IncomingMessage } from '../../lib/messages/compile-contract.ts'

/** The message `m` whose only property `p` has the schema. */
function incoming(p: TSchema): IncomingMessage {
  const contract: Contract = { name: 'c', clientToServer: { m: Type.Object({ p }) }, serverToClient: {} }
  return compileContract(contract, '/').incoming.get('m') as IncomingMessage
}

function accepts(schema: TSchema, p: unknown): boolean {
  const message = incoming(schema)
  const value = { type: 'm', p }
  const accepted = message.check(value)
  if (!accepted) assert(message.details(value).length > 0)
  return accepted
}

function details(schema: TSchema, p: unknown): string[] {
  const message = incoming(schema)
  assert.equal(message.check({ type: 'm', p }), false)
  return message.details({ type: 'm', p }).map(({ path, message }) => `${path} ${message}`)
}

const a = Type.Object({ a: Type.String() })
const b = Type.Object({ b: Type.Optional(Type.Number()) })

test('a contract is compiled once: names, types, replies', () => {
  const contract = compileContract(
    {
      name: 'chat',
      clientToServer: { plain: a, asks: { message: a, reply: Type.Array(Type.String()) } },
      serverToClient: { news: b }
    },
    '/chat'
  )
  assert.equal(contract.name, 'chat')
  assert.deepEqual([...contract.incoming.keys()], ['plain', 'asks'])
  assert.deepEqual([...contract.outgoing.keys()], ['news'])
  assert.equal(contract.incoming.get('plain')?.encodeReply, undefined)
  assert.equal(contract.incoming.get('asks')?.encodeReply?.(['x']), '["x"]')
  assert.equal(contract.outgoing.get('news')?.encode({ b: 1 }), '{"type":"news","b":1}')
})

test("the developer's schema is left as it was", () => {
  const schema = Type.Object({
    list: Type.Array(a, { contains: a }),
    both: Type.Intersect([a, b, Type.Not(a)]),
    id: Type.String({ format: 'uuid' })
  })
  const before = structuredClone(schema)
  const freeze = (value: object): void => {
    for (const child of Object.values(value)) if (typeof child === 'object') freeze(child)
    Object.freeze(value)
  }
  freeze(schema)
  incoming(schema)
  assert.deepEqual(structuredClone(schema), before)
})

test('M5: every object is closed, at every depth and in every kind', () => {
  const extra = { a: 'x', extra: 1 }
  const cases: [TSchema, unknown, unknown][] = [
    [a, { a: 'x' }, extra],
    [Type.Array(a), [{ a: 'x' }], [extra]],
    [Type.Tuple([a]), [{ a: 'x' }], [extra]],
    [Type.Union([a, Type.Null()]), { a: 'x' }, extra],
    [Type.Record(Type.String(), a), { k: { a: 'x' } }, { k: extra }],
    [Type.Record(Type.Number(), Type.Null()), { 1: null }, { 1: null, x: null }],
    [Type.Object({}, { additionalProperties: a }), { k: { a: 'x' } }, { k: extra }],
    [Type.Intersect([a, b]), { a: 'x', b: 1 }, extra],
    [Type.Intersect([a, Type.Intersect([b, b])]), { a: 'x', b: 1 }, extra],
    [Type.Composite([a, b]), { a: 'x', b: 1 }, extra],
    [Type.Partial(a), {}, { extra: 1 }]
  ]
  for (const [schema, good, bad] of cases) {
    assert.equal(accepts(schema, good), true, JSON.stringify(good))
    assert.equal(accepts(schema, bad), false, JSON.stringify(bad))
  }
  assert.equal(incoming(Type.Null()).check({ type: 'm', p: null, extra: 1 }), false)
  assert.equal(incoming(Type.Null()).check({ type: 'other', p: null }), false)
  assert.equal(incoming(Type.Null()).check({ p: null }), false)
})

test('M5: what the developer left open stays open', () => {
  assert.equal(accepts(Type.Object({ a: Type.String() }, { additionalProperties: true }), { a: 'x', extra: 1 }), true)
  assert.equal(accepts(Type.Intersect([a, b], { unevaluatedProperties: true }), { a: 'x', extra: 1 }), true)
  assert.equal(accepts(Type.Intersect([a, b], { unevaluatedProperties: Type.Number() }), { a: 'x', e: 1 }), true)
  assert.equal(accepts(Type.Intersect([a, b], { unevaluatedProperties: Type.Number() }), { a: 'x', e: 'x' }), false)
  const open = Type.Object({ b: Type.Null() }, { additionalProperties: true })
  assert.equal(accepts(Type.Intersect([a, open]), { a: 'x', b: null, extra: 1 }), true)
  assert.equal(accepts(Type.Record(Type.Number(), Type.Null(), { additionalProperties: true }), { x: 1 }), true)
  for (const value of [1, null, { deep: [{}] }]) assert.equal(accepts(Type.Unknown(), value), true)
})

test('M5: an intersection closes over the variants of its unions, with property names taken literally', () => {
  const schema = Type.Intersect([
    Type.Object({ 'x.y': Type.Number() }),
    Type.Union([Type.Object({ kind: Type.Literal('c'), c: Type.Null() }), Type.Object({ kind: Type.Literal('d') })])
  ])
  assert.equal(accepts(schema, { 'x.y': 1, kind: 'c', c: null }), true)
  assert.equal(accepts(schema, { 'x.y': 1, kind: 'd' }), true)
  assert.equal(accepts(schema, { 'x.y': 1, kind: 'd', c: null }), false)
  assert.equal(accepts(schema, { 'x.y': 1, xzy: 1, kind: 'd' }), false)
})

test('an intersection keeps what each member asks', () => {
  const least = Type.Object({ n: Type.Optional(Type.Number({ minimum: 1 })) }, { minProperties: 1 })
  const most = Type.Object({ n: Type.Number({ maximum: 5 }) }, { maxProperties: 1 })
  const n = Type.Intersect([least, most, a])
  assert.equal(accepts(Type.Intersect([least, most]), { n: 3 }), true)
  assert.equal(accepts(Type.Intersect([least, most]), { n: 0 }), false)
  assert.equal(accepts(Type.Intersect([least, most]), { n: 6 }), false)
  assert.equal(accepts(Type.Intersect([least, most]), {}), false)
  assert.equal(accepts(n, { n: 3, a: 'x' }), false)
  const text = Type.Intersect([Type.String({ minLength: 2 }), Type.String({ maxLength: 3 }), Type.Unknown()])
  assert.equal(accepts(text, 'ab'), true)
  assert.equal(accepts(text, 'a'), false)
  const notX = Type.Intersect([a, Type.Not(Type.Object({ a: Type.Literal('x') }))])
  assert.equal(accepts(notX, { a: 'y' }), true)
  assert.equal(accepts(notX, { a: 'x' }), false)
  assert.equal(accepts(notX, { a: 'y', extra: 1 }), false)
})

test('`not` and `contains` select as they were written, their contents stay open', () => {
  const item = Type.Object({ id: Type.Integer(), tags: Type.Array(Type.String()) })
  const selector = Type.Object({
    id: Type.Literal(1),
    tags: Type.Optional(Type.Array(Type.String(), { contains: Type.Literal('x') }))
  })
  const list = Type.Array(item, { contains: selector, maxContains: 1 })
  assert.equal(
    accepts(list, [
      { id: 1, tags: ['x', 'y'] },
      { id: 2, tags: [] }
    ]),
    true
  )
  assert.equal(accepts(list, [{ id: 1, tags: ['y'] }]), false)
  assert.equal(
    accepts(list, [
      { id: 1, tags: ['x'] },
      { id: 1, tags: ['x'] }
    ]),
    false
  )
  const ids = Type.Array(Type.String(), { contains: Type.String({ format: 'uuid' }) })
  assert.equal(accepts(ids, ['x', '123e4567-e89b-12d3-a456-426614174000']), true)
  assert.equal(accepts(ids, ['x']), false)
  const kinds = Type.Union([
    Type.Tuple([Type.String({ format: 'uuid' }), Type.Null()]),
    Type.Record(Type.String(), Type.Object({ z: Type.Null() }, { additionalProperties: Type.Object({}) })),
    Type.Intersect([Type.Object({ q: Type.Number() }), Type.Object({ r: Type.Number() })])
  ])
  const guarded = Type.Intersect([Type.Object({ v: Type.Unknown() }), Type.Not(Type.Object({ v: kinds }))])
  const uuid = '123e4567-e89b-12d3-a456-426614174000'
  for (const v of [[uuid, null], { k: { z: null, more: {} } }, { q: 1, r: 1, s: 1 }]) {
    assert.equal(accepts(guarded, { v }), false)
  }
  for (const v of [['x', null], { k: { z: null, more: 1 } }, { q: 1 }, 'x']) assert.equal(accepts(guarded, { v }), true)
})

test('M5: an undeclared property cannot take the place of one that may be anything', () => {
  const schema = Type.Object({ x: Type.Union([Type.Unknown(), Type.Null()]) })
  assert.equal(accepts(schema, { x: 1 }), true)
  assert.equal(accepts(schema, { extra: 1 }), false)
  assert.equal(accepts(schema, {}), false)
})

test('M4: two schemas with one $id are still two', () => {
  const schema = Type.Tuple([Type.String({ $id: 'same' }), Type.Number({ $id: 'same' })])
  assert.equal(accepts(schema, ['x', 1]), true)
  assert.equal(accepts(schema, ['x', 'x']), false)
})

test('M7: a template is bounded by its maxLength', () => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the syntax of TypeBox
  const schema = Type.TemplateLiteral('a-${string}', { maxLength: 5 })
  assert.equal(accepts(schema, 'a-bcd'), true)
  assert.deepEqual(details(schema, 'a-bcde'), ['/p must have at most 5 characters'])
  assert.deepEqual(details(schema, 'b-bcd'), ['/p must match its pattern'])
})

test('M8: uniqueItems is exact, and fast at 64 KiB', () => {
  const options = { uniqueItems: true, maxItems: 100 }
  const list = Type.Array(Type.Unknown(), options)
  const different = [1, '1', '"1', null, 'null', true, [], ['a'], {}, { a: 1, b: 2 }, { a: [1] }, '{}']
  assert.equal(accepts(list, different), true)
  for (const item of different) assert.equal(accepts(list, [...different, structuredClone(item)]), false)
  assert.equal(
    accepts(list, [
      { a: 1, b: [{ c: 2, d: 3 }] },
      { b: [{ d: 3, c: 2 }], a: 1 }
    ]),
    false
  )
  const texts = Type.Array(Type.String(), options)
  const message = incoming(texts)
  const value = { type: 'm', p: Array.from({ length: 90 }, (_, index) => index + 'x'.repeat(720)) }
  const start = performance.now()
  for (let run = 0; run < 10; run++) assert(message.check(value))
  assert(performance.now() - start < 100)
  assert.deepEqual(
    details(
      texts,
      Array.from({ length: 101 }, () => 'x')
    ),
    ['/p must have at most 100 items']
  )
  assert.deepEqual(details(texts, 'x'), ['/p must be an array'])
})

test('a record with string keys takes every key', () => {
  assert.equal(accepts(Type.Record(Type.String(), Type.Null()), { 'a\nb': null, '': null }), true)
})

test('details name the place and what is asked there', () => {
  const u = Type.Union([
    Type.Object({ kind: Type.Literal('c'), c: Type.Null() }),
    Type.Object({ kind: Type.Literal('d'), d: Type.Integer() }),
    Type.Object({ e: Type.Null() })
  ])
  const list = Type.Array(Type.String(), { minItems: 1, maxItems: 2, uniqueItems: true })
  const cases: [TSchema, unknown, string[]][] = [
    [a, {}, ['/p/a is required']],
    [a, [], ['/p must be an object']],
    [a, { a: 1, 'x/~': 1 }, ['/p/a must be a string', '/p/x~1~0 is not allowed']],
    [Type.Object({}, { minProperties: 1, additionalProperties: true }), {}, ['/p must have at least 1 properties']],
    [Type.Object({}, { additionalProperties: Type.Null() }), { k: 1 }, ['/p/k must be null']],
    [Type.Record(Type.Number(), Type.Null()), { 1: 1, x: 1 }, ['/p/1 must be null', '/p/x is not allowed']],
    [Type.Record(Type.String(), Type.Null(), { maxProperties: 0 }), { x: null }, ['/p must have at most 0 properties']],
    [Type.Record(Type.String(), Type.Null()), 1, ['/p must be an object']],
    [list, [], ['/p must have at least 1 items']],
    [list, ['a', 'b', 'c'], ['/p must have at most 2 items']],
    [list, ['a', 'a'], ['/p must not repeat an item']],
    [list, 'a', ['/p must be an array']],
    [Type.Array(Type.Integer(), { contains: Type.Literal(1) }), [2], ['/p must contain certain items']],
    [Type.Tuple([Type.Null()]), [1], ['/p/0 must be null']],
    [Type.Tuple([]), [1], ['/p must be an array of 0 items']],
    [Type.Tuple([Type.Null()]), null, ['/p must be an array of 1 items']],
    [u, { kind: 'd', d: 'x' }, ['/p/d must be an integer']],
    [u, { kind: 'x' }, ['/p matches none of the allowed types']],
    [u, 'x', ['/p matches none of the allowed types']],
    [Type.Object({ u, x: Type.Null() }), { u: { e: null }, x: 1 }, ['/p/x must be null']],
    [Type.Intersect([a, Type.Not(a)]), { a: 'x' }, ['/p is excluded']],
    [Type.String({ minLength: 2 }), 'x', ['/p must have at least 2 characters']],
    [Type.RegExp(/^a$/i, { maxLength: 1 }), 'b', ['/p must match its pattern']],
    [Type.String({ format: 'uuid' }), 'x', ['/p must match the format "uuid"']],
    [Type.Number(), 'x', ['/p must be a number']],
    [Type.Number({ minimum: 1 }), 0, ['/p must be at least 1']],
    [Type.Number({ maximum: 1 }), 2, ['/p must be at most 1']],
    [Type.Number({ exclusiveMinimum: 1 }), 1, ['/p must be above 1']],
    [Type.Number({ exclusiveMaximum: 1 }), 1, ['/p must be below 1']],
    [Type.Integer({ multipleOf: 2 }), 3, ['/p must be a multiple of 2']],
    [
      Type.Object({ n: Type.Integer({ multipleOf: 3 }), b: Type.Boolean() }),
      { n: 3, b: 1 },
      ['/p/b must be a boolean']
    ],
    [Type.Literal("it's"), 'x', ['/p must be "it\'s"']],
    [Type.Never(), 'x', ['/p is not allowed']],
    [Type.Object({ b: Type.Boolean(), n: Type.Null() }), { b: true, n: 1 }, ['/p/n must be null']],
    [Type.Object({ any: Type.Any(), n: Type.Null() }), { any: 1, n: 1 }, ['/p/n must be null']]
  ]
  for (const [schema, value, expected] of cases) assert.deepEqual(details(schema, value), expected)
})

test('M6: details never show the value, nor what could forge a line of a log, and are at most 8', () => {
  const many = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`k${index}`, 'canary']))
  const found = details(a, { ...many, a: 'x' })
  assert.equal(found.length, 8)
  assert(!found.join().includes('canary'))
  assert.equal(details(Type.Record(Type.String(), Type.Null()), many).length, 8)
  const needs = Type.Object(Object.fromEntries(Object.keys(many).map((name) => [name, Type.Null()])))
  assert.equal(details(needs, {}).length, 8)
  assert.deepEqual(details(a, { a: '', 'x\n\u001b[1m\u2028\u202e\ud800y': 1 }), ['/p/x[1my is not allowed'])
  const [long] = details(a, { a: '', [`${'k'.repeat(124)}\u{1f600}`]: 1 })
  assert.equal(long, `/p/${'k'.repeat(124)} is not allowed`)
  const [longer] = details(a, { a: '', ['k'.repeat(60_000)]: 1 })
  assert.equal(longer?.length, 128 + ' is not allowed'.length)
})

test("M6: the application's own error function of TypeBox has no say", () => {
  SetErrorFunction((error) => JSON.stringify(error.value))
  try {
    assert.deepEqual(details(a, { a: ['canary'] }), ['/p/a must be a string'])
  } finally {
    SetErrorFunction(DefaultErrorFunction)
  }
})

test('M8: looking for details is bounded, however large the message is', () => {
  const list = Array.from({ length: 30_000 }, () => 1)
  const generic = ['the value does not match']
  const cases: TSchema[] = [
    Type.Array(Type.Union([Type.Literal(2), Type.Number()])),
    Type.Array(Type.Number(), { contains: Type.Literal(2) })
  ]
  for (const schema of cases) {
    const message = incoming(schema)
    const start = performance.now()
    const found = message.details({ type: 'm', p: [...list, 'x'] })
    assert(performance.now() - start < 50, String(generic))
    assert.deepEqual(found, [{ path: '', message: 'does not match its schema' }])
  }
  const record = Object.fromEntries(list.map((value, index) => [`k${index}`, value]))
  for (const schema of [
    Type.Record(Type.String(), Type.Number()),
    Type.Object({}, { additionalProperties: Type.Number() })
  ]) {
    const found = incoming(schema).details({ type: 'm', p: { ...record, x: 'x' } })
    assert.deepEqual(found, [{ path: '', message: 'does not match its schema' }])
  }
})

test('M7: a string that is too long never meets its pattern', () => {
  const schema = Type.String({ pattern: '^[a-z]+@[a-z]+@$|^-$', maxLength: 100 })
  const text = 'a@'.repeat(30_000)
  const start = performance.now()
  assert.deepEqual(details(schema, text), ['/p must have at most 100 characters'])
  assert(performance.now() - start < 50)
})

test('M3: a format of the application that throws lets nothing in', () => {
  FormatRegistry.Set('app-throws', () => {
    throw new Error('canary')
  })
  try {
    const schema = Type.String({ format: 'app-throws' })
    assert.equal(accepts(schema, 'x'), false)
    assert.deepEqual(details(schema, 'x'), [' does not match its schema'])
  } finally {
    FormatRegistry.Delete('app-throws')
  }
})

test('literals and property names with quotes and backslashes are taken literally', () => {
  for (const text of ["'", '"', '\\', "\\'", '\n', '\u2028', "'];process.exit(1)//"]) {
    assert.equal(accepts(Type.Literal(text), text), true)
    assert.equal(accepts(Type.Literal(text), `${text} `), false)
    if (text === '\n') continue
    const schema = Type.Object({ [text]: Type.Null() })
    assert.equal(accepts(schema, { [text]: null }), true)
    assert.equal(accepts(schema, { [`${text} `]: null }), false)
  }
})
