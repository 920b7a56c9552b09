/** A deadline that was met ends nobody later, and a window begins with the first thing that it counts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '../support/wait.ts'
import { closeFrameOf, frames, Guard, say, settled, texts } from './harness.ts'

test('M6: the window of the strikes begins with the first one, also on a clock that has just begun', async (t) => {
  const guard = await Guard.start(t, { limits: { strikes: { max: 1, windowMs: 20_000 } } })
  guard.clock.ms = 15_000
  const { client } = await guard.connect()
  await client.sendJson({ type: 'nonsense' })
  await until(() => texts(client).length === 1)
  guard.tick(5_000)
  await client.sendJson({ type: 'nonsense' })
  assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'invalid_messages' })
})

test('Z5: so does the one of the refreshes', async (t) => {
  const guard = await Guard.start(t, {
    session: {
      refresh: { perMinute: 1 },
      verify: async () => ({ ok: true, user: { name: 'alice' }, identity: { subject: 'alice' } })
    }
  })
  guard.clock.ms = 50_000
  const { client } = await guard.connect()
  await client.sendJson({ type: 'auth', token: 'one' })
  await until(() => texts(client).find(({ type }) => type === 'auth_ok'))
  guard.tick(10_000)
  await client.sendJson({ type: 'auth', token: 'two', ref: 2 })
  const answer = await until(() => texts(client).find(({ ref }) => ref === 2))
  assert.equal(answer.code, 'rate_limited')
})

test('M12: a handler that has settled in time is not ended afterwards', async (t) => {
  const guard = await Guard.start(t, { handlerTimeoutMs: 1_000, handlers: { say: async () => {} } })
  const { client, connection } = await guard.connect()
  await client.sendJson(say('one', 1))
  await until(() => texts(client).find(({ ref }) => ref === 1))
  guard.tick(2_000)
  assert.equal(connection.state, 'open')
  await settled(client)
})

test('Z1: an authorize that has agreed in time ends nobody afterwards', async (t) => {
  const guard = await Guard.start(t, { handlerTimeoutMs: 1_000, reauthorizeMs: 5_000 })
  const { client, connection } = await guard.connect()
  guard.tick(5_000)
  assert.equal(connection.reauthorizeAt, undefined)
  await until(() => connection.reauthorizeAt !== undefined)
  guard.tick(2_000)
  assert.equal(connection.state, 'open')
  await settled(client)
})

test('R3: a spell ends with the bucket of the connection, where the budget of the user was never empty', async (t) => {
  const guard = await Guard.start(t, {
    limits: {
      messages: { perSecond: 10, burst: 3, onExceeded: 'error' },
      userMessages: { perSecond: 0.001, burst: 1_000 }
    }
  })
  const { client, connection } = await guard.connect()
  await client.write(frames(...Array.from({ length: 5 }, (_, at) => say(String(at)))))
  await until(() => connection.inflow?.spell?.dropped === 2)
  guard.clock.ms += 1_000
  await until(() => connection.inflow?.spell === undefined)
  assert.equal(connection.socket.isPaused, false)
})
