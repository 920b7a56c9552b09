import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { issueTicket, redeemTicket } from '../../lib/handshake/tickets.ts'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { Ticket } from '../../lib/limits/store.ts'
import { injectWs } from '../../lib/testing.ts'
import { origin } from '../support/app.ts'
import { defaultStore } from '../support/default-store.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { until } from '../support/wait.ts'
import {
  assertNothingHeld,
  assertRefused,
  type GuardedApp,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from './harness.ts'

const ticketOf = (overrides: Partial<Ticket> = {}): Ticket => ({
  user: { sub: 'alice' },
  identity: undefined,
  route: '/ws',
  origin: undefined,
  ...overrides
})

async function withTickets(t: TestContext, store = defaultStore()): Promise<GuardedApp> {
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

test('A6: of 50 sockets that race for a ticket one gets in, and the others get what strangers get', async (t) => {
  const { app } = await withTickets(t)
  const port = await listen(app)
  const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'alice' }, route: '/ws' })
  const clients = await Promise.all(Array.from({ length: 50 }, () => rawClient(t, port)))
  const request = handshakeRequest({ path: `/ws?ticket=${ticket}`, headers: goodHeaders() })
  // All but the last byte first, so that they come in as close together as they can.
  for (const client of clients) client.socket.write(request.subarray(0, -1))
  for (const client of clients) client.socket.write(request.subarray(-1))
  const answers = await Promise.all(clients.map((client) => client.answer({ timeoutMs: 10_000 })))
  const refused = answers.filter(({ statusCode }) => statusCode !== 101)
  assert.equal(refused.length, 49)
  for (const answer of refused) assertRefused(answer, 401)
  assert.equal(app.wsGuard.connections, 1)
  for (const client of clients) client.destroy()
  await assertNothingHeld(app)
})

test('A6: a ticket has 128 random bits', async (t) => {
  const { app } = await withTickets(t)
  const issue = async (): Promise<string> =>
    (await app.wsGuard.issueTicket({ user: { sub: 'a' }, route: '/ws' })).ticket
  const values = await Promise.all(Array.from({ length: 1000 }, issue))
  const bytes = values.map((value) => Buffer.from(value, 'base64url'))
  for (const value of bytes) assert.equal(value.length, 16)
  assert.equal(new Set(values).size, 1000)
  // Each of the 128 bits is set in about half of them: eight standard deviations.
  for (let bit = 0; bit < 128; bit++) {
    const set = bytes.filter((value) => ((value[bit >> 3] as number) >> (bit & 7)) & 1).length
    assert.ok(set > 370 && set < 630, `bit ${bit} is set in ${set} of 1000`)
  }
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

test('A6: a client without Origin has no use for a ticket, unless the route does not check any', async (t) => {
  const { app, reasons } = await guarded(t, { guard: { auth: { from: ['ticket', 'header'] } } })
  app.wsRoute('/ws', { handler() {} })
  app.wsRoute('/tickets', { auth: { from: ['ticket'] }, handler() {} })
  app.wsRoute('/strict', { missingOrigin: 'refuse', handler() {} })
  app.wsRoute('/any', { origins: false, handler() {} })
  await app.ready()
  const attempt = async (route: string, bound: boolean, headers = {}, from: string | null = null): Promise<number> => {
    const options = { user: { sub: 'a' }, route, ...(bound && { origin }) }
    const { ticket } = await app.wsGuard.issueTicket(options)
    await using ws = await injectWs(app, `${route}?ticket=${ticket}`, { origin: from, headers })
    return ws.statusCode
  }
  for (const bound of [false, true]) {
    for (const route of ['/ws', '/tickets', '/strict']) assert.equal(await attempt(route, bound), 403, route)
    // The header that lets a client without Origin in is a credential of its own: two are refused.
    assert.equal(await attempt('/ws', bound, { authorization: 'Bearer any' }), 400)
    assert.equal(await attempt('/tickets', bound, { authorization: 'Bearer any' }), 403)
  }
  assert.deepEqual(new Set(reasons()), new Set(['origin_missing', 'ambiguous_credentials']))
  assert.equal(await attempt('/any', false), 101)
  assert.equal(await attempt('/any', true), 401)
  assert.equal(await attempt('/any', true, {}, origin), 101)
})

test('A6: the Origin of a ticket is one that a page can have', async (t) => {
  const { app } = await guarded(t, { guard: { origins: ['https://*.example.com'], auth: { from: ['ticket'] } } })
  app.wsRoute('/ws', { handler() {} })
  await app.ready()
  const issue = async (bound: string): Promise<string> =>
    (await app.wsGuard.issueTicket({ user: { sub: 'a' }, route: '/ws', origin: bound })).ticket
  assert.equal(await statusOf(app, await issue('https://a.example.com'), '/ws', 'https://a.example.com'), 101)
  assert.equal(await statusOf(app, await issue('https://a.example.com'), '/ws', 'https://b.example.com'), 401)
  await assert.rejects(issue('https://*.example.com'), {
    code: 'WSG_ERR_OPTION',
    message: /issueTicket: "origin" must be one origin, without a \*/
  })
})

test('A6: a ticket is for the route with its prefix', async (t) => {
  const { app } = await guarded(t, { guard: { auth: { from: ['ticket'] } } })
  for (const prefix of ['/v1', '/v2']) {
    await app.register(async (api) => api.wsRoute('/ws/:id', { handler() {} }), { prefix })
  }
  await app.ready()
  const issue = async (route: string): Promise<string> =>
    (await app.wsGuard.issueTicket({ user: { sub: 'a' }, route })).ticket
  assert.equal(await statusOf(app, await issue('/v1/ws/:id'), '/v1/ws/7'), 101)
  assert.equal(await statusOf(app, await issue('/v1/ws/:id'), '/v2/ws/7'), 401)
  for (const route of ['/ws/:id', '/v1/ws/7', '/v1/ws/:id/']) {
    await assert.rejects(issue(route), /issueTicket: "route" must be the path of a wsRoute/)
  }
})

test('A6: a ticket stands for the user as it was when it was issued', async (t) => {
  const { app } = await withTickets(t)
  const user = { sub: 'alice', roles: ['reader'], team: undefined, score: 1.5, last: null }
  const { ticket } = await app.wsGuard.issueTicket({ user, route: '/ws' })
  user.sub = 'root'
  user.roles.push('admin')
  await using ws = await injectWs(app, `/ws?ticket=${ticket}`)
  assert.deepEqual(await ws.receive('user'), {
    type: 'user',
    user: { sub: 'alice', roles: ['reader'], score: 1.5, last: null }
  })
  const circle: Record<string, unknown> = { sub: 'alice' }
  circle.self = circle
  const others = [
    { since: new Date(0) },
    { rooms: new Map() },
    { rooms: [new Set()] },
    { save() {} },
    { score: Number.NaN },
    { id: 1n },
    JSON.parse('{"__proto__":{"role":"admin"}}'),
    circle
  ]
  for (const other of others) {
    await assert.rejects(app.wsGuard.issueTicket({ user: { sub: 'alice', ...other }, route: '/ws' }), {
      code: 'WSG_ERR_OPTION',
      message: /"user" must be plain JSON/
    })
  }
  assert.equal(app.wsGuard.stats()['store.tickets'], 0)
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
