/** A new token in place of the old one: who may, how often, and what a late answer can still change. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import cookie from '@fastify/cookie'
import type { FastifyRequest } from 'fastify'
import { inflowOf } from '../../lib/connection/inflow.ts'
import type { VerifyOutcome } from '../../lib/connection/session.ts'
import type { WsConnection } from '../../lib/connection/types.ts'
import type { Identity } from '../../lib/limits/store.ts'
import { injectWs, type TestSocket } from '../../lib/testing.ts'
import { guarded } from '../handshake/harness.ts'
import { hostileTokens, partsOf } from '../handshake/hostile-tokens.ts'
import { echo, tokenFor } from '../support/app.ts'
import { until, within } from '../support/wait.ts'
import { closeFrameOf, deferred, FakeClock, frames, Guard, say, settled, texts } from './harness.ts'

const startsAt = new FakeClock().wall()
const handlers = { say() {}, ask: () => ({ items: [] }) }
const open = { perSecond: 1_000_000, burst: 1_000_000 }

const good = (identity: Partial<Identity> = {}): VerifyOutcome => ({
  ok: true,
  user: { name: 'new' },
  identity: { subject: 'alice', ...identity }
})
const bad: VerifyOutcome = { ok: false, cause: 'unauthorized', errorCode: 'BAD' }

test('Z5: every hostile token is 4001 as a refresh, and nothing of it is told', async (t) => {
  const { app, logs } = await guarded(t, { guard: { limits: { attempts: { max: 1000 } } } })
  const users: unknown[] = []
  app.wsRoute('/ws', { contract: echo, handlers: { ...handlers, say: (_, { user }) => void users.push(user) } })
  const names = Object.keys(hostileTokens)
  assert.ok(names.length > 50)
  for (const [name, make] of Object.entries(hostileTokens)) {
    const token = make()
    await using ws = await injectWs(app, '/ws', { contract: echo, token: tokenFor(app, 'user-1') })
    ws.send('auth', { token }, { ref: 1 })
    ws.send('say', { text: 'behind it' })
    assert.deepEqual(await within(ws.closed, { what: name }), { code: 4001, reason: 'unauthorized' }, name)
    for (const part of partsOf(token)) assert.ok(!logs.text().includes(part), `${name}: the log has a part of it`)
  }
  assert.deepEqual(users, [])
  assert.equal(logs.filter('ws.refreshed').length, 0)
  assert.equal(logs.filter('ws.auth_failed').length, names.length)
  assert.deepEqual(new Set(logs.filter('ws.auth_failed').map(({ reason }) => reason)), new Set(['unauthorized']))
})

/** How a connection may have been opened; a refresh is the same for all. */
const openings: Readonly<Record<string, (token: string, ticket: string) => { path?: string; options: object }>> = {
  header: (token) => ({ options: { token } }),
  subprotocol: (token) => ({ options: { protocols: ['ws-guard.v1', `bearer.${token}`] } }),
  cookie: (token) => ({ options: { cookies: { token } } }),
  query: (token) => ({ path: `/ws?token=${token}`, options: {} }),
  ticket: (_token, ticket) => ({ path: `/ws?ticket=${ticket}`, options: {} })
}

test('Z5: a refresh takes over a connection however it was opened, and only for the same subject', async (t) => {
  const { app } = await guarded(t)
  await app.register(cookie)
  const users: unknown[] = []
  app.wsRoute('/ws', {
    contract: echo,
    auth: { from: ['header', 'subprotocol', 'cookie', 'query', 'ticket'] },
    handlers: { ...handlers, say: (_, { user }) => void users.push((user as { jti?: string }).jti) }
  })
  await app.ready()
  for (const [name, opening] of Object.entries(openings)) {
    const connect = async (): Promise<TestSocket<typeof echo>> => {
      const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'alice' }, route: '/ws' })
      const { path = '/ws', options } = opening(tokenFor(app), ticket)
      const ws = await injectWs(app, path, { contract: echo, ...options })
      assert.equal(ws.statusCode, 101, name)
      return ws
    }
    await using ws = await connect()
    ws.send('auth', { token: tokenFor(app, 'alice', { jti: name }) })
    assert.ok((await ws.receive('auth_ok')).expiresInMs > 3_500_000, name)
    ws.send('say', { text: 'a' })
    await until(() => users.at(-1) === name, { what: `the new user of ${name}` })
    await using other = await connect()
    other.send('auth', { token: tokenFor(app, 'mallory') })
    assert.deepEqual(await within(other.closed), { code: 4003, reason: 'forbidden' }, name)
  }
})

test('Z5: auth.identity says who is the same: one name in two tenants is two subjects', async (t) => {
  const { app, logs } = await guarded(t)
  app.wsRoute('/ws', {
    contract: echo,
    auth: {
      verify: (token) => ({ tenant: token.split(':')[0], name: token.split(':')[1] }),
      identity: ({ tenant, name }) => ({ subject: `${tenant}/${name}` })
    },
    handlers
  })
  await using ws = await injectWs(app, '/ws', { contract: echo, token: 'red:alice' })
  ws.send('auth', { token: 'red:alice' })
  await ws.receive('auth_ok')
  ws.send('auth', { token: 'blue:alice' })
  assert.deepEqual(await within(ws.closed), { code: 4003, reason: 'forbidden' })
  const line = logs.find('ws.forbidden')
  assert.deepEqual([line?.reason, line?.sub], ['refresh_subject', 'red/alice'])
})

test('Z5, Z8: messages before a refresh run as the old user, those behind it as the new one', async (t) => {
  const first = deferred()
  const seen: unknown[] = []
  const guard = await Guard.start(t, {
    session: { verify: async () => good() },
    handlers: {
      say: async ({ text }, connection: WsConnection) => {
        const before = connection.user
        if (text === 'slow') await first.promise
        assert.equal(connection.user, before, 'no handler sees it change')
        seen.push([text, (connection.user as { name: string }).name])
      }
    }
  })
  const { client } = await guard.connect(
    frames(say('slow'), say('queued'), { type: 'auth', token: 't' }, say('behind'))
  )
  await until(() => guard.runtime.registry.list[0]?.inflow?.queue.length === 3)
  first.resolve()
  await settled(client)
  assert.deepEqual(seen, [
    ['slow', 'alice'],
    ['queued', 'alice'],
    ['behind', 'new']
  ])
})

for (const [title, outcome] of [
  ['good', good({ expiresAt: startsAt + 60_000 })],
  ['bad', bad]
] as const) {
  for (const isSwept of [true, false]) {
    const when = isSwept ? 'after the close' : 'after the instant'
    test(`Z2, Z5: the old token expires while the new one is verified: session_expired, and ${title} news ${when} change nothing`, async (t) => {
      const answer = deferred<VerifyOutcome>()
      const guard = await Guard.start(t, {
        admitted: { identity: { subject: 'alice', expiresAt: startsAt + 1000 } },
        session: { verify: () => answer.promise },
        handlers: { say: () => assert.fail('not run') }
      })
      const { client, connection } = await guard.connect(frames({ type: 'auth', token: 't' }, say('behind')))
      await until(() => inflowOf(connection).queue.length === 1)
      guard.clock.ms += 1000
      if (isSwept) guard.tick()
      answer.resolve(outcome)
      assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'session_expired' })
      await until(() => !connection.busy)
      assert.deepEqual([connection.user, connection.expiresAt], [{ name: 'alice' }, startsAt + 1000])
      assert.deepEqual([texts(client), guard.errors, guard.log.find('ws.auth_failed')], [[], [], undefined])
    })
  }
}

test('Z4, Z5: a subject blocked while its new token is verified is 4003, and is not told auth_ok', async (t) => {
  const answer = deferred<VerifyOutcome>()
  const guard = await Guard.start(t, { session: { verify: () => answer.promise } })
  const { client, connection } = await guard.connect(frames({ type: 'auth', token: 't' }))
  await until(() => connection.received === 1)
  await guard.runtime.store.block('alice', startsAt + 60_000)
  answer.resolve(good())
  assert.deepEqual(await closeFrameOf(client), { code: 4003, reason: 'revoked' })
  assert.deepEqual(texts(client), [])
})

test('Z5, R1: a flood of refreshes costs no more verifications than its limit, and no handshakes', async (t) => {
  let verified = 0
  const verify = (): object => {
    verified++
    return { sub: 'alice' }
  }
  const { app } = await guarded(t, {
    guard: { limits: { attempts: { max: 3 }, messages: open, queue: { messages: 1000 } } }
  })
  app.wsRoute('/ws', { contract: echo, auth: { verify, refresh: { perMinute: 4 } }, handlers })
  await using ws = await injectWs(app, '/ws', { contract: echo, token: 'any' })
  for (let count = 0; count < 200; count++) ws.send('auth', { token: 'any' })
  ws.send('ask', { count: 0 }, { ref: 1 })
  await ws.receive('reply')
  assert.equal(verified, 1 + 4)
  for (const status of [101, 101, 429]) {
    await using again = await injectWs(app, '/ws', { token: 'any' })
    assert.equal(again.statusCode, status)
  }
})

/** Calls of `verify` and `authorize` after the 101, with the signal of their request. */
for (const way of ['a refresh', 'the first message', 'reauthorize'] as const) {
  test(`Z8: the request of ${way} has a signal that is aborted when the connection ends`, async (t) => {
    let signal: AbortSignal | undefined
    let isOpen = false
    const errors: unknown[] = []
    /** As `fetch` does: rejects when its signal is aborted. */
    const ask = (request: FastifyRequest): Promise<never> => {
      signal = request.signal
      return new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal?.reason)))
    }
    const { app, logs } = await guarded(t)
    app.wsRoute('/ws', {
      contract: echo,
      auth: {
        from: ['header', 'message'],
        verify: (token, request) => (token === 'slow' ? ask(request) : { sub: 'alice' })
      },
      ...(way === 'reauthorize' && {
        authorize: (_user: unknown, request: FastifyRequest) => !isOpen || ask(request),
        reauthorizeMs: 1
      }),
      handlers,
      onOpen: () => {
        isOpen = true
      },
      onError: (error) => void errors.push(error)
    })
    const ws = await injectWs(app, '/ws', { contract: echo, ...(way !== 'the first message' && { token: 'any' }) })
    if (way !== 'reauthorize') ws.send('auth', { token: 'slow' })
    await until(() => signal !== undefined)
    assert.equal(signal?.aborted, false)
    ws.terminate()
    await until(() => signal?.aborted)
    await nextTurn()
    // Who stopped because it was told to is no error.
    assert.deepEqual(errors, [])
    for (const event of ['ws.handler_error', 'ws.auth_failed']) assert.equal(logs.find(event), undefined)
  })
}
