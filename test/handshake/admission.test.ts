import assert from 'node:assert/strict'
import { test } from 'node:test'
import { injectWs } from '../../lib/testing.ts'
import { echo, tokenFor } from '../support/app.ts'
import { defaultStore } from '../support/default-store.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { until } from '../support/wait.ts'
import { assertNothingHeld, assertRefused, gate, goodHeaders, guarded, listen, rawClient } from './harness.ts'

const handlers = { say() {}, ask: () => ({ items: [] }) }

test('R2: total bounds all connections of the node', async (t) => {
  const store = defaultStore()
  const { app, reasons } = await guarded(t, { guard: { store, auth: false, limits: { connections: { total: 2 } } } })
  app.wsRoute('/ws', { handler() {} })
  const first = await injectWs(app, '/ws', { remoteAddress: '10.0.0.1' })
  await using second = await injectWs(app, '/ws', { remoteAddress: '10.0.0.2' })
  await using third = await injectWs(app, '/ws', { remoteAddress: '10.0.0.3' })
  assert.deepEqual([first.statusCode, second.statusCode], [101, 101])
  assertRefused(third, 503)
  assert.deepEqual(reasons(), ['at_capacity'])
  assert.equal(app.wsGuard.stats().slots, 2)
  await first[Symbol.asyncDispose]()
  await until(() => app.wsGuard.stats().slots === 1)
  await using fourth = await injectWs(app, '/ws', { remoteAddress: '10.0.0.3' })
  assert.equal(fourth.statusCode, 101)
  for (const ws of [second, fourth]) await ws[Symbol.asyncDispose]()
  await assertNothingHeld(app, store)
})

test('R2: perIp bounds an address, of IPv6 a /64', async (t) => {
  const store = defaultStore()
  const { app, reasons } = await guarded(t, { guard: { store, auth: false, limits: { connections: { perIp: 1 } } } })
  app.wsRoute('/ws', { handler() {} })
  const from = (remoteAddress: string) => injectWs(app, '/ws', { remoteAddress })
  const open = [await from('10.0.0.1'), await from('10.0.0.2'), await from('2001:db8::1')]
  assert.deepEqual(
    open.map(({ statusCode }) => statusCode),
    [101, 101, 101]
  )
  for (const address of ['10.0.0.1', '::ffff:10.0.0.2', '2001:db8::2']) assertRefused(await from(address), 429)
  assert.deepEqual(reasons(), ['per_ip', 'per_ip', 'per_ip'])
  for (const ws of open) await ws[Symbol.asyncDispose]()
  await assertNothingHeld(app, store)
  open.push(await from('10.0.0.1'))
  assert.equal(open.at(-1)?.statusCode, 101)
})

test('Z10: perUser bounds a subject, from any address and with any token', async (t) => {
  const store = defaultStore()
  const { app, logs } = await guarded(t, { guard: { store, limits: { connections: { perUser: 2 } } } })
  app.wsRoute('/ws', { handler() {} })
  const port = await listen(app)
  const as = (sub: string) => injectWs(app, '/ws', { token: tokenFor(app, sub), remoteAddress: '10.1.1.1' })
  const client = await rawClient(t, port)
  assert.equal((await client.handshake({ path: '/ws', headers: goodHeaders(tokenFor(app, 'alice')) })).statusCode, 101)
  await using second = await as('alice')
  await using bob = await as('bob')
  assert.deepEqual([second.statusCode, bob.statusCode], [101, 101])
  assertRefused(await as('alice'), 429)
  const line = logs.find('ws.refused')
  assert.deepEqual([line?.reason, line?.sub], ['per_user', 'alice'])
  client.reset()
  await until(() => app.wsGuard.connections === 2)
  await using again = await as('alice')
  assert.equal(again.statusCode, 101)
  for (const ws of [second, bob, again]) await ws[Symbol.asyncDispose]()
  await assertNothingHeld(app, store)
})

test('R2: of handshakes that race for the last slot one gets it', async (t) => {
  const store = defaultStore()
  const { app } = await guarded(t, { guard: { store, limits: { connections: { perUser: 1 } } } })
  app.wsRoute('/ws', { handler() {} })
  const token = tokenFor(app)
  const all = await Promise.all(Array.from({ length: 20 }, () => injectWs(app, '/ws', { token })))
  assert.deepEqual(all.map(({ statusCode }) => statusCode).sort(), [101, ...Array(19).fill(429)])
  for (const ws of all) await ws[Symbol.asyncDispose]()
  await assertNothingHeld(app, store)
})

test('R2: slots come back from every refusal that follows them', async (t) => {
  const store = defaultStore()
  const { app } = await guarded(t, { guard: { store } })
  const routes: Record<string, [object, number]> = {
    '/unauthorized': [{ auth: { verify: () => null } }, 401],
    '/down': [{ auth: { verify: () => Promise.reject(new Error('down')) } }, 503],
    '/forbidden': [{ authorize: () => false }, 403],
    '/authorize-throws': [{ authorize: () => Promise.reject(new Error('x')) }, 500],
    '/data-throws': [{ data: () => Promise.reject(new Error('x')) }, 500],
    '/hook-throws': [{ preHandler: async () => Promise.reject(new Error('x')) }, 500],
    '/stuck': [{ preHandler: () => new Promise(() => {}), handshakeTimeoutMs: 50 }, 503],
    '/params/x': [{ schema: { querystring: { type: 'object', required: ['a'] } } }, 400]
  }
  for (const [path, [options]] of Object.entries(routes)) app.wsRoute(path, { ...options, handler() {} })
  for (const [path, [, status]] of Object.entries(routes)) {
    await using ws = await injectWs(app, path, { token: tokenFor(app) })
    assertRefused(ws, status)
  }
  await assertNothingHeld(app, store)
})

test('R2: slots come back from sockets that are reset, at every stage', async (t) => {
  const store = defaultStore()
  const { app } = await guarded(t, { jwt: false, guard: { store } })
  const held = gate(t)
  let waiting = 0
  const wait = async (): Promise<void> => {
    waiting++
    await held.promise
  }
  app.wsRoute('/verify', { auth: { verify: () => wait().then(() => ({ sub: 'a' })) }, handler() {} })
  app.wsRoute('/authorize', {
    auth: { verify: () => ({ sub: 'a' }) },
    authorize: () => wait().then(() => true),
    handler() {}
  })
  app.wsRoute('/open', { auth: { verify: () => ({ sub: 'a' }) }, handler: wait })
  const port = await listen(app)
  const clients = []
  for (const path of ['/verify', '/authorize', '/open']) {
    const client = await rawClient(t, port)
    await client.write(handshakeRequest({ path, headers: goodHeaders('token') }))
    clients.push(client)
  }
  await until(() => waiting === 3)
  assert.equal(app.wsGuard.stats().slots, 3)
  assert.deepEqual(store.sizes().slots, 2, 'one address, one user')
  for (const client of clients) client.reset()
  await assertNothingHeld(app, store)
  held.open()
  await new Promise((resolve) => setImmediate(resolve))
  await assertNothingHeld(app, store)
})

test('R2: a slot that a slow store grants after the socket is gone goes back at once', async (t) => {
  const store = defaultStore()
  const held = gate(t)
  let asked = 0
  const acquire = store.acquireSlot.bind(store)
  Object.defineProperty(store, 'acquireSlot', {
    value: async (key: string, max: number) => {
      asked++
      await held.promise
      return acquire(key, max)
    }
  })
  const { app } = await guarded(t, { guard: { store, auth: false } })
  app.wsRoute('/ws', { handler: () => assert.fail('nobody is there') })
  const port = await listen(app)
  for (let n = 0; n < 5; n++) {
    const client = await rawClient(t, port)
    await client.write(handshakeRequest({ path: '/ws', headers: goodHeaders() }))
    await until(() => asked === n + 1)
    client.reset()
  }
  await assertNothingHeld(app)
  held.open()
  await assertNothingHeld(app, store)
})

test('R2: unauthenticated bounds those that have not sent their first message', async (t) => {
  const store = defaultStore()
  const guard = { store, auth: { from: ['message'] as const }, limits: { connections: { unauthenticated: 1 } } }
  const { app, reasons } = await guarded(t, { guard })
  app.wsRoute('/ws', { contract: echo, handlers })
  await using first = await injectWs(app, '/ws', { contract: echo })
  assert.equal(first.statusCode, 101)
  assertRefused(await injectWs(app, '/ws'), 503)
  assert.deepEqual(reasons(), ['at_capacity'])
  first.send('auth', { token: tokenFor(app) })
  await first.receive('auth_ok')
  await using second = await injectWs(app, '/ws')
  assert.equal(second.statusCode, 101)
  assert.equal(app.wsGuard.stats().unauthenticated, 1)
  for (const ws of [first, second]) await ws[Symbol.asyncDispose]()
  await assertNothingHeld(app, store)
})

test('N2: a store that cannot release holds no other slot, and ends no process', async (t) => {
  const store = defaultStore()
  let released = 0
  Object.defineProperty(store, 'releaseSlot', {
    value: () => {
      released++
      throw new Error('down')
    }
  })
  const { app } = await guarded(t, { guard: { store } })
  app.wsRoute('/ws', { handler() {} })
  const ws = await injectWs(app, '/ws', { token: tokenFor(app) })
  assert.equal(ws.statusCode, 101)
  await ws[Symbol.asyncDispose]()
  await assertNothingHeld(app)
  assert.equal(released, 2)
})
