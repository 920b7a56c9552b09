import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { injectWs } from '../../lib/testing.ts'
import { echo, tokenFor } from '../support/app.ts'
import { defaultStore } from '../support/default-store.ts'
import { until, within } from '../support/wait.ts'
import {
  assertNothingHeld,
  failingStore,
  type GuardedApp,
  gate,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from './harness.ts'

const handlers = { say() {}, ask: () => ({ items: [] }) }

/** A route that waits for the first message. */
async function byMessage(t: TestContext, options: object = {}, guard: WsGuardOptions = {}): Promise<GuardedApp> {
  const all = await guarded(t, { guard: { auth: { from: ['header', 'message'] }, ...guard } })
  all.app.wsRoute('/ws', { contract: echo, handlers, ...options })
  return all
}

async function authenticated(app: FastifyInstance, token: string) {
  const ws = await injectWs(app, '/ws', { contract: echo })
  assert.equal(ws.statusCode, 101)
  ws.send('auth', { token })
  return ws
}

async function closedAfter(app: FastifyInstance, token: string): Promise<unknown[]> {
  await using ws = await authenticated(app, token)
  const { code, reason } = await within(ws.closed)
  return [code, reason]
}

test('the first message authenticates; then the connection is as any other', async (t) => {
  const seen: unknown[] = []
  const { app } = await byMessage(t, {
    authorize: (user: { sub: string }) => user.sub === 'alice',
    data: (request: FastifyRequest) => request.headers['x-tenant'],
    onOpen: (connection: { user: { sub: string }; data: unknown }) =>
      void seen.push([connection.user.sub, connection.data])
  })
  await using ws = await injectWs(app, '/ws', { contract: echo, headers: { 'X-Tenant': 'a' } })
  assert.equal(app.wsGuard.stats().unauthenticated, 1)
  ws.send('auth', { token: tokenFor(app, 'alice') })
  const { expiresInMs } = await ws.receive('auth_ok')
  assert.ok(expiresInMs > 3_500_000 && expiresInMs <= 3_600_000)
  ws.send('ask', { count: 1 }, { ref: 1 })
  assert.deepEqual(await ws.receive('reply'), { type: 'reply', ref: 1, data: { items: [] } })
  assert.deepEqual(seen, [['alice', 'a']])
  assert.equal(app.wsGuard.stats().unauthenticated, 0)
})

test('a credential in the handshake is taken as everywhere, good or bad', async (t) => {
  const { app } = await byMessage(t)
  await using good = await injectWs(app, '/ws', { contract: echo, token: tokenFor(app) })
  good.send('ask', { count: 1 }, { ref: 1 })
  await good.receive('reply')
  await using bad = await injectWs(app, '/ws', { token: 'bad' })
  assert.equal(bad.statusCode, 401)
})

test('A5: a bad token in the first message is 4001; one that nobody can check 1013', async (t) => {
  const { app } = await byMessage(t)
  assert.deepEqual(await closedAfter(app, 'bad'), [4001, 'unauthorized'])
  const down = await byMessage(t, { auth: { from: ['message'], verify: () => Promise.reject(new Error('down')) } })
  assert.deepEqual(await closedAfter(down.app, 'any'), [1013, 'unavailable'])
  for (const one of [app, down.app]) await assertNothingHeld(one)
})

test('A9: a token above 8 KiB, or an empty one, is not verified after the 101 either', async (t) => {
  let calls = 0
  const verify = (): object => {
    calls++
    return { sub: 'alice' }
  }
  const { app } = await byMessage(t, { auth: { from: ['message'], verify } })
  for (const token of ['', 'x'.repeat(8_193)]) assert.deepEqual(await closedAfter(app, token), [4001, 'unauthorized'])
  assert.equal(calls, 0)
})

test('authorize after the first message: not allowed is 4003, an error 1011', async (t) => {
  const errors: unknown[] = []
  const onError = (error: unknown): void => void errors.push(error)
  const no = await byMessage(t, { authorize: () => false })
  assert.deepEqual(await closedAfter(no.app, tokenFor(no.app)), [4003, 'forbidden'])
  const thrown = new Error('canary')
  const broken = await byMessage(t, { authorize: () => Promise.reject(thrown), onError })
  assert.deepEqual(await closedAfter(broken.app, tokenFor(broken.app)), [1011, 'internal'])
  const data = await byMessage(t, { data: () => Promise.reject(thrown), onError })
  assert.deepEqual(await closedAfter(data.app, tokenFor(data.app)), [1011, 'internal'])
  assert.deepEqual(errors, [thrown, thrown])
  for (const { app } of [no, broken, data]) await assertNothingHeld(app)
})

test('a revoked user is 4003 after the first message, too', async (t) => {
  const { app } = await byMessage(t)
  await app.wsGuard.revoke({ sub: 'alice' })
  assert.deepEqual(await closedAfter(app, tokenFor(app, 'alice')), [4003, 'revoked'])
  await assertNothingHeld(app)
})

test('Z10: one connection too many of a user is 1008 after the first message', async (t) => {
  const store = defaultStore()
  const { app } = await byMessage(t, {}, { store, limits: { connections: { perUser: 1 } } })
  await using first = await authenticated(app, tokenFor(app, 'alice'))
  await first.receive('auth_ok')
  assert.deepEqual(await closedAfter(app, tokenFor(app, 'alice')), [1008, 'too_many_connections'])
  await using bob = await authenticated(app, tokenFor(app, 'bob'))
  await bob.receive('auth_ok')
  for (const ws of [first, bob]) await ws[Symbol.asyncDispose]()
  await assertNothingHeld(app, store)
})

for (const method of ['isRefused', 'acquireSlot'] as const) {
  test(`A12: a store whose ${method} fails after the first message is 1013`, async (t) => {
    const store = failingStore()
    const working = store[method].bind(store) as (key: string, max: number) => boolean
    let isDown = false
    Object.defineProperty(store, method, {
      value: (key: string, max: number) => {
        if (isDown) throw new Error('down')
        return working(key, max)
      }
    })
    const { app } = await byMessage(t, {}, { store })
    await using ws = await injectWs(app, '/ws', { contract: echo })
    isDown = true
    ws.send('auth', { token: tokenFor(app) })
    const { code, reason } = await within(ws.closed)
    assert.deepEqual([code, reason], [1013, 'unavailable'])
    isDown = false
    await assertNothingHeld(app, store)
  })
}

test('R2: a socket that is reset while its first message is verified gives every slot back', async (t) => {
  const store = defaultStore()
  const held = gate(t)
  let waiting = false
  const verify = async (): Promise<object> => {
    waiting = true
    await held.promise
    return { sub: 'alice' }
  }
  const { app } = await byMessage(t, { auth: { from: ['message'], verify } }, { store })
  const client = await rawClient(t, await listen(app))
  assert.equal((await client.handshake({ path: '/ws', headers: goodHeaders() })).statusCode, 101)
  await client.sendJson({ type: 'auth', token: 'any' })
  await until(() => waiting)
  client.reset()
  await assertNothingHeld(app, store)
  held.open()
  await new Promise((resolve) => setImmediate(resolve))
  await assertNothingHeld(app, store)
})

test('refresh and reauthorize see a request without the headers of the handshake', async (t) => {
  const seen: unknown[] = []
  const verify = (token: string, request: FastifyRequest): object => {
    const { id, ip, params, query, headers, user } = request
    seen.push({
      id: typeof id,
      ip,
      params: { ...(params as object) },
      query: { ...(query as object) },
      headers,
      user,
      log: typeof request.log.info
    })
    return { sub: 'alice', token }
  }
  const { app } = await guarded(t, { jwt: false })
  app.decorateRequest('user', null as never)
  app.wsRoute('/ws/:id', {
    contract: echo,
    handlers,
    auth: { from: ['header'], verify },
    authorize: (_user, request) => {
      seen.push(request.headers.authorization)
      return true
    },
    reauthorizeMs: 1
  })
  await using ws = await injectWs(app, '/ws/7?a=1', { contract: echo, token: 'first' })
  seen.length = 0
  ws.send('auth', { token: 'second' })
  await ws.receive('auth_ok')
  const [standIn] = seen.filter((entry) => entry !== undefined)
  assert.deepEqual(standIn, {
    id: 'string',
    ip: '127.0.0.1',
    params: { id: '7' },
    query: { a: '1' },
    headers: {},
    user: null,
    log: 'function'
  })
  await until(() => seen.includes(undefined), { timeoutMs: 5000 })
})

test('refresh goes through @fastify/jwt as the handshake did', async (t) => {
  const { app } = await guarded(t)
  app.wsRoute('/ws', { contract: echo, handlers })
  await using ws = await injectWs(app, '/ws', { contract: echo, token: tokenFor(app) })
  ws.send('auth', { token: app.jwt.sign({ sub: 'alice' } as never, { expiresIn: '2h' }) })
  assert.ok((await ws.receive('auth_ok')).expiresInMs > 7_000_000)
})

test('Fastify’s hooks of a route may be one or a list; the 101 comes after the last', async (t) => {
  const { app } = await guarded(t)
  const order: string[] = []
  const hook = (name: string) => async () => void order.push(name)
  app.wsRoute('/list', { preHandler: [hook('first'), hook('second')], handler: () => void order.push('open') })
  app.wsRoute('/one', { preHandler: hook('only'), handler: () => void order.push('open') })
  for (const path of ['/list', '/one']) {
    await using ws = await injectWs(app, path, { token: tokenFor(app) })
    assert.equal(ws.statusCode, 101)
  }
  assert.deepEqual(order, ['first', 'second', 'open', 'only', 'open'])
})
