/** JSON that costs more to read than to write, over a socket: refused or served, and nobody else notices. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import { defineContract } from '../../lib/index.ts'
import { compileContract } from '../../lib/messages/compile-contract.ts'
import { decode } from '../../lib/messages/decode.ts'
import { closeFrameOf, Target } from '../attack/harness.ts'
import type { RawClient } from '../support/raw-client.ts'

const patient = { timeoutMs: 10_000 }
const limits = { depth: 32, keys: 1_000 }
/** The default of `limits.maxPayloadBytes`: every text here fills it. */
const most = 65_536

const contract = defineContract({
  name: 'hostile',
  clientToServer: {
    any: { message: Type.Object({ value: Type.Unknown() }), reply: Type.Literal('ok') },
    few: { message: Type.Object({ value: Type.Array(Type.Integer(), { maxItems: 100 }) }), reply: Type.Literal('ok') },
    unique: {
      message: Type.Object({ value: Type.Array(Type.Unknown(), { uniqueItems: true, maxItems: 20_000 }) }),
      reply: Type.Literal('ok')
    },
    map: { message: Type.Object({ value: Type.Record(Type.String(), Type.Integer()) }), reply: Type.Literal('ok') }
  },
  serverToClient: { said: Type.Object({ text: Type.String() }) }
})
const compiled = compileContract(contract, '/hostile')

function textOf(type: keyof typeof contract.clientToServer, value: string): string {
  return `{"type":"${type}","ref":1,"value":${value}}`
}

/** As many items as fit. */
function filled(open: string, item: (at: number) => string, close: string, count = 60_000): string {
  const items: string[] = []
  let left = most - 100
  for (let at = 0; at < count; at++) {
    const next = item(at)
    left -= next.length + 1
    if (left < 0) break
    items.push(next)
  }
  return open + items.join() + close
}

/** Keys that look like numbers: where V8 does not seed their hashes, multiples of a power of two collide. */
const colliding = (at: number): string => `"${at * 16_384}":0`
const plain = (at: number): string => `"k${at}":0`

type Verdict = 'served' | 'invalid_json' | 'invalid_message'

const texts: Readonly<Record<string, readonly [Verdict, string]>> = {
  '30,000 open brackets': ['invalid_json', '['.repeat(30_000)],
  '30,000 open brackets inside a message': ['invalid_json', textOf('any', '['.repeat(30_000))],
  '32,000 arrays, each in another': ['invalid_json', textOf('any', '['.repeat(32_000) + ']'.repeat(32_000))],
  '13,000 objects, each in another': ['invalid_json', '{"a":'.repeat(13_000)],
  '10,000 objects, each in another, all closed': [
    'invalid_json',
    textOf('any', `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`)
  ],
  '33 levels': ['invalid_json', textOf('any', '['.repeat(32) + ']'.repeat(32))],
  '32 levels': ['served', textOf('any', '['.repeat(31) + ']'.repeat(31))],
  '30,000 brackets in a string': ['served', textOf('any', `"${'['.repeat(30_000)}"`)],
  '10,000 escaped quotes': ['served', textOf('any', `"${'\\"'.repeat(10_000)}"`)],
  '9,000 escapes': ['served', textOf('any', `"${'\\u005b'.repeat(9_000)}"`)],
  '998 keys beside the three of the message': ['invalid_json', textOf('map', filled('{', plain, '}', 998))],
  '997 keys beside the three of the message': ['served', textOf('map', filled('{', plain, '}', 997))],
  'as many keys as fit': ['invalid_json', textOf('map', filled('{', plain, '}'))],
  'as many keys as fit, over many objects': [
    'invalid_json',
    textOf(
      'any',
      filled('[', () => '{"a":0}', ']')
    )
  ],
  'as many keys as fit, all the same': [
    'invalid_json',
    textOf(
      'any',
      filled('{', () => '"a":0', '}')
    )
  ],
  'as many keys as fit that collide': ['invalid_json', textOf('map', filled('{', colliding, '}'))],
  '997 keys that collide': ['served', textOf('map', filled('{', colliding, '}', 997))],
  'as many texts as fit that collide': [
    'served',
    textOf(
      'any',
      filled('[', (at) => `"${at * 16_384}"`, ']')
    )
  ],
  'an array as long as fits': [
    'served',
    textOf(
      'any',
      filled('[', () => '0', ']')
    )
  ],
  'an array longer than its maxItems': [
    'invalid_message',
    textOf(
      'few',
      filled('[', () => '0', ']')
    )
  ],
  'an array of unique numbers': ['served', textOf('unique', filled('[', String, ']', 11_000))],
  'an array of numbers that are not unique': [
    'invalid_message',
    textOf(
      'unique',
      filled('[', () => '7', ']', 20_000)
    )
  ],
  'an array of arrays that are not unique': [
    'invalid_message',
    textOf(
      'unique',
      filled('[', () => '[[],[]]', ']', 20_000)
    )
  ],
  'an array of long texts that differ at the end': [
    'served',
    textOf(
      'unique',
      filled('[', (at) => `"${'x'.repeat(300)}${at}"`, ']')
    )
  ],
  'numbers with 60,000 digits': ['served', textOf('any', `[${'9'.repeat(60_000)}]`)],
  'numbers beyond all bounds': [
    'served',
    textOf(
      'any',
      filled('[', () => '-1e999', ']')
    )
  ],
  'a text without an end': ['invalid_json', `{"type":"any","value":"${'\\\\'.repeat(30_000)}`],
  'white space': ['served', textOf('any', `${' '.repeat(60_000)}1`)]
}

for (const [name, [verdict, text]] of Object.entries(texts)) {
  test(`M8: ${name}: ${verdict}`, () => {
    assert.ok(text.length <= most, `${text.length} bytes`)
    const result = decode(text, compiled, limits)
    const got = result.kind === 'message' ? 'served' : result.kind === 'rejected' ? result.code : result.kind
    assert.equal(got, verdict)
  })
}

test('M8: no text takes long, whatever it is and whatever it collides with', (t) => {
  // Far above what any takes, and far below what an unbounded one would; the best of five, on a machine that is busy.
  const longestMs = 400
  for (const [name, [, text]] of Object.entries(texts)) {
    const times = Array.from({ length: 5 }, () => {
      const startedAt = performance.now()
      decode(text, compiled, limits)
      return performance.now() - startedAt
    })
    const bestMs = Math.min(...times)
    if (bestMs > 2) t.diagnostic(`${name}: ${bestMs.toFixed(1)} ms`)
    assert.ok(bestMs < longestMs, `${name}: ${bestMs} ms`)
  }
})

test('M8: over sockets each is answered, nothing throws, and another client is served meanwhile', async (t) => {
  const ran: unknown[] = []
  const errors: unknown[] = []
  const run = (message: { value?: unknown }): 'ok' => {
    ran.push(message.value)
    return 'ok'
  }
  const much = { perSecond: 1e9, burst: 1e9 }
  const target = await Target.start(t, {
    guard: { limits: { messages: much, bytes: much, attempts: { max: 10_000 } } },
    declare: (app: FastifyInstance) =>
      app.wsRoute('/hostile', {
        contract,
        handlers: { any: run, few: run, unique: run, map: run },
        onError: (error) => void errors.push(error)
      })
  })
  const bystander = await target.open()
  for (const [name, [verdict, text]] of Object.entries(texts)) {
    const client = await target.open('/hostile', target.headers('mallory'))
    await client.sendText(text)
    assert.equal(await answerTo(client, verdict), verdict, name)
    await bystander.sendJson({ type: 'say', text: name })
    assert.deepEqual(await bystander.nextJson(patient), { type: 'said', text: name })
    client.destroy()
  }
  assert.equal(ran.length, Object.values(texts).filter(([verdict]) => verdict === 'served').length)
  assert.deepEqual(errors, [])
  assert.equal(target.logs.lines.filter(({ level }) => level >= 50).length, 0)
  assert.equal(({} as { x?: unknown }).x, undefined)
})

async function answerTo(client: RawClient, verdict: Verdict): Promise<string> {
  if (verdict === 'invalid_json') return (await closeFrameOf(client, patient.timeoutMs)).reason
  const { type, code } = await client.nextJson<{ type: string; code?: string }>(patient)
  return type === 'reply' ? 'served' : String(code)
}
