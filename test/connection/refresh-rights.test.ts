/** A new token may carry fewer rights than the old one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { inflowOf } from '../../lib/connection/inflow.ts'
import type { VerifyOutcome } from '../../lib/connection/session.ts'
import { injectWs } from '../../lib/testing.ts'
import { guarded } from '../handshake/harness.ts'
import { echo, tokenFor } from '../support/app.ts'
import { until, within } from '../support/wait.ts'
import { closeFrameOf, deferred, FakeClock, Guard, say } from './harness.ts'

const timeoutMs = 15_000

test('Z1, Z5: authorize is asked for the new user: who would not get in with a token does not stay with it', async (t) => {
  const { app, logs } = await guarded(t)
  const asked: unknown[] = []
  const users: unknown[] = []
  app.wsRoute('/rooms/:room', {
    contract: echo,
    schema: { params: Type.Object({ room: Type.String() }), querystring: Type.Object({ a: Type.String() }) },
    authorize: (user, request) => {
      const { id, ip, params, query, headers } = request
      asked.push({ id: typeof id, ip, params: { ...params }, query: { ...query }, hasHeaders: 'origin' in headers })
      return (user as unknown as { rooms: string[] }).rooms.includes(request.params.room)
    },
    handlers: {
      say: (_, { user }) => void users.push((user as unknown as { rooms: string[] }).rooms),
      ask: () => ({ items: [] })
    }
  })
  const token = (...rooms: string[]): string => tokenFor(app, 'alice', { rooms })
  await using ws = await injectWs(app, '/rooms/blue?a=1', { contract: echo, token: token('blue', 'red') })
  ws.send('auth', { token: token('blue') })
  await ws.receive('auth_ok', { timeoutMs })
  ws.send('say', { text: 'still here' }, { ref: 1 })
  await ws.receive('reply', { timeoutMs })
  ws.send('auth', { token: token('red') })
  ws.send('say', { text: 'not any more' })
  assert.deepEqual(await within(ws.closed), { code: 4003, reason: 'forbidden' })
  assert.deepEqual(users, [['blue']])
  const common = { id: 'string', ip: '127.0.0.1', params: { room: 'blue' }, query: { a: '1' } }
  const later = { ...common, hasHeaders: false }
  assert.deepEqual(asked, [{ ...common, hasHeaders: true }, later, later])
  assert.deepEqual(
    logs.filter('ws.forbidden').map(({ reason, sub }) => [reason, sub]),
    [['refresh', 'alice']]
  )
  assert.equal(logs.filter('ws.refreshed').length, 1)
})

const renewed: VerifyOutcome = { ok: true, user: 'the new one', identity: { subject: 'alice' } }
const session = { verify: async () => renewed }

test('Z1, Z5: while authorize thinks of the new user nothing is dispatched, and the old one stays', async (t) => {
  const answer = deferred<boolean>()
  const users: unknown[] = []
  const guard = await Guard.start(t, {
    session: { ...session, authorize: () => answer.promise },
    handlers: { say: { run: (_: unknown, { user }: { user: unknown }) => void users.push(user) } }
  })
  const { client, connection } = await guard.connect()
  const old = connection.user
  await client.sendJson({ type: 'auth', token: 'new' })
  await client.sendJson(say('behind it'))
  await until(() => inflowOf(connection).queue.length === 1)
  assert.deepEqual([connection.user, users], [old, []])
  answer.resolve(true)
  await until(() => users.length === 1)
  assert.deepEqual(users, ['the new one'])
})

const noAnswers: Readonly<Record<string, { authorize: () => Promise<boolean>; close: object; wait: number }>> = {
  rejects: { authorize: () => Promise.reject(new Error('x')), close: { code: 1013, reason: 'unavailable' }, wait: 0 },
  'never settles': {
    authorize: () => new Promise(() => {}),
    close: { code: 1011, reason: 'handler_timeout' },
    wait: 500
  },
  'outlasts the old credential': {
    authorize: () => new Promise(() => {}),
    close: { code: 4001, reason: 'session_expired' },
    wait: 400
  }
}
for (const [name, { authorize, close, wait }] of Object.entries(noAnswers)) {
  test(`Z1, Z5: an authorize that ${name} lets nobody stay`, async (t) => {
    const expiresAt = name.startsWith('outlasts') ? new FakeClock().wall() + 400 : undefined
    const admitted = { identity: { subject: 'alice', ...(expiresAt !== undefined && { expiresAt }) } }
    const guard = await Guard.start(t, { handlerTimeoutMs: 500, admitted, session: { ...session, authorize } })
    const { client, connection } = await guard.connect()
    const old = connection.user
    await client.sendJson({ type: 'auth', token: 'new' })
    await until(() => connection.received === 1)
    guard.tick(wait)
    assert.deepEqual(await closeFrameOf(client), close)
    assert.equal(connection.user, old)
    assert.equal(guard.log.filter('ws.refreshed').length, 0)
    assert.equal(guard.log.filter('ws.handler_error').length, name === 'rejects' ? 1 : 0)
  })
}

test('Z8: a request of after the 101 has no headers, and a log of the connection', async (t) => {
  const { app, logs } = await guarded(t)
  app.wsRoute('/ws', {
    contract: echo,
    authorize: (_user, request: FastifyRequest) => {
      request.log.info('asked')
      return true
    },
    handlers: { say() {}, ask: () => ({ items: [] }) }
  })
  await using ws = await injectWs(app, '/ws', { contract: echo, token: tokenFor(app) })
  ws.send('auth', { token: tokenFor(app) })
  await ws.receive('auth_ok', { timeoutMs })
  const [first, second] = logs.filter('asked')
  assert.equal(first?.connectionId, undefined)
  assert.equal(typeof second?.connectionId, 'string')
})

test('Z2, Z5: an authorize that agrees after the old credential has expired extends nothing', async (t) => {
  const answer = deferred<boolean>()
  const admitted = { identity: { subject: 'alice', expiresAt: new FakeClock().wall() + 400 } }
  const guard = await Guard.start(t, { admitted, session: { ...session, authorize: () => answer.promise } })
  const { client } = await guard.connect()
  await client.sendJson({ type: 'auth', token: 'new' })
  await until(() => guard.runtime.registry.list[0]?.received === 1)
  guard.clock.ms += 400
  answer.resolve(true)
  assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'session_expired' })
  assert.equal(guard.log.filter('ws.refreshed').length, 0)
})

type Answer = ReturnType<typeof deferred<boolean>>
const lateAnswers: Readonly<Record<string, (answer: Answer) => void>> = {
  'a no': (answer) => answer.resolve(false),
  'an error': (answer) => answer.reject(new Error('the back end is down'))
}
for (const [what, settle] of Object.entries(lateAnswers)) {
  test(`Z1: ${what} about a user whom a refresh has replaced meanwhile ends nobody`, async (t) => {
    const answer: Answer = deferred()
    const asked: unknown[] = []
    const authorize = (user: unknown): boolean | Promise<boolean> => {
      asked.push(user)
      return user === 'the new one' ? true : answer.promise
    }
    const guard = await Guard.start(t, { reauthorizeMs: 100, session: { ...session, authorize } })
    const { client, connection } = await guard.connect()
    guard.tick(100)
    await until(() => asked.length === 1)
    await client.sendJson({ type: 'auth', token: 'new' })
    await client.nextJson()
    settle(answer)
    await client.sendJson(say('still here', 1))
    await client.nextJson()
    assert.equal(connection.state, 'open')
    // The refresh has asked about the new one; the next question comes a period later.
    guard.tick(99)
    assert.deepEqual(asked, [{ name: 'alice' }, 'the new one'])
    guard.tick(1)
    await until(() => asked.length === 3)
    assert.equal(asked[2], 'the new one')
  })
}
