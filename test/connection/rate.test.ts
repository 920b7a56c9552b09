import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inflowOf } from '../../lib/connection/inflow.ts'
import { maxRefs } from '../../lib/connection/rate.ts'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import { frame, jsonFrame, opcodes, textFrame } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, deferred, frames, Guard, say, settled, texts } from './harness.ts'

/** The clock of the guard stands, so nothing refills until a test says so; timers are real and short. */
const messages = { perSecond: 100, burst: 3 }

function numbered(count: number): Buffer {
  return frames(...Array.from({ length: count }, (_, at) => say(String(at), at)))
}

/** The refs of the replies that came. */
function replies(client: RawClient): unknown[] {
  return texts(client)
    .filter(({ type, ref }) => type === 'reply' && ref !== 'settled')
    .map(({ ref }) => ref)
}

test('R3: above the burst messages are dropped, for one strike and two answers', async (t) => {
  const guard = await Guard.start(t, { limits: { messages } })
  const { client, connection } = await guard.connect()
  await client.write(numbered(10))
  await until(() => inflowOf(connection).spell?.dropped === 7)
  assert.equal(inflowOf(connection).strikes, 1)
  assert.equal(connection.socket.isPaused, true)
  const first = await until(() => texts(client).find(({ type }) => type === 'error'))
  assert.deepEqual(first, {
    type: 'error',
    code: 'rate_limited',
    message: 'too many messages or bytes',
    ref: 3,
    retryAfterMs: 10
  })
  assert.deepEqual(replies(client), [0, 1, 2])
  guard.clock.ms += 1000
  const last = await until(() => texts(client).filter(({ type }) => type === 'error')[1])
  assert.deepEqual(last, {
    type: 'error',
    code: 'rate_limited',
    message: 'too many messages or bytes',
    dropped: 6,
    refs: [4, 5, 6, 7, 8, 9]
  })
  assert.equal(inflowOf(connection).spell, undefined)
  assert.equal(inflowOf(connection).strikes, 1)
  assert.equal(guard.log.filter('ws.rate_limited').length, 1)
  await settled(client)
})

test('R3: reading goes on with the first token, and the spell lasts until the bucket is full', async (t) => {
  const guard = await Guard.start(t, { limits: { messages } })
  const { client, connection } = await guard.connect()
  await client.write(numbered(4))
  await until(() => inflowOf(connection).spell?.dropped === 1)
  const { spell } = inflowOf(connection)
  guard.clock.ms += 10
  await until(() => !connection.socket.isPaused)
  assert.equal(inflowOf(connection).spell, spell)
  // It is used up at once: paused again, the same spell, no second strike.
  await client.write(frames(say('a'), say('b')))
  await until(() => inflowOf(connection).spell?.dropped === 2)
  assert.equal(inflowOf(connection).spell, spell)
  assert.equal(connection.socket.isPaused, true)
  assert.equal(inflowOf(connection).strikes, 1)
  guard.clock.ms += 1000
  await until(() => inflowOf(connection).spell === undefined)
  await settled(client)
  assert.equal(texts(client).filter(({ code }) => code === 'rate_limited').length, 2)
})

test('R3: the message that empties the bucket pauses reading and costs nothing', async (t) => {
  const guard = await Guard.start(t, { limits: { messages } })
  const { client, connection } = await guard.connect()
  await client.write(numbered(3))
  await until(() => connection.socket.isPaused)
  guard.clock.ms += 1000
  await until(() => inflowOf(connection).spell === undefined)
  await settled(client)
  assert.equal(inflowOf(connection).strikes, 0)
  assert.equal(texts(client).filter(({ type }) => type === 'error').length, 0)
})

test('R3: a single dropped message is told once', async (t) => {
  const guard = await Guard.start(t, { limits: { messages } })
  const { client, connection } = await guard.connect()
  await client.write(numbered(4))
  await until(() => inflowOf(connection).spell?.dropped === 1)
  guard.clock.ms += 1000
  await until(() => inflowOf(connection).spell === undefined)
  await settled(client)
  assert.equal(texts(client).filter(({ type }) => type === 'error').length, 1)
})

test('R3: the second answer names at most 64 refs, and those that are refs', async (t) => {
  const guard = await Guard.start(t, { limits: { messages: { perSecond: 100, burst: 20 } } })
  const { client, connection } = await guard.connect()
  const odd = [frame({ opcode: opcodes.binary, payload: 'x' }), textFrame('{bad'), jsonFrame(say('no ref'))]
  await client.write(Buffer.concat([numbered(120), ...odd]))
  await until(() => inflowOf(connection).spell?.dropped === 103)
  guard.clock.ms += 10_000
  await until(() => inflowOf(connection).spell === undefined)
  await settled(client)
  const [first, last] = texts(client).filter(({ type }) => type === 'error')
  assert.equal(first?.ref, 20)
  assert.equal(last?.dropped, 102)
  assert.deepEqual(
    last?.refs,
    Array.from({ length: maxRefs }, (_, at) => at + 21)
  )
})

test('R3: dropped frames that are no messages have no ref', async (t) => {
  const guard = await Guard.start(t, { limits: { messages } })
  const { client, connection } = await guard.connect()
  await client.write(Buffer.concat([numbered(3), frame({ opcode: opcodes.binary }), textFrame('{bad'), numbered(1)]))
  await until(() => inflowOf(connection).spell?.dropped === 3)
  guard.clock.ms += 1000
  await until(() => inflowOf(connection).spell === undefined)
  await settled(client)
  const [first, last] = texts(client).filter(({ type }) => type === 'error')
  assert.equal(first?.ref, undefined)
  assert.deepEqual(last?.refs, [0])
  assert.equal(last?.dropped, 2)
})

test('R3, R7: more than ten bursts dropped in one spell close with 1008', async (t) => {
  const guard = await Guard.start(t, { limits: { messages } })
  const { client } = await guard.connect()
  await client.write(numbered(34))
  assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'rate_limited' })
  assert.equal(guard.log.filter('ws.rate_limited').at(-1)?.reason, 'closed')
})

test('R3: ten bursts do not', async (t) => {
  const guard = await Guard.start(t, { limits: { messages } })
  const { client, connection } = await guard.connect()
  await client.write(numbered(33))
  await until(() => inflowOf(connection).spell?.dropped === 30)
  assert.equal(connection.state, 'open')
})

test('R3: the strike of a spell may be the last one', async (t) => {
  const guard = await Guard.start(t, { limits: { messages, strikes: { max: 0 } } })
  const { client } = await guard.connect()
  await client.write(numbered(4))
  assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'rate_limited' })
})

test('R3: the byte bucket limits as the message bucket does', async (t) => {
  const guard = await Guard.start(t, { limits: { bytes: { perSecond: 1000, burst: 1000 } } })
  const { client, connection } = await guard.connect()
  await client.write(frames(say('x'.repeat(900), 1), say('y'.repeat(900), 2), say('z', 3)))
  await until(() => inflowOf(connection).spell?.dropped === 1)
  const error = await until(() => texts(client).find(({ type }) => type === 'error'))
  assert.equal(error.ref, 3)
  assert.ok((error.retryAfterMs as number) > 800)
  guard.clock.ms += 5000
  await until(() => inflowOf(connection).spell === undefined)
})

test('R3: the wall clock does not refill a bucket', async (t) => {
  const guard = await Guard.start(t, { limits: { messages } })
  Object.assign(guard.clock, { wall: () => 4_000_000_000_000 })
  const { client, connection } = await guard.connect()
  await client.write(numbered(4))
  await until(() => inflowOf(connection).spell?.dropped === 1)
})

test('cost: what a handler costs beyond 1 is charged, and an empty bucket pauses at once', async (t) => {
  const guard = await Guard.start(t, {
    limits: { messages: { perSecond: 100, burst: 10 } },
    handlers: { say: { cost: 5, run: () => {} } }
  })
  const { client, connection } = await guard.connect()
  await client.sendJson(say('a', 1))
  await client.nextJson()
  assert.equal(inflowOf(connection).messages.available(guard.clock.now()), 5)
  assert.equal(connection.socket.isPaused, false)
  await client.sendJson(say('b', 2))
  await client.nextJson()
  assert.equal(inflowOf(connection).messages.available(guard.clock.now()), 0)
  assert.equal(connection.socket.isPaused, true)
  // Sent while paused: TCP keeps it, nobody drops it.
  await client.sendJson(say('c', 3))
  guard.clock.ms += 10
  assert.deepEqual(await client.nextJson(), { type: 'reply', ref: 3, data: null })
  assert.equal(inflowOf(connection).strikes, 0)
})

test('delay: what was read is served in order as tokens come, without a strike', async (t) => {
  const guard = await Guard.start(t, { limits: { messages: { ...messages, onExceeded: 'delay' } } })
  const { client, connection } = await guard.connect()
  await client.write(numbered(9))
  await until(() => inflowOf(connection).spell?.delayed.length === 6)
  await until(() => replies(client).length === 3)
  guard.clock.ms += 20
  await until(() => inflowOf(connection).spell?.delayed.length === 4)
  guard.clock.ms += 10_000
  await until(() => inflowOf(connection).spell?.delayed.length === 1)
  await until(() => {
    guard.clock.ms += 10
    return inflowOf(connection).spell === undefined
  })
  await settled(client)
  assert.deepEqual(replies(client), [0, 1, 2, 3, 4, 5, 6, 7, 8])
  assert.equal(inflowOf(connection).strikes, 0)
  assert.equal(texts(client).filter(({ type }) => type === 'error').length, 0)
})

test('delay: more than bytes.burst kept closes with 1008; an empty frame is not free', async (t) => {
  const guard = await Guard.start(t, {
    limits: { messages: { ...messages, onExceeded: 'delay' }, bytes: { perSecond: 1, burst: 2000 } }
  })
  const { client } = await guard.connect()
  await client.write(Buffer.concat([numbered(3), ...Array.from({ length: 40 }, () => textFrame(''))]))
  assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'rate_limited' })
})

test('delay: a kept message that closes is the last one', async (t) => {
  const seen: unknown[] = []
  const guard = await Guard.start(t, {
    limits: { messages: { ...messages, onExceeded: 'delay' } },
    handlers: {
      say: ({ text }, connection) => {
        seen.push(text)
        if (text === '4') connection.close()
      }
    }
  })
  const { client, connection } = await guard.connect()
  await client.write(numbered(9))
  await until(() => inflowOf(connection).spell?.delayed.length === 6)
  guard.clock.ms += 100
  await closeFrameOf(client)
  assert.deepEqual(seen, ['0', '1', '2', '3', '4'])
  assert.equal(inflowOf(connection).spell, undefined)
})

test('delay, Z2: a kept message is not served once the credential has expired', async (t) => {
  const seen: unknown[] = []
  const guard = await Guard.start(t, {
    admitted: { identity: { subject: 'alice', expiresAt: 1_700_000_000_000 + 1_000_500 } },
    limits: { messages: { ...messages, onExceeded: 'delay' } },
    handlers: { say: ({ text }) => void seen.push(text) }
  })
  const { client, connection } = await guard.connect()
  await client.write(numbered(5))
  await until(() => inflowOf(connection).spell?.delayed.length === 2)
  guard.clock.ms += 1000
  assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'session_expired' })
  assert.deepEqual(seen, ['0', '1', '2'])
})

test('delay: a binary frame need not be kept to be refused', async (t) => {
  const guard = await Guard.start(t, { limits: { messages: { ...messages, onExceeded: 'delay' } } })
  const { client } = await guard.connect()
  await client.write(Buffer.concat([numbered(4), frame({ opcode: opcodes.binary })]))
  assert.equal((await closeFrameOf(client)).code, 1003)
})

test('delay: kept messages wait for slow handlers and do not overflow the queue', async (t) => {
  const gate = deferred()
  const guard = await Guard.start(t, {
    limits: { messages: { ...messages, onExceeded: 'delay' }, queue: { messages: 4 } },
    handlers: { say: () => gate.promise }
  })
  const { client, connection } = await guard.connect()
  await client.write(numbered(12))
  await until(() => inflowOf(connection).spell?.delayed.length === 9)
  // Time for all of them has passed, but one handler runs and two wait.
  guard.clock.ms += 100_000
  const { timer } = inflowOf(connection).spell as { timer: NodeJS.Timeout | undefined }
  await until(() => inflowOf(connection).spell?.timer !== timer)
  assert.equal(connection.state, 'open')
  assert.equal(inflowOf(connection).spell?.delayed.length, 9)
  gate.resolve()
  await until(() => {
    guard.clock.ms += 100
    return replies(client).length === 12
  })
})

test('close: the first message above the burst closes with 1008', async (t) => {
  const guard = await Guard.start(t, { limits: { messages: { ...messages, onExceeded: 'close' } } })
  const { client } = await guard.connect()
  await client.write(numbered(4))
  assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'rate_limited' })
})

test('userMessages: the connections of a user share a bucket, others have their own', async (t) => {
  const store = new MemoryStore({ now: () => clock.ms })
  const clock = { ms: 0 }
  const guard = await Guard.start(t, { store, limits: { userMessages: { perSecond: 100, burst: 4 } } })
  const first = await guard.connect()
  const second = await guard.connect()
  await first.client.write(numbered(3))
  await until(() => first.connection.received === 3)
  await second.client.write(numbered(3))
  await until(() => inflowOf(second.connection).spell?.dropped === 2)
  const { retryAfterMs } = await until(() => texts(second.client).find(({ type }) => type === 'error'))
  assert.equal(retryAfterMs, 10)
  assert.equal(inflowOf(first.connection).spell, undefined)
  // Reading goes on, but as long as the shared bucket is not full again, it is the same spell.
  guard.clock.ms += 20
  clock.ms += 20
  await until(() => !second.connection.socket.isPaused)
  await second.client.write(numbered(3))
  await until(() => inflowOf(second.connection).spell?.dropped === 3)
  assert.equal(inflowOf(second.connection).strikes, 1)
  guard.clock.ms += 1000
  clock.ms += 1000
  await until(() => inflowOf(second.connection).spell === undefined)
  await settled(second.client)
})

test('userMessages: kept messages are charged too', async (t) => {
  const clock = { ms: 0 }
  const store = new MemoryStore({ now: () => clock.ms })
  const guard = await Guard.start(t, {
    store,
    limits: {
      messages: { perSecond: 100, burst: 100, onExceeded: 'delay' },
      userMessages: { perSecond: 100, burst: 4 }
    }
  })
  const { client, connection } = await guard.connect()
  await client.write(numbered(8))
  await until(() => inflowOf(connection).spell?.delayed.length === 4)
  // The connection has tokens, its user has not.
  guard.clock.ms += 10_000
  const { timer } = inflowOf(connection).spell as { timer: NodeJS.Timeout | undefined }
  await until(() => inflowOf(connection).spell?.timer !== timer)
  assert.equal(inflowOf(connection).spell?.delayed.length, 4)
  clock.ms += 10_000
  guard.clock.ms += 10_000
  await until(() => inflowOf(connection).spell?.delayed.length === 0)
})

test('userMessages, N2: a store that is down ends the connection with 1013', async (t) => {
  const store = Object.assign(new MemoryStore(), { takeUserBudget: () => assert.fail('down') })
  const guard = await Guard.start(t, { store, limits: { userMessages: { perSecond: 1, burst: 1 } } })
  const { client } = await guard.connect()
  await client.write(numbered(2))
  assert.deepEqual(await closeFrameOf(client), { code: 1013, reason: 'unavailable' })
  assert.deepEqual(texts(client), [])
})

test('userMessages: the cost of a handler is charged to the user too', async (t) => {
  const clock = { ms: 0 }
  const store = new MemoryStore({ now: () => clock.ms })
  const guard = await Guard.start(t, {
    store,
    limits: { userMessages: { perSecond: 100, burst: 10 } },
    handlers: { say: { cost: 5, run: () => {} } }
  })
  const { client, connection } = await guard.connect()
  await client.write(numbered(3))
  await until(() => inflowOf(connection).spell?.dropped === 1)
  await until(() => replies(client).length === 2)
})

test('userMessages: without an identity there is no user to share with', async (t) => {
  const guard = await Guard.start(t, {
    admitted: { identity: undefined },
    limits: { userMessages: { perSecond: 1, burst: 1 } }
  })
  const { client } = await guard.connect()
  await client.write(numbered(5))
  await until(() => replies(client).length === 5)
})

test('raw: frames already read are delivered as a debt, so that the rate holds over time', async (t) => {
  const seen: unknown[] = []
  const guard = await Guard.start(t, {
    raw: true,
    limits: { messages },
    onOpen: ({ socket }) => void socket.on('message', (data) => seen.push(String(data)))
  })
  const { client, connection } = await guard.connect()
  await client.write(Buffer.concat(Array.from({ length: 13 }, (_, at) => textFrame(String(at)))))
  await until(() => seen.length === 13)
  assert.equal(connection.socket.isPaused, true)
  assert.equal(inflowOf(connection).messages.available(guard.clock.now()), -10)
  guard.clock.ms += 100
  // Ten tokens pay the debt; the one after them lets reading go on.
  await client.sendText('later')
  guard.clock.ms += 10
  await until(() => seen.includes('later'))
  guard.clock.ms += 10_000
  await until(() => inflowOf(connection).spell === undefined)
  assert.deepEqual(client.frames, [])
})

test('raw: too deep a debt closes with 1008, onExceeded: close at once', async (t) => {
  const flood = Buffer.concat(Array.from({ length: 40 }, () => textFrame('x')))
  const guard = await Guard.start(t, { raw: true, limits: { messages } })
  const { client } = await guard.connect()
  await client.write(flood)
  assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'rate_limited' })

  const seen: unknown[] = []
  const strict = await Guard.start(t, {
    raw: true,
    limits: { messages: { ...messages, onExceeded: 'close' } },
    onOpen: ({ socket }) => void socket.on('message', () => seen.push(1))
  })
  const second = await strict.connect()
  await second.client.write(flood)
  assert.deepEqual(await closeFrameOf(second.client), { code: 1008, reason: 'rate_limited' })
  assert.equal(seen.length, 3)
})

test('R3: reading really stops: TCP pushes back, and other connections do not notice', async (t) => {
  const guard = await Guard.start(t, { limits: { messages: { perSecond: 1, burst: 2 } } })
  const flooder = await guard.connect()
  const other = await guard.connect()
  await flooder.client.write(numbered(2))
  await until(() => flooder.connection.socket.isPaused)
  const big = jsonFrame(say('x'.repeat(60_000)))
  for (let count = 0; count < 300; count++) flooder.client.socket.write(big)
  await settled(other.client)
  // 18 MB do not fit into the buffers of the kernel.
  assert.ok(flooder.client.socket.writableLength > 1_000_000)
  assert.equal(flooder.connection.received, 2)
  assert.equal(flooder.connection.state, 'open')
})

test('R3: a rate so slow that no timer reaches it does not spin', async (t) => {
  const guard = await Guard.start(t, { limits: { messages: { perSecond: 1e-9, burst: 1 } } })
  const warnings: Error[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning)
  process.on('warning', onWarning)
  t.after(() => process.off('warning', onWarning))
  const { client, connection } = await guard.connect()
  await client.write(numbered(1))
  const { timer } = await until(() => inflowOf(connection).spell)
  await settled((await guard.connect()).client)
  assert.equal(inflowOf(connection).spell?.timer, timer)
  assert.deepEqual(warnings, [])
})

test('L1: a connection that ends in a spell leaves no timer', async (t) => {
  const guard = await Guard.start(t, { limits: { messages } })
  const { client, connection } = await guard.connect()
  await client.write(numbered(4))
  const spell = await until(() => inflowOf(connection).spell)
  client.destroy()
  // A paused socket does not see the end: the close is ours.
  connection.close()
  await until(() => connection.state === 'closed')
  assert.equal(inflowOf(connection).spell, undefined)
  assert.equal((spell.timer as unknown as { _destroyed: boolean })._destroyed, true)
})
