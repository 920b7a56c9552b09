/** Old credentials die, in whichever way they are shown, and a new login works. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { Store } from '../../lib/limits/store.ts'
import { injectWs, type TestSocket } from '../../lib/testing.ts'
import { failingStore, type GuardedApp, guarded } from '../handshake/harness.ts'
import { echo, secret } from '../support/app.ts'
import { defaultStore } from '../support/default-store.ts'
import { claims, signJwt } from '../support/tokens.ts'
import { until, within } from '../support/wait.ts'

const handlers = { say() {}, ask: () => ({ items: [] }) }
const revoked = { code: 4003, reason: 'revoked' }
const seconds = (): number => Math.floor(Date.now() / 1000)
const tokenOf = (iat: number, more: object = {}): string => signJwt(claims({ sub: 'alice', iat, ...more }), secret)

async function appWith(t: TestContext, store: Store = defaultStore()): Promise<GuardedApp> {
  const all = await guarded(t, { guard: { store } })
  all.app.wsRoute('/ws', { contract: echo, auth: { from: ['header', 'message', 'ticket'] }, handlers })
  await all.app.ready()
  return all
}

type Socket = TestSocket<typeof echo>
type Close = { readonly code: number; readonly reason: string }
const ended = (ws: Socket): Promise<Close> => within(ws.closed)

async function answers(ws: Socket): Promise<void> {
  ws.send('ask', { count: 0 }, { ref: 1 })
  await ws.receive('reply')
}

test('Z4: a token from before a revocation dies in every way it can be shown, one from after it works in all', async (t) => {
  const { app } = await appWith(t)
  const connect = (path = '/ws', token?: string): Promise<Socket> =>
    injectWs(app, path, { contract: echo, ...(token !== undefined && { token }) })
  const ticketFor = async (iat: number): Promise<string> =>
    `/ws?ticket=${(await app.wsGuard.issueTicket({ user: { sub: 'alice', iat }, route: '/ws' })).ticket}`
  const [then, now] = [seconds() - 60, seconds()]
  const [old, fresh] = [tokenOf(then), tokenOf(now)]
  const [oldTicket, freshTicket] = [await ticketFor(then), await ticketFor(now)]
  await using live = await connect('/ws', old)
  await using survivor = await connect('/ws', fresh)
  await using bob = await connect('/ws', tokenOf(then, { sub: 'bob' }))

  assert.equal(await app.wsGuard.revoke({ sub: 'alice' }, { issuedBefore: (now - 1) * 1000 }), 1)
  assert.deepEqual(await ended(live), revoked)
  await answers(bob)
  await using header = await connect('/ws', old)
  await using ticket = await connect(oldTicket)
  assert.deepEqual([header.statusCode, ticket.statusCode], [401, 401])
  await using message = await connect()
  message.send('auth', { token: old })
  assert.deepEqual(await ended(message), revoked)
  await using byHeader = await connect('/ws', fresh)
  await using byTicket = await connect(freshTicket)
  await using byMessage = await connect()
  byMessage.send('auth', { token: fresh })
  await byMessage.receive('auth_ok')
  for (const ws of [byHeader, byTicket]) {
    ws.send('auth', { token: fresh })
    await ws.receive('auth_ok')
  }
  for (const ws of [survivor, byHeader, byTicket, byMessage]) await answers(ws)
  survivor.send('auth', { token: old })
  assert.deepEqual(await ended(survivor), revoked)
})

test('Z4, A6: a ticket for a user without iat is as old as itself, in whole seconds', async (t) => {
  const { app, reasons } = await appWith(t)
  const issue = async (): Promise<string> => {
    const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'alice' }, route: '/ws' })
    return `/ws?ticket=${ticket}`
  }
  const before = await issue()
  await app.wsGuard.revoke({ sub: 'alice' })
  const second = seconds()
  await using refused = await injectWs(app, before)
  assert.equal(refused.statusCode, 401)
  assert.deepEqual(reasons(), ['revoked'])
  await until(() => seconds() > second)
  await using admitted = await injectWs(app, await issue(), { contract: echo })
  assert.equal(admitted.statusCode, 101)
  // Now that it is open, it is older than the next revocation.
  assert.equal(await app.wsGuard.revoke({ sub: 'alice' }), 1)
  assert.deepEqual(await ended(admitted), revoked)
})

test('Z4: revoke, disconnect and block go by auth.identity, whatever the user calls its fields', async (t) => {
  const { app } = await guarded(t)
  const issuedAt = Date.now() - 60_000
  app.wsRoute('/ws', {
    contract: echo,
    auth: {
      verify: (token) => {
        const [login, device, session] = token.split(':')
        // What it would go by without `identity` is somebody else.
        return { login, device, session, sub: 'decoy', sid: 'decoy', jti: 'decoy' }
      },
      identity: ({ login, device, session }) => ({
        subject: login as string,
        sessionId: device as string,
        tokenId: session as string,
        issuedAt
      })
    },
    handlers
  })
  await app.ready()
  const connect = (token: string): Promise<Socket> => injectWs(app, '/ws', { contract: echo, token })
  await using bystander = await connect('bob:desk:b1')
  const { wsGuard } = app
  for (const decoy of [{ sub: 'decoy' }, { sid: 'decoy' }, { jti: 'decoy' }]) {
    assert.deepEqual([await wsGuard.disconnect(decoy), await wsGuard.revoke(decoy)], [0, 0])
  }
  const kicks: readonly [who: string, kick: () => Promise<number>, again: number][] = [
    ['alice:phone:a1', () => wsGuard.disconnect({ sub: 'alice' }), 101],
    ['alice:phone:a1', () => wsGuard.disconnect({ sid: 'phone', jti: 'a1' }), 101],
    ['alice:phone:a1', () => wsGuard.revoke({ jti: 'a1' }), 401],
    ['alice:phone:a2', () => wsGuard.revoke({ sid: 'phone' }), 401],
    ['alice:tablet:a3', () => wsGuard.revoke({ sub: 'alice' }), 401],
    ['carol:phone2:c1', () => wsGuard.block({ sub: 'carol' }, { untilMs: Date.now() + 60_000 }), 401]
  ]
  for (const [who, kick, status] of kicks) {
    await using ws = await connect(who)
    assert.equal(ws.statusCode, 101, who)
    assert.equal(await kick(), 1, who)
    assert.deepEqual(await ended(ws), revoked)
    await using again = await connect(who)
    assert.equal(again.statusCode, status, who)
    again.terminate()
    await until(() => wsGuard.connections === 1)
  }
  await answers(bystander)
})

test('Z4: after keepMs a revocation is forgotten: no token may live longer than that', async (t) => {
  let now = 1_000
  const { app } = await appWith(t, new MemoryStore({ now: () => now, wall: Date.now }))
  await app.wsGuard.revoke({ sub: 'alice' }, { keepMs: 5_000 })
  const statusOf = async (): Promise<number> => {
    await using ws = await injectWs(app, '/ws', { token: tokenOf(seconds() - 60) })
    return ws.statusCode
  }
  now += 4_999
  assert.equal(await statusOf(), 401)
  now += 1
  assert.equal(await statusOf(), 101)
})

test('Z4, N2: a store that is down refuses nobody for later, but the connections are closed, and the caller knows', async (t) => {
  const { app } = await appWith(t, failingStore('revoke', 'block'))
  const { wsGuard } = app
  for (const kick of [
    () => wsGuard.revoke({ sub: 'alice' }),
    () => wsGuard.block({ sub: 'alice' }, { untilMs: Date.now() + 60_000 })
  ]) {
    await using ws = await injectWs(app, '/ws', { contract: echo, token: tokenOf(seconds() - 60) })
    await using bob = await injectWs(app, '/ws', { contract: echo, token: tokenOf(seconds(), { sub: 'bob' }) })
    await assert.rejects(kick(), { code: 'ECONNREFUSED' })
    assert.deepEqual(await ended(ws), revoked)
    await answers(bob)
  }
})
