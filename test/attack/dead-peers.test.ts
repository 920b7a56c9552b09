/** Threat R8: peers that are gone, or as good as gone, on a real app with real time. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { frame, jsonFrame, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { Target } from './harness.ts'

const heartbeat = { intervalMs: 300, timeoutMs: 300 }
const deadMs = heartbeat.intervalMs + heartbeat.timeoutMs
/** The sweep comes by every 0.2 s; the rest is for a machine that is busy. */
const slackMs = 4_000
const timeoutMs = deadMs + slackMs
const dribbleEveryMs = 50

/** Answers every ping, as any WebSocket does. */
function answerPings(client: RawClient): void {
  let seen = 0
  client.socket.on('data', () => {
    for (const { opcode, payload } of client.frames.slice(seen)) {
      if (opcode === opcodes.ping) client.socket.write(frame({ opcode: opcodes.pong, payload }))
    }
    seen = client.frames.length
  })
}

/** A byte at a time: a frame that never comes to its end. */
function dribble(t: TestContext, client: RawClient, bytes: Buffer): void {
  let at = 0
  const timer = setInterval(() => {
    if (client.socket.writable) client.socket.write(bytes.subarray(at, ++at))
  }, dribbleEveryMs)
  t.after(() => clearInterval(timer))
}

const long = { type: 'say', text: 'x'.repeat(5_000) }
const dead: Readonly<Record<string, (t: TestContext, client: RawClient) => void>> = {
  'never answers a ping': () => {},
  'does not read': (_, client) => client.pause(),
  'dribbles a message': (t, client) => dribble(t, client, jsonFrame(long)),
  'dribbles the pong': (t, client) => dribble(t, client, frame({ opcode: opcodes.pong, payload: Buffer.alloc(125) })),
  'dribbles fragments that are never the last': (t, client) => {
    const piece = (opcode: number): Buffer => frame({ fin: false, opcode, payload: 'x' })
    dribble(t, client, Buffer.concat([piece(opcodes.text), ...Array.from({ length: 50 }, () => piece(0))]))
  }
}

test('R8: a dead peer is gone within interval and timeout, whatever it dribbles; the slot is free again', async (t) => {
  const count = Object.keys(dead).length
  const target = await Target.start(t, { guard: { heartbeat, limits: { connections: { perIp: count + 1 } } } })
  const good = await target.open()
  answerPings(good)
  const opened: { name: string; client: RawClient; at: number }[] = []
  for (const [name, act] of Object.entries(dead)) {
    const client = await target.open()
    opened.push({ name, client, at: performance.now() })
    act(t, client)
  }
  assert.equal(await target.knock(), 429)
  const lived = opened.map(async ({ name, client, at }) => {
    // Who does not read does not see the end either.
    await until(() => client.socket.destroyed || target.closes.length === count, {
      timeoutMs,
      what: `the end: ${name}`
    })
    return performance.now() - at
  })
  for (const ms of await Promise.all(lived)) assert.ok(ms >= deadMs - 100 && ms < timeoutMs, `gone after ${ms} ms`)
  await until(() => target.closes.length === count, { timeoutMs })
  assert.deepEqual(target.closes, Array(count).fill({ code: 1006, reason: '', cause: 'heartbeat_timeout' }))
  assert.equal(target.logs.filter('ws.heartbeat_timeout').length, count)
  await until(() => target.app.wsGuard.stats().slots === 1, { timeoutMs })
  for (let n = 0; n < count; n++) assert.equal(await target.knock(), 101)
  // The good one has lived through it.
  await good.sendJson({ type: 'say', text: 'still here' })
  assert.deepEqual(await good.nextJson({ timeoutMs }), { type: 'said', text: 'still here' })
})

test('R8: who is paused by us is not dead: its pongs cannot be seen', async (t) => {
  const quick = { intervalMs: 100, timeoutMs: 100 }
  const target = await Target.start(t, {
    guard: { heartbeat: quick, limits: { messages: { perSecond: 1, burst: 1 } } }
  })
  const client = await target.open()
  answerPings(client)
  const startedAt = performance.now()
  for (let ref = 0; ref < 3; ref++) {
    await client.sendJson({ type: 'ask', count: 1, ref })
    assert.deepEqual(await client.nextJson({ timeoutMs: 10_000 }), { type: 'reply', ref, data: { items: [] } })
  }
  const tookMs = performance.now() - startedAt
  assert.ok(tookMs > 5 * (quick.intervalMs + quick.timeoutMs), `paused for ${tookMs} ms only`)
  assert.deepEqual(target.closes, [])
  assert.ok(client.frames.some(({ opcode }) => opcode === opcodes.ping))
})
