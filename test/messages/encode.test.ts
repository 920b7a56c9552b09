import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type TObject, type TSchema, Type } from '@sinclair/typebox'
import { compileContract } from '../../lib/messages/compile-contract.ts'
import { EncodeError, encodeAuthOk, encodeErrorMessage, encodeReply } from '../../lib/messages/encode.ts'

/** What leaves for a property `p` of a message `m`. */
function sent(p: TSchema, value: unknown): unknown {
  return sentMessage(Type.Object({ p }), { p: value }).p
}

function sentMessage(schema: TObject, value: unknown): Record<string, unknown> {
  return JSON.parse(encoded(schema, value))
}

function encoded(schema: TObject, value: unknown): string {
  const contract = compileContract({ name: 'c', clientToServer: {}, serverToClient: { m: schema } }, '/')
  return contract.outgoing.get('m')?.encode(value) as string
}

function reply(schema: TSchema, value: unknown): string {
  const clientToServer = { m: { message: Type.Object({}), reply: schema } }
  const contract = compileContract({ name: 'c', clientToServer, serverToClient: {} }, '/')
  return contract.incoming.get('m')?.encodeReply?.(value) as string
}

function fails(run: () => unknown, expected: RegExp): void {
  assert.throws(run, (error) => error instanceof EncodeError && expected.test(error.message))
}

const user = Type.Object({ name: Type.String() })
const row = { name: 'Ada', passwordHash: 'canary' }

test('O3: undeclared properties never leave', () => {
  const cases: [TSchema, unknown, unknown][] = [
    [user, row, { name: 'Ada' }],
    [Type.Array(user), [row], [{ name: 'Ada' }]],
    [Type.Tuple([user, Type.Null()]), [row, null], [{ name: 'Ada' }, null]],
    [Type.Tuple([]), [], []],
    [Type.Union([Type.Null(), user]), row, { name: 'Ada' }],
    [Type.Record(Type.String(), user), { k: row }, { k: { name: 'Ada' } }],
    [Type.Object({}, { additionalProperties: user }), { k: row }, { k: { name: 'Ada' } }],
    [Type.Object({ name: Type.String() }, { additionalProperties: true }), row, row],
    [Type.Intersect([user, Type.Object({ id: Type.Integer() })]), { id: 1, ...row }, { name: 'Ada', id: 1 }],
    [Type.Intersect([user, Type.Not(Type.Object({ name: Type.Literal('Eve') }))]), row, { name: 'Ada' }],
    [Type.Intersect([Type.String(), Type.String({ maxLength: 3 })]), 'Ada', 'Ada'],
    [Type.Any(), [row], [row]],
    [Type.Unknown(), { any: [1, undefined, { x: undefined }] }, { any: [1, null, {}] }]
  ]
  for (const [schema, value, expected] of cases) {
    assert.deepEqual(sent(schema, value), expected)
    assert.deepEqual(JSON.parse(reply(schema, value)), expected)
  }
  assert.equal(encoded(user, row), '{"type":"m","name":"Ada"}')
  assert.equal(encoded(Type.Object({}), row), '{"type":"m"}')
})

test('O3: a union prefers the variant the value matches as it is', () => {
  const one = Type.Object({ a: Type.Null() })
  const two = Type.Object({ a: Type.Null(), b: Type.Null() })
  assert.deepEqual(sent(Type.Union([one, two]), { a: null, b: null }), { a: null, b: null })
  assert.deepEqual(sent(Type.Union([one, two]), { a: null, b: null, c: null }), { a: null })
  assert.equal(sent(Type.Union([one, Type.String()]), 'x'), 'x')
  fails(() => sent(Type.Union([one, two]), { b: null }), /\/p matches none/)
})

test('an open message cannot replace its own type or ref', () => {
  const open = Type.Object({}, { additionalProperties: true })
  assert.equal(encoded(open, { type: 'error', ref: 1, x: 1 }), '{"type":"m","x":1}')
  const numbers = Type.Object({}, { additionalProperties: Type.Number() })
  assert.equal(encoded(numbers, { type: 5, ref: 1, x: 1 }), '{"type":"m","x":1}')
  assert.equal(encoded(Type.Object({}), { type: 'error' }), '{"type":"m"}')
})

test('O3: toJSON, getters and proxies show only what is checked', () => {
  const toJSON = (): unknown => ({ name: 'canary', secret: 'canary' })
  assert.deepEqual(sent(user, { name: 'Ada', toJSON }), { name: 'Ada' })
  assert.deepEqual(sent(Type.Array(Type.Null()), Object.assign([null], { toJSON })), [null])
  fails(() => sent(Type.String(), { toJSON: () => 'x' }), /\/p must be a string/)
  fails(() => sent(Type.String(), new String('x')), /\/p must be a string/)
  fails(() => sent(Type.Optional(Type.String()), new Date()), /\/p must be a string/)
  let reads = 0
  const shifting = { get name() { return reads++ === 0 ? 'Ada' : { secret: 'canary' } } } // biome-ignore format: one line
  assert.deepEqual(sent(user, shifting), { name: 'Ada' })
  assert.deepEqual(sent(Type.Unknown(), { toJSON: () => [1] }), [1])
  class Row {
    get name(): string {
      return 'Ada'
    }
  }
  assert.deepEqual(sent(user, new Row()), { name: 'Ada' })
})

test('a violation names the type and the path, never the value', () => {
  const cases: [TSchema, unknown, RegExp][] = [
    [user, { name: { canary: 1 } }, /^message "m": \/p\/name must be a string$/],
    [user, {}, /^message "m": \/p\/name is required$/],
    [user, ['canary'], /\/p must be an object/],
    [user, () => 'canary', /\/p must be an object/],
    [Type.Array(user), 'canary', /\/p must be an array/],
    [Type.Tuple([user]), [], /\/p must be an array of 1 items/],
    [Type.Tuple([user]), {}, /\/p must be an array of 1 items/],
    [Type.Record(Type.String(), Type.Null()), ['canary'], /\/p must be an object/],
    [Type.Record(Type.Number(), Type.Null()), { canaries: null }, /\/p\/canaries is not allowed/],
    [Type.Number(), Number.NaN, /\/p must be a number/],
    [Type.Integer(), 1n, /\/p must be an integer/],
    [Type.Optional(Type.String()), null, /\/p must be a string/],
    [Type.Unknown(), 1n, /^message "m": the whole cannot be read as JSON$/],
    [Type.Record(Type.String(), Type.Null()), JSON.parse('{"__proto__":null}'), /the whole cannot be read as JSON/]
  ]
  for (const [schema, value, expected] of cases) fails(() => sent(schema, value), expected)
  fails(() => encoded(user, undefined), /^message "m": the whole must be an object$/)
  fails(() => reply(user, 'canary'), /^reply to "m": the whole must be an object$/)
  fails(() => reply(Type.Unknown(), undefined), /^reply to "m": the whole is undefined$/)
  const cause = new Error('mine')
  const throwing = { get name(): string { throw cause } } // biome-ignore format: one line
  assert.throws(
    () => encoded(user, throwing),
    (error) => error instanceof EncodeError && error.cause === cause
  )
  assert.throws(() => encoded(user, {}), { name: 'EncodeError', code: 'WSG_ERR_ENCODE' })
})

test('undefined is left out where a property is optional', () => {
  const schema = Type.Object({ a: Type.Optional(Type.String()), n: Type.Null() })
  assert.equal(encoded(schema, { a: undefined, n: null }), '{"type":"m","n":null}')
  const record = Type.Record(Type.String(), Type.Unknown())
  assert.deepEqual(sent(record, { a: undefined, f: () => 1, b: 1 }), { b: 1 })
})

test('replies are any JSON', () => {
  assert.equal(reply(Type.String(), 'a"b\u2028'), '"a\\"b\u2028"')
  assert.equal(reply(Type.Null(), null), 'null')
  assert.equal(reply(Type.Union([Type.Literal(1), Type.Boolean()]), false), 'false')
  assert.equal(encodeReply(7, reply(Type.Array(Type.Integer()), [1])), '{"type":"reply","ref":7,"data":[1]}')
  assert.equal(encodeReply('a"', 'null'), '{"type":"reply","ref":"a\\"","data":null}')
})

test('the messages of the wire', () => {
  assert.equal(encodeErrorMessage({ code: 'c', message: 'm' }), '{"type":"error","code":"c","message":"m"}')
  const all = { code: 'c', message: 'm', ref: 7, details: [{}], retryAfterMs: 5, dropped: 2, refs: ['a', 1] }
  assert.deepEqual(JSON.parse(encodeErrorMessage(all)), { type: 'error', ...all })
  const circle: { self?: unknown } = {}
  circle.self = circle
  for (const details of [circle, 1n, { toJSON: () => assert.fail() }]) {
    const text = encodeErrorMessage({ code: 'c', message: 'm', ref: 'r', details })
    assert.equal(text, '{"type":"error","code":"c","message":"m","ref":"r"}')
  }
  assert.equal(encodeAuthOk(undefined), '{"type":"auth_ok"}')
  assert.equal(encodeAuthOk(500), '{"type":"auth_ok","expiresInMs":500}')
})
