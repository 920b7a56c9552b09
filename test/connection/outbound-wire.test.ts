/** Threats O3 and O4 on a real app: nothing leaves that was not declared, and no close can be wrong. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CloseError } from '../../lib/errors.ts'
import { closeFrameOf, Target } from '../attack/harness.ts'
import { echo } from '../support/app.ts'
import { closeOf, opcodes } from '../support/frames.ts'
import { until } from '../support/wait.ts'

const timeoutMs = 10_000
const canary = 'canary-of-a-password-hash'

test('O3: a property that is not declared is on no wire: sent, published or replied, nested or not', async (t) => {
  const target = await Target.start(t, {
    route: {
      onOpen: async (connection) => void (await connection.subscribe('all')),
      handlers: {
        say: ({ text }, connection) => {
          if (text === 'fail') throw new Error(canary)
          connection.send('said', { text, passwordHash: canary } as { text: string })
        },
        ask: () => ({ items: Object.assign(['a'], { canary }), total: canary }) as { items: string[] }
      }
    }
  })
  const client = await target.open()
  await client.sendJson({ type: 'say', text: 'hi' })
  assert.deepEqual(await client.nextJson({ timeoutMs }), { type: 'said', text: 'hi' })
  await client.sendJson({ type: 'ask', count: 1, ref: 1 })
  assert.deepEqual(await client.nextJson({ timeoutMs }), { type: 'reply', ref: 1, data: { items: ['a'] } })
  const published = { text: 'all', user: { passwordHash: canary }, toString: () => canary } as { text: string }
  assert.equal(target.app.wsGuard.publish(echo, 'all', 'said', published), 1)
  assert.deepEqual(await client.nextJson({ timeoutMs }), { type: 'said', text: 'all' })
  await client.sendJson({ type: 'say', text: 'fail', ref: 2 })
  assert.equal((await client.nextJson<{ code: string }>({ timeoutMs })).code, 'internal')
  assert.ok(!client.frames.some(({ payload }) => payload.includes('canary')))
})

const cut = 'x'.repeat(123)
const typed = new Float32Array(40).fill(1)

/** What a developer may get wrong, and what is on the wire. */
const closes: readonly [title: string, code: unknown, reason: unknown, told: { code: number; reason: string }][] = [
  ['123 bytes', 4000, cut, { code: 4000, reason: cut }],
  ['124 bytes', 4000, `${cut}x`, { code: 4000, reason: cut }],
  ['an emoji over the edge', 4000, `${'x'.repeat(120)}🎉`, { code: 4000, reason: 'x'.repeat(120) }],
  ['half an emoji', 4000, `a${'🎉'.charAt(0)}`, { code: 4000, reason: 'a\ufffd' }],
  ['a Float32Array as the reason', 4000, typed, { code: 4000, reason: '' }],
  ['an object as the reason', 4000, { toString: () => 'x' }, { code: 4000, reason: '' }],
  ['1004', 1004, '', { code: 1011, reason: '' }],
  ['1005', 1005, '', { code: 1011, reason: '' }],
  ['1006', 1006, '', { code: 1011, reason: '' }],
  ['1015', 1015, '', { code: 1011, reason: '' }],
  ['2999', 2999, '', { code: 1011, reason: '' }],
  ['3000', 3000, '', { code: 3000, reason: '' }],
  ['5000', 5000, '', { code: 1011, reason: '' }],
  ['a Float32Array as the code', typed, '', { code: 1011, reason: '' }]
]

test('O4: whatever close() and CloseError are given, the peer gets a close that may be sent, and the app lives', async (t) => {
  let given: readonly [unknown, unknown] = [undefined, undefined]
  const target = await Target.start(t, {
    guard: { limits: { attempts: { max: 1_000 } } },
    route: {
      handlers: {
        say: ({ text }, connection) => {
          const [code, reason] = given as [number, string]
          if (text === 'close') connection.close(code, reason)
          else throw new CloseError(code, reason)
        },
        ask: () => ({ items: [] })
      }
    }
  })
  for (const [title, code, reason, told] of closes) {
    given = [code, reason]
    for (const text of ['close', 'throw']) {
      const before = target.closes.length
      const client = await target.open()
      await client.sendJson({ type: 'say', text })
      const frame = await client.nextFrame({ opcode: opcodes.close, timeoutMs })
      assert.deepEqual(closeOf(frame), told, `${title}: ${text}`)
      assert.equal(frame.payload.length, 2 + Buffer.byteLength(told.reason))
      client.halfClose()
      await until(() => target.closes.length === before + 1, { timeoutMs })
    }
  }
  assert.ok(target.closes.every(({ cause }) => cause === 'server'))
})

test('O4: the reason of a kick is cut as well, and is never memory of something else', async (t) => {
  const target = await Target.start(t)
  for (const [reason, told] of [
    [`${'é'.repeat(61)}🎉`, 'é'.repeat(61)],
    [typed, ''],
    [4000, '']
  ] as const) {
    const client = await target.open()
    await until(() => target.app.wsGuard.connections === 1, { timeoutMs })
    assert.equal(await target.app.wsGuard.disconnect({ sub: 'alice' }, { reason: reason as string }), 1)
    assert.deepEqual(await closeFrameOf(client, timeoutMs), { code: 4003, reason: told })
    client.halfClose()
    await until(() => target.app.wsGuard.connections === 0, { timeoutMs })
  }
})
