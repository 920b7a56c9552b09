import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import { defineContract, EncodeError, OptionError } from '../../lib/index.ts'
import { defaultKeepMs } from '../../lib/route/ws-guard.ts'
import { injectWs, type TestSocket } from '../../lib/testing.ts'
import { type AppOptions, buildApp, echo, origin, secret, tokenFor } from '../support/app.ts'
import { claims, signJwt } from '../support/tokens.ts'
import { eventually, until } from '../support/wait.ts'

/** The machine may be loaded. */
const patient = { timeoutMs: 10_000 }

const apps: FastifyInstance[] = []
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close()
})

async function appWith(options: AppOptions = {}): Promise<FastifyInstance> {
  const app = await buildApp(options)
  apps.push(app)
  app.wsRoute('/echo', {
    contract: echo,
    handlers: { say: () => {}, ask: () => ({ items: [] }) },
    onOpen: async (connection) => void (await connection.subscribe('all'))
  })
  app.wsRoute('/raw', { handler: () => {} })
  await app.ready()
  return app
}

/** Opens a connection and waits until it is subscribed. */
async function open(app: FastifyInstance, token: string, path = '/echo', remoteAddress = '127.0.0.1') {
  const ws = await injectWs(app, path, { contract: echo, token, remoteAddress })
  assert.equal(ws.statusCode, 101)
  return ws
}

const now = (): number => Math.floor(Date.now() / 1000)
const token = (overrides: object): string => signJwt(claims({ ...overrides }), secret)

/** The names of the sockets that were closed with 4003, out of those given; the others still answer. */
async function closedOf(sockets: Readonly<Record<string, TestSocket<typeof echo>>>, count: number): Promise<string[]> {
  const closed = new Map<string, unknown>()
  for (const [name, ws] of Object.entries(sockets)) void ws.closed.then((info) => closed.set(name, info))
  await until(() => closed.size >= count, patient)
  for (const [name, ws] of Object.entries(sockets)) {
    if (closed.has(name)) continue
    ws.send('ask', { count: 0 }, { ref: 1 })
    await ws.receive('reply')
  }
  for (const [name, info] of closed) assert.deepEqual(info, { code: 4003, reason: 'revoked' }, name)
  return [...closed.keys()].sort()
}

test('connections counts what is open', async () => {
  const app = await appWith()
  assert.equal(app.wsGuard.connections, 0)
  const first = await open(app, tokenFor(app))
  const second = await open(app, tokenFor(app), '/raw')
  assert.equal(app.wsGuard.connections, 2)
  first.close()
  second.terminate()
  await eventually(() => assert.equal(app.wsGuard.connections, 0), patient)
})

/* publish */

test('publish reaches the subscribers of a topic, once each, without undeclared properties', async () => {
  const app = await appWith()
  const [a, b] = [await open(app, tokenFor(app)), await open(app, tokenFor(app, 'bob'))]
  const message = { text: 'hi', secret: 'canary' }
  assert.equal(app.wsGuard.publish(echo, 'all', 'said', message), 2)
  assert.equal(app.wsGuard.publish(echo, 'nobody', 'said', message), 0)
  for (const ws of [a, b]) assert.deepEqual(await ws.receive(), { type: 'said', text: 'hi' })
  b.close()
  await b.closed
  await eventually(() => assert.equal(app.wsGuard.connections, 1), patient)
  assert.equal(app.wsGuard.publish(echo, 'all', 'said', { text: 'again' }), 1)
  assert.deepEqual(await a.receive(), { type: 'said', text: 'again' })
})

test('publish throws for a contract no route has, a type it has not, and a message that does not match', async () => {
  const app = await appWith()
  const other = defineContract({ name: 'echo', clientToServer: {}, serverToClient: { said: Type.Object({}) } })
  assert.throws(() => app.wsGuard.publish(other, 'all', 'said', {}), OptionError)
  for (const type of ['say', 'nope', '__proto__', 'toString']) {
    assert.throws(
      () => app.wsGuard.publish(echo, 'all', type as 'said', { text: '' }),
      /publish: no route has a contract/
    )
  }
  assert.throws(() => app.wsGuard.publish(echo, 'all', 'said', { text: 5 as never }), EncodeError)
})

/* disconnect */

test('Z4: disconnect closes the connections for which every criterion holds', async () => {
  const app = await appWith()
  const tokens = {
    a1: token({ sub: 'a', sid: 's1', jti: 'j1' }),
    a2: token({ sub: 'a', sid: 's2', jti: 'j2' }),
    b: token({ sub: 'b', sid: 's3', jti: 'j3' })
  }
  const sockets = async () => ({
    a1: await open(app, tokens.a1, '/echo', '10.0.0.1'),
    a2: await open(app, tokens.a2, '/echo', '10.0.0.2'),
    b: await open(app, tokens.b, '/echo', '10.0.0.2')
  })
  const cases: readonly [Parameters<typeof app.wsGuard.disconnect>[0], string[]][] = [
    [{ sub: 'a' }, ['a1', 'a2']],
    [{ sid: 's3' }, ['b']],
    [{ jti: 'j2' }, ['a2']],
    [{ ip: '10.0.0.2' }, ['a2', 'b']],
    [{ route: '/echo' }, ['a1', 'a2', 'b']],
    [{ sub: 'a', ip: '10.0.0.2' }, ['a2']],
    [{ sub: 'a', route: '/echo', sid: 's1', jti: 'j1', ip: '10.0.0.1' }, ['a1']],
    [{ sub: 'a', sid: 's3' }, []],
    [{ route: '/raw' }, []],
    [{ id: 'nobody' }, []]
  ]
  for (const [query, expected] of cases) {
    const all = await sockets()
    assert.equal(await app.wsGuard.disconnect(query), expected.length, JSON.stringify(query))
    assert.deepEqual(await closedOf(all, expected.length), expected, JSON.stringify(query))
    await app.wsGuard.disconnect({ route: '/echo' })
    await eventually(() => assert.equal(app.wsGuard.connections, 0), patient)
  }
})

test('disconnect by id, with a reason; a second call finds nothing', async () => {
  const app = await buildApp()
  apps.push(app)
  let id = ''
  app.wsRoute('/x', {
    handler: (connection) => {
      id = connection.id
    }
  })
  await app.ready()
  const ws = await injectWs(app, '/x', { token: tokenFor(app) })
  const [first, second] = await Promise.all([
    app.wsGuard.disconnect({ id }, { reason: 'moderation' }),
    app.wsGuard.disconnect({ id })
  ])
  assert.deepEqual([first, second], [1, 0])
  assert.deepEqual(await ws.closed, { code: 4003, reason: 'moderation' })
})

test('Z4: a criterion that is misspelt, undefined or missing closes nobody', async () => {
  const app = await appWith()
  const ws = await open(app, tokenFor(app))
  for (const query of [
    {},
    { sub: undefined },
    { subject: 'a' },
    { sub: undefined, route: '/echo' },
    { sub: 5 },
    { ip: null }
  ]) {
    await assert.rejects(app.wsGuard.disconnect(query as never), /name at least one of sub, sid, jti, ip, id, route/)
  }
  assert.equal(app.wsGuard.connections, 1)
  assert.deepEqual(await closedOf({ ws }, 0), [])
})

/* revoke */

test('Z3: revoke closes, refuses what was issued before or in the same second, and lets a new login in', async () => {
  const app = await appWith()
  for (const [kind, value] of [
    ['sub', 'carol'],
    ['sid', 'session-9']
  ] as const) {
    const second = now() - 60
    const identity = { sub: `${kind} carol`, sid: 'session-9', [kind]: value, exp: second + 600 }
    const old = token({ ...identity, iat: second - 10 })
    const same = token({ ...identity, iat: second })
    const later = token({ ...identity, iat: second + 1 })
    const [a, b] = [await open(app, old), await open(app, same)]
    const issuedBefore = second * 1000 + 1
    assert.equal(await app.wsGuard.revoke({ [kind]: value }, { issuedBefore }), 2)
    assert.deepEqual(await closedOf({ a, b }, 2), ['a', 'b'])
    for (const refused of [old, same, signJwt(claims({ ...identity, iat: undefined }), secret)]) {
      await using ws = await injectWs(app, '/echo', { token: refused })
      assert.equal(ws.statusCode, 401)
    }
    await using again = await open(app, later)
    assert.equal(again.statusCode, 101)
    assert.equal(await app.wsGuard.revoke({ [kind]: value }, { issuedBefore }), 0)
    assert.equal(app.wsGuard.connections, 1)
    // For the next round.
    await app.wsGuard.disconnect({ [kind]: value })
    await again.closed
    await eventually(() => assert.equal(app.wsGuard.connections, 0), patient)
  }
})

test('Z3: revoke by jti refuses that token whenever it was issued, and no other', async () => {
  const app = await appWith()
  const one = token({ jti: 'one', iat: now() + 30 })
  const two = token({ jti: 'two' })
  const [a, b] = [await open(app, one), await open(app, two)]
  assert.equal(await app.wsGuard.revoke({ jti: 'one' }), 1)
  assert.deepEqual(await closedOf({ a, b }, 1), ['a'])
  await using refused = await injectWs(app, '/echo', { token: one })
  assert.equal(refused.statusCode, 401)
  await using admitted = await injectWs(app, '/echo', { token: two })
  assert.equal(admitted.statusCode, 101)
})

test('a revocation is kept for keepMs, by default 30 days', async () => {
  const kept: unknown[] = []
  const { MemoryStore } = await import('../../lib/limits/memory-store.ts')
  class Recording extends MemoryStore {
    override revoke(revocation: Parameters<InstanceType<typeof MemoryStore>['revoke']>[0]): void {
      kept.push(revocation.keepMs)
      super.revoke(revocation)
    }
  }
  const app = await appWith({ guard: { store: new Recording() } })
  await app.wsGuard.revoke({ sub: 'x' })
  await app.wsGuard.revoke({ sub: 'x' }, { keepMs: 5 })
  assert.deepEqual(kept, [defaultKeepMs, 5])
  assert.equal(app.wsGuard.stats()['store.revocations'], 1)
})

test('revoke, block and unblock say what they need', async () => {
  const app = await appWith()
  for (const query of [
    {},
    { sub: 'a', sid: 'b' },
    { ip: 'x' },
    { sub: undefined },
    { sub: 5 },
    { sub: 'a', jti: undefined }
  ]) {
    await assert.rejects(app.wsGuard.revoke(query as never), /revoke: name exactly one of sub, sid, jti/)
  }
  for (const ms of [Number.NaN, Number.POSITIVE_INFINITY, -1, 0, '5', null]) {
    await assert.rejects(app.wsGuard.revoke({ sub: 'a' }, { issuedBefore: ms as number }), /"issuedBefore" must be/)
    await assert.rejects(app.wsGuard.revoke({ sub: 'a' }, { keepMs: ms as number }), /"keepMs" must be/)
    await assert.rejects(app.wsGuard.block({ sub: 'a' }, { untilMs: ms as number }), /"untilMs" must be/)
  }
  // Seconds, and a duration: they would refuse nobody.
  for (const time of [Math.floor(Date.now() / 1000), 60_000]) {
    const message = /must be a time in ms since the epoch, such as Date.now\(\)/
    await assert.rejects(app.wsGuard.revoke({ sub: 'a' }, { issuedBefore: time }), message)
    await assert.rejects(app.wsGuard.block({ sub: 'a' }, { untilMs: time }), message)
  }
  for (const sub of [undefined, 5, null]) {
    await assert.rejects(app.wsGuard.block({ sub: sub as never }, { untilMs: 1 }), OptionError)
    await assert.rejects(app.wsGuard.unblock({ sub: sub as never }), OptionError)
  }
  const { 'store.revocations': revocations, 'store.blocks': blocks } = app.wsGuard.stats()
  assert.deepEqual([revocations, blocks], [0, 0])
})

/* block */

test('Z3: block closes and refuses a user until then; unblock ends it', async () => {
  const app = await appWith()
  const alice = tokenFor(app)
  const ws = await open(app, alice)
  const bob = await open(app, tokenFor(app, 'bob'))
  assert.equal(await app.wsGuard.block({ sub: 'alice' }, { untilMs: Date.now() + 60_000 }), 1)
  assert.deepEqual(await closedOf({ ws, bob }, 1), ['ws'])
  await using refused = await injectWs(app, '/echo', { token: alice })
  assert.equal(refused.statusCode, 401)
  await app.wsGuard.unblock({ sub: 'alice' })
  await using again = await injectWs(app, '/echo', { token: alice })
  assert.equal(again.statusCode, 101)
  await app.wsGuard.block({ sub: 'alice' }, { untilMs: Date.now() - 1 })
  await using past = await injectWs(app, '/echo', { token: alice })
  assert.equal(past.statusCode, 101)
})

/* tickets */

test('A6: a ticket opens one connection on its route from its Origin', async () => {
  const app = await buildApp({ guard: { auth: { from: ['ticket'] } } })
  apps.push(app)
  const users: unknown[] = []
  for (const path of ['/a', '/b']) app.wsRoute(path, { handler: ({ user }) => void users.push(user) })
  app.wsRoute('/c', { auth: { from: ['header'] }, handler: () => {} })
  app.wsRoute('/d', { auth: false, handler: () => {} })
  await app.ready()
  const { issueTicket } = app.wsGuard
  const user = { sub: 'alice', name: 'Alice' }
  const issue = async (more: object = {}): Promise<string> => (await issueTicket({ user, route: '/a', ...more })).ticket
  const statusOf = async (path: string, from = origin): Promise<number> => {
    await using ws = await injectWs(app, path, { origin: from })
    return ws.statusCode
  }
  const ticket = await issue()
  assert.match(ticket, /^[\w-]{22}$/)
  assert.equal(await statusOf(`/a?ticket=${ticket}`), 101)
  assert.deepEqual(users, [user])
  assert.equal(await statusOf(`/a?ticket=${ticket}`), 401)
  assert.equal(await statusOf(`/b?ticket=${await issue()}`), 401)
  assert.equal(await statusOf(`/a?ticket=${await issue({ origin })}`), 101)
  assert.equal(await statusOf(`/a?ticket=${await issue({ origin: 'https://other.example.com' })}`), 401)
  await using offered = await injectWs(app, '/a', { protocols: ['ws-guard.v1', `ticket.${await issue()}`] })
  assert.equal(offered.protocol, 'ws-guard.v1')
  assert.equal((await issueTicket({ user, route: '/a' })).expiresInMs, 30_000)
  assert.equal((await issueTicket({ user, route: '/a', ttlMs: 500 })).expiresInMs, 500)

  for (const route of ['/nope', '/c', '/d', '/A', 'a']) {
    await assert.rejects(
      issueTicket({ user, route }),
      /"route" must be the path of a wsRoute with 'ticket' in auth.from/
    )
  }
  for (const ttlMs of [0, 30_001, Number.NaN, 1.5, '5' as never]) {
    await assert.rejects(issueTicket({ user, route: '/a', ttlMs }), /"ttlMs" must be an integer from 1 to 30000/)
  }
  for (const nobody of [undefined, null]) {
    await assert.rejects(issueTicket({ user: nobody, route: '/a' }), /"user" is missing/)
  }
  for (const bad of ['app.example.com', 'https://app.example.com/', 'null', '', 5 as never]) {
    await assert.rejects(issueTicket({ user, route: '/a', origin: bad }), /issueTicket: "origin"/)
  }
})

/* posture and sizes */

test('routes() says how each route is protected', async () => {
  const app = await buildApp({ guard: { auth: { from: ['header'] }, limits: { topics: 3 } } })
  apps.push(app)
  app.wsRoute('/a', {
    contract: echo,
    handlers: { say: () => {}, ask: () => ({ items: [] }) },
    authorize: () => true,
    limits: { topics: 4 }
  })
  app.wsRoute('/b/:c', {
    origins: 'same-origin',
    hosts: ['app.example.com'],
    missingOrigin: 'refuse',
    requireTls: true,
    auth: false,
    protocols: ['own'],
    handler: () => {}
  })
  const [a, b] = app.wsGuard.routes()
  assert.ok(a !== undefined && b !== undefined)
  const { limits, ...others } = a
  assert.equal(limits.topics, 4)
  assert.equal(b.limits.topics, 3)
  assert.equal(limits.maxPayloadBytes, 65_536)
  assert.deepEqual(others, {
    path: '/a',
    kind: 'contract',
    contract: 'echo',
    origins: [origin],
    hosts: undefined,
    missingOrigin: 'bearer-only',
    requireTls: false,
    auth: ['header'],
    authorize: true,
    protocols: ['ws-guard.v1']
  })
  assert.deepEqual(
    { ...b, limits: undefined },
    {
      path: '/b/:c',
      kind: 'raw',
      contract: undefined,
      origins: 'same-origin',
      hosts: ['app.example.com'],
      missingOrigin: 'refuse',
      requireTls: true,
      auth: false,
      authorize: false,
      protocols: ['own'],
      limits: undefined
    }
  )
})

test('stats() has the sizes of the store: in memory, an attempt for each handshake', async () => {
  const { MemoryStore } = await import('../../lib/limits/memory-store.ts')
  const app = await appWith({ guard: { store: new MemoryStore() } })
  await open(app, tokenFor(app))
  assert.equal(app.wsGuard.stats()['store.attempts'], 1)
})

test('stats() returns to nothing when the connections are gone', async () => {
  const app = await appWith()
  const empty = app.wsGuard.stats()
  for (const [name, value] of Object.entries(empty)) assert.equal(value, 0, name)
  const ws = await open(app, token({ sub: 'a', sid: 's', jti: 'j' }))
  await eventually(() => assert.equal(app.wsGuard.stats().topics, 1), patient)
  const stats = app.wsGuard.stats()
  const { connections, ids, ips, subjects, sessions, tokens, slots, handshakes } = stats
  assert.deepEqual(
    { connections, ids, ips, subjects, sessions, tokens, slots, handshakes },
    { connections: 1, ids: 1, ips: 1, subjects: 1, sessions: 1, tokens: 1, slots: 1, handshakes: 0 }
  )
  assert.equal(stats['store.slots'], 2, 'one for the address and one for the user')
  ws.close()
  await ws.closed
  await eventually(() => {
    const { 'store.attempts': _, ...others } = app.wsGuard.stats()
    for (const [name, value] of Object.entries(others)) assert.equal(value, 0, name)
  }, patient)
})
