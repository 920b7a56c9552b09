import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { issueTicket, redeemTicket } from '../../lib/handshake/tickets.ts'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { Ticket } from '../../lib/limits/store.ts'
import { injectWs } from '../../lib/testing.ts'
import { origin } from '../support/app.ts'
import { until } from '../support/wait.ts'
import { assertNothingHeld, assertRefused, type GuardedApp, guarded } from './harness.ts'

const ticketOf = (overrides: Partial<Ticket> = {}): Ticket => ({
  user: { sub: 'alice' },
  identity: undefined,
  route: '/ws',
  origin: undefined,
  ...overrides
})

async function withTickets(t: TestContext, store = new MemoryStore()): Promise<GuardedApp> {
  const all = await guarded(t, {
    guard: { store, auth: { from: ['ticket'] }, limits: { connections: { perUser: 100 } } }
  })
  for (const path of ['/ws', '/other']) {
    all.app.wsRoute(path, { handler: ({ user, socket }) => socket.send(JSON.stringify({ type: 'user', user })) })
  }
  return all
}

async function statusOf(app: FastifyInstance, ticket: string, path = '/ws', from = origin): Promise<number> {
  await using ws = await injectWs(app, `${path}?ticket=${ticket}`, { origin: from })
  return ws.statusCode
}

test('A6: a ticket opens one connection as its user, from the query or a subprotocol', async (t) => {
  const { app, logs } = await withTickets(t)
  const user = { sub: 'alice', name: 'Alice' }
  const first = await app.wsGuard.issueTicket({ user, route: '/ws' })
  assert.equal(first.expiresInMs, 30_000)
  assert.match(first.ticket, /^[\w-]{22}$/)
  await using ws = await injectWs(app, `/ws?ticket=${first.ticket}`)
  assert.equal(ws.statusCode, 101)
  assert.deepEqual(await ws.receive('user'), { type: 'user', user })
  assert.equal(await app.wsGuard.disconnect({ sub: 'alice' }), 1)

  const second = await app.wsGuard.issueTicket({ user, route: '/ws' })
  const protocols = ['ws-guard.v1', `ticket.${second.ticket}`]
  await using other = await injectWs(app, '/ws', { protocols })
  assert.equal(other.statusCode, 101)
  assert.equal(other.protocol, 'ws-guard.v1')
  for (const { ticket } of [first, second]) {
    assertRefused(await injectWs(app, `/ws?ticket=${ticket}`), 401)
    assert.equal(logs.text().includes(ticket), false)
  }
})

test('A6: of 50 handshakes that race for a ticket one gets in', async (t) => {
  const { app } = await withTickets(t)
  const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'alice' }, route: '/ws' })
  const all = await Promise.all(Array.from({ length: 50 }, () => injectWs(app, `/ws?ticket=${ticket}`)))
  const statuses = all.map(({ statusCode }) => statusCode).sort()
  assert.deepEqual(statuses, [101, ...Array(49).fill(401)])
  for (const ws of all) await ws[Symbol.asyncDispose]()
  await assertNothingHeld(app)
})

test('A6: a ticket is for its route and its Origin, and an attempt elsewhere uses it up', async (t) => {
  const { app, logs } = await guarded(t, {
    guard: { origins: [origin, 'https://b.example'], auth: { from: ['ticket'] } }
  })
  for (const path of ['/ws', '/other']) app.wsRoute(path, { handler() {} })
  const issue = async (bound?: string): Promise<string> =>
    (await app.wsGuard.issueTicket({ user: { sub: 'a' }, route: '/ws', ...(bound && { origin: bound }) })).ticket

  const elsewhere = await issue()
  assert.equal(await statusOf(app, elsewhere, '/other'), 401)
  assert.equal(await statusOf(app, elsewhere), 401)

  const bound = await issue(origin)
  assert.equal(await statusOf(app, bound, '/ws', 'https://b.example'), 401)
  assert.equal(await statusOf(app, bound), 401)
  assert.equal(logs.find('ws.auth_failed')?.errorCode, 'TICKET')
  assert.equal(await statusOf(app, await issue(origin)), 101)
  assert.equal(await statusOf(app, await issue(), '/ws', 'https://b.example'), 101)
})

test('A6: a ticket that a foreign page shows is not used up: its Origin is looked at first', async (t) => {
  const { app } = await withTickets(t)
  const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'a' }, route: '/ws' })
  assert.equal(await statusOf(app, ticket, '/ws', 'https://evil.example'), 403)
  assert.equal(await statusOf(app, ticket), 101)
})

test('A6: a ticket that is too old, unknown or empty is 401', async (t) => {
  const { app } = await withTickets(t)
  const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'a' }, route: '/ws', ttlMs: 1 })
  await until(() => app.wsGuard.stats()['store.tickets'] === 0)
  for (const value of [ticket, 'unknown', '', '__proto__']) assert.equal(await statusOf(app, value), 401)
})

test('A3: a ticket lives no longer than the credential of its user', async (t) => {
  const { app, logs } = await withTickets(t)
  const exp = Math.floor(Date.now() / 1000) - 1
  const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'a', exp }, route: '/ws' })
  assert.equal(await statusOf(app, ticket), 401)
  assert.equal(logs.find('ws.auth_failed')?.errorCode, 'EXPIRED')
})

test('a ticket for a revoked user is 401', async (t) => {
  const { app, reasons } = await withTickets(t)
  const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'a' }, route: '/ws' })
  await app.wsGuard.revoke({ sub: 'a' })
  assert.equal(await statusOf(app, ticket), 401)
  assert.deepEqual(reasons(), ['revoked'])
})

test('A6: the store sees only a hash', async () => {
  const store = new MemoryStore()
  const seen: string[] = []
  const put = store.putTicket.bind(store)
  store.putTicket = (hash, ticket, ttlMs) => {
    seen.push(hash)
    put(hash, ticket, ttlMs)
  }
  const value = await issueTicket(store, ticketOf(), 1000)
  assert.deepEqual(seen, [createHash('sha256').update(value).digest('base64url')])
  assert.deepEqual(await redeemTicket(store, seen[0] as string, '/ws', undefined), undefined)
  assert.deepEqual(await redeemTicket(store, value, '/ws', undefined), ticketOf())
  assert.deepEqual(await redeemTicket(store, value, '/ws', undefined), undefined)
})

test('A6: a ticket lives from 1 ms to 30 s', async () => {
  const store = new MemoryStore()
  for (const ttlMs of [0, -1, 1.5, Number.NaN, 30_001, Number.POSITIVE_INFINITY]) {
    await assert.rejects(issueTicket(store, ticketOf(), ttlMs), {
      code: 'WSG_ERR_OPTION',
      message: /"ttlMs".*1 to 30000/
    })
  }
  assert.equal(store.sizes().tickets, 0)
  await issueTicket(store, ticketOf(), 30_000)
  assert.equal(store.sizes().tickets, 1)
})
