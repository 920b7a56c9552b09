import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from '@sinclair/typebox'
import { compileContract } from '../../lib/messages/compile-contract.ts'
import { type Decoded, decode, invalidJson, parseJson, readRef } from '../../lib/messages/decode.ts'

const limits = { depth: 32, keys: 1000 }

const contract = compileContract(
  {
    name: 'chat',
    clientToServer: {
      chat: Type.Object({ content: Type.String({ maxLength: 20 }) }),
      tree: Type.Object({ any: Type.Unknown() })
    },
    serverToClient: {}
  },
  '/chat'
)

function decoded(text: string): Decoded {
  return decode(text, contract, limits)
}

test('a message is checked and handed on with its ref', () => {
  const result = decoded('{"type":"chat","ref":7,"content":"hi"}')
  assert(result.kind === 'message')
  assert.equal(result.message, contract.incoming.get('chat'))
  assert.deepEqual(result.value, { type: 'chat', ref: 7, content: 'hi' })
  assert.equal(result.ref, 7)
})

test('M3: what is not JSON is invalid_json', () => {
  for (const text of [
    '',
    '{bad',
    '{"a":1',
    'undefined',
    "{'a':1}",
    '{"type":"chat",}',
    '\uFEFF{}',
    '\uFEFF"\\u0041"'
  ]) {
    assert.deepEqual(decoded(text), { kind: 'invalid_json' }, text)
  }
})

test('M4: a poisoned key is invalid_json, however it is spelled', () => {
  const poisoned = [
    '{"__proto__":{"x":1}}',
    '{"type":"tree","any":{"__proto__":{"x":1}}}',
    '{"type":"tree","any":[[{"__proto__" : null}]]}',
    '{"\\u005f_proto__":{"x":1}}',
    '{"\\u005F\\u005fp\\u0072oto_\\u005f":{"x":1}}',
    '{"constructor":{"prototype":{"x":1}}}',
    '{"type":"tree","any":{"c\\u006fnstructor":{"prototype":{"x":1}}}}',
    '{"type":"tree","any":{"constructor":{"prototyp\\u0065":{"x":1}}}}'
  ]
  for (const text of poisoned) assert.deepEqual(decoded(text), { kind: 'invalid_json' }, text)
  assert.equal(({} as { x?: unknown }).x, undefined)
})

test('M4: the words themselves are no poison in a value', () => {
  for (const content of ['__proto__', 'constructor', '\\u0041', 'a \\"__proto__\\"']) {
    assert.equal(decoded(`{"type":"chat","content":"${content}"}`).kind, 'message', content)
  }
})

test('M6: an unknown, missing, inherited or foreign type is unknown_type', () => {
  for (const type of [
    '"nope"',
    '"constructor"',
    '"__proto__"',
    '"toString"',
    '1',
    'null',
    '{}',
    '["chat"]',
    '"auth"'
  ]) {
    const result = decoded(`{"type":${type},"ref":"r"}`)
    assert.deepEqual(result, { kind: 'rejected', code: 'unknown_type', ref: 'r', details: undefined }, type)
  }
  assert.deepEqual(decoded('{}'), { kind: 'rejected', code: 'unknown_type', ref: undefined, details: undefined })
})

test('M6: what is no object is an invalid_message', () => {
  for (const text of ['[]', 'null', '1', '"chat"', 'true', '[{"type":"chat"}]']) {
    const details = [{ path: '', message: 'must be an object' }]
    assert.deepEqual(decoded(text), { kind: 'rejected', code: 'invalid_message', ref: undefined, details }, text)
  }
})

test('M6: a violation names the path and never the value', () => {
  const result = decoded('{"type":"chat","ref":"r","content":"canary canary canary"  ,"extra":"canary"}')
  assert.deepEqual(result, {
    kind: 'rejected',
    code: 'invalid_message',
    ref: 'r',
    details: [{ path: '/extra', message: 'is not allowed' }]
  })
  const long = decoded('{"type":"chat","content":"canary canary canary canary"}')
  assert(!JSON.stringify(long).includes('canary'))
})

test('a bad ref is an invalid_message at /ref', () => {
  for (const ref of ['1.5', 'null', '{}', '9007199254740992', '1e400', `"${'r'.repeat(65)}"`, 'true']) {
    const result = decoded(`{"type":"chat","content":"","ref":${ref}}`)
    const details = [{ path: '/ref', message: 'matches none of the allowed types' }]
    assert.deepEqual(result, { kind: 'rejected', code: 'invalid_message', ref: undefined, details }, ref)
  }
})

test('readRef reads an own string of at most 64 characters or a safe integer', () => {
  for (const ref of ['', 'a', 'r'.repeat(64), 0, -1, Number.MAX_SAFE_INTEGER]) assert.equal(readRef({ ref }), ref)
  for (const ref of ['r'.repeat(65), 1.5, 2 ** 53, Number.NaN, null, [], {}]) assert.equal(readRef({ ref }), undefined)
  for (const value of [null, undefined, 'x', ['ref'], {}, Object.create({ ref: 1 })]) {
    assert.equal(readRef(value), undefined)
  }
})

test('M8: nesting is limited exactly, and brackets in strings do not count', () => {
  const nested = (open: string, depth: number, close: string): string => open.repeat(depth) + close.repeat(depth)
  assert.notEqual(parseJson(nested('[', 32, ']'), limits), invalidJson)
  assert.equal(parseJson(nested('[', 33, ']'), limits), invalidJson)
  assert.notEqual(parseJson(`${'{"a":'.repeat(32)}1${'}'.repeat(32)}`, limits), invalidJson)
  assert.equal(parseJson(`${'{"a":'.repeat(33)}1${'}'.repeat(33)}`, limits), invalidJson)
  assert.equal(parseJson(`${'[{"a":'.repeat(17)}1${'}]'.repeat(17)}`, limits), invalidJson)
  assert.notEqual(parseJson(`[${'[],'.repeat(100)}1]`, limits), invalidJson)
  assert.notEqual(parseJson(JSON.stringify(`\\"${'['.repeat(1000)}`), limits), invalidJson)
  assert.notEqual(parseJson(JSON.stringify(['{'.repeat(99), '"{'.repeat(99), '\\', '{\\"']), limits), invalidJson)
  assert.equal(parseJson(`"${'['.repeat(1000)}`, limits), invalidJson)
  // As deep as may be, in a text with more brackets than that.
  const beside = (depth: number): string => `[${'[],'.repeat(100)}${nested('[', depth - 1, ']')}]`
  assert.notEqual(parseJson(beside(32), limits), invalidJson)
  assert.equal(parseJson(beside(33), limits), invalidJson)
})

test('M8: keys are counted over the whole message, and colons in strings do not count', () => {
  const object = (keys: number): string => `{${Array.from({ length: keys }, (_, key) => `"${key}":0`).join()}}`
  assert.notEqual(parseJson(object(1000), limits), invalidJson)
  assert.equal(parseJson(object(1001), limits), invalidJson)
  assert.equal(parseJson(`[${object(500)},${object(501)}]`, limits), invalidJson)
  assert.notEqual(parseJson(JSON.stringify([':'.repeat(5000)]), limits), invalidJson)
  // As many as may be, in a text with more colons than that.
  assert.notEqual(parseJson(`[${object(1000)},"${':'.repeat(5000)}"]`, limits), invalidJson)
  assert.equal(parseJson(`[${object(1001)},"${':'.repeat(5000)}"]`, limits), invalidJson)
})

test('M8: 30,000 open brackets are refused in less than 5 ms, and never throw', () => {
  for (const text of ['['.repeat(30_000), '{"a":'.repeat(30_000), `${'['.repeat(30_000)}${']'.repeat(30_000)}`]) {
    // The best of five, for a machine that does other things too.
    const times = Array.from({ length: 5 }, () => {
      const start = performance.now()
      assert.deepEqual(decoded(text), { kind: 'invalid_json' })
      return performance.now() - start
    })
    assert(Math.min(...times) < 5)
  }
})
