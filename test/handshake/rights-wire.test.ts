/** Who may do what, on real sockets: at the door, once revoked, and among tenants. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import cookie from '@fastify/cookie'
import { Type } from '@sinclair/typebox'
import { defineContract } from '../../lib/contract.ts'
import { origin, secret } from '../support/app.ts'
import { closeOf, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { claims, signJwt } from '../support/tokens.ts'
import { within } from '../support/wait.ts'
import {
  assertNothingHeld,
  assertRefused,
  ended,
  type GuardedApp,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from './harness.ts'
import { ways } from './hostile-tokens.ts'

const house = defineContract({
  name: 'house',
  clientToServer: {
    join: {
      message: Type.Object({ topic: Type.String({ maxLength: 300 }) }),
      reply: Type.Object({ joined: Type.Boolean() })
    },
    tell: Type.Object({ topic: Type.String({ maxLength: 300 }), text: Type.String({ maxLength: 100 }) }),
    wipe: Type.Object({})
  },
  serverToClient: { told: Type.Object({ text: Type.String() }) }
})

interface User {
  readonly sub: string
  readonly tenant: string
}

interface House extends GuardedApp {
  readonly port: number
  readonly wiped: string[]
  /** What `authorize` of the route answers. */
  answer: () => unknown
}

/** A route with all sources, an authorize a test decides, and topics that belong to tenants. */
async function open(t: TestContext): Promise<House> {
  const from = ['header', 'subprotocol', 'cookie', 'query', 'message'] as const
  const all = await guarded(t, { guard: { auth: { from }, limits: { attempts: { max: 10_000 } } } })
  await all.app.register(cookie)
  const wiped: string[] = []
  const one: House = { ...all, wiped, port: 0, answer: () => true }
  const tenantOf = (user: unknown): string => (user as User).tenant
  all.app.wsRoute('/ws', {
    contract: house,
    authorize: () => one.answer() as boolean,
    topics: ({ user }, topic) => topic.startsWith(`${tenantOf(user)}:`),
    handlers: {
      // The topic as the client says it: what it may join is decided here, by what the server knows.
      join: async ({ topic }, connection) => ({ joined: await connection.subscribe(topic) }),
      tell: ({ topic, text }, { user }) =>
        void all.app.wsGuard.publish(house, `${tenantOf(user)}:${topic}`, 'told', { text }),
      wipe: {
        authorize: ({ user }) => (user as unknown as { role?: unknown }).role as boolean,
        handler: (_message, { user }) => void wiped.push((user as unknown as User).sub)
      }
    }
  })
  return Object.assign(one, { port: await listen(all.app) })
}

function tokenOf(sub: string, fields: object = {}): string {
  return signJwt(claims({ sub, tenant: 'red', ...fields }), secret)
}

async function enter(t: TestContext, { port }: House, token: string): Promise<RawClient> {
  const client = await rawClient(t, port)
  assert.equal((await client.handshake({ path: '/ws', headers: goodHeaders(token) })).statusCode, 101)
  return client
}

async function byMessage(t: TestContext, { port }: House, token: string): Promise<{ code: number; reason: string }> {
  const client = await rawClient(t, port)
  await client.handshake({ path: '/ws', headers: { Origin: origin } })
  await client.sendJson({ type: 'auth', token })
  const close = closeOf(await client.nextFrame({ opcode: opcodes.close }))
  client.destroy()
  return close
}

const answers: Readonly<Record<string, () => unknown>> = {
  "'false'": () => 'false',
  "'true'": () => 'true',
  '1': () => 1,
  'an object': () => ({}),
  'a Boolean object': () => new Boolean(true),
  'a promise of 1': async () => 1,
  'a promise of an object': async () => ({ allowed: true }),
  'a function': () => () => true,
  nothing: () => undefined
}

test('Z1: a right that is anything but true is none: 403, and 4003 after the first message', async (t) => {
  const all = await open(t)
  const token = tokenOf('alice')
  for (const [name, answer] of Object.entries(answers)) {
    all.answer = answer
    const client = await rawClient(t, all.port)
    assertRefused(await client.handshake({ path: '/ws', headers: goodHeaders(token) }), 403)
    await ended(client)
    assert.deepEqual(await byMessage(t, all, token), { code: 4003, reason: 'forbidden' }, name)
  }
  all.answer = () => Promise.resolve(true)
  await enter(t, all, token)
})

test('Z1: an authorize that cannot be asked lets nobody in: 500, and 1011 after the first message', async (t) => {
  const all = await open(t)
  const user = Object.defineProperty({}, 'role', { get: () => assert.fail('canary') })
  const failing: ReadonlyArray<() => unknown> = [
    () => assert.fail('canary'),
    () => Promise.reject(),
    () => (user as { role: boolean }).role
  ]
  for (const answer of failing) {
    all.answer = answer
    const client = await rawClient(t, all.port)
    const refusal = await client.handshake({ path: '/ws', headers: goodHeaders(tokenOf('alice')) })
    assertRefused(refusal, 500)
    await ended(client)
    assert.deepEqual(await byMessage(t, all, tokenOf('alice')), { code: 1011, reason: 'internal' })
  }
  await assertNothingHeld(all.app)
})

test('Z1: a connection is no right to every message: what its authorize says counts, and only true', async (t) => {
  const all = await open(t)
  for (const role of [undefined, false, 'admin', 1, { admin: true }, ['admin']]) {
    const client = await enter(t, all, tokenOf(`not-${JSON.stringify(role)}`, { role }))
    await client.sendJson({ type: 'wipe', ref: 1 })
    const { code, ref } = await client.nextJson<{ code: string; ref: number }>()
    assert.deepEqual({ code, ref }, { code: 'forbidden', ref: 1 }, JSON.stringify(role))
    client.destroy()
  }
  assert.deepEqual(all.wiped, [])
  assert.equal(all.logs.filter('ws.forbidden').length, 6)
  const admin = await enter(t, all, tokenOf('root', { role: true }))
  await admin.sendJson({ type: 'wipe' })
  await admin.sendJson({ type: 'join', topic: 'red:x', ref: 2 })
  await admin.nextJson()
  assert.deepEqual(all.wiped, ['root'])
})

const now = (): number => Math.floor(Date.now() / 1000)

test('Z4: whom revoke or block names is closed at once and not let in again, in whichever way the token comes', async (t) => {
  const all = await open(t)
  const { wsGuard } = all.app
  const old = { iat: now() - 60 }
  const fields: Readonly<Record<string, object>> = { sid: { sid: 'session-1' }, jti: { jti: 'token-1' } }
  const kicks: Readonly<Record<string, () => Promise<number>>> = {
    sub: () => wsGuard.revoke({ sub: 'sub' }),
    sid: () => wsGuard.revoke({ sid: 'session-1' }),
    jti: () => wsGuard.revoke({ jti: 'token-1' }),
    block: () => wsGuard.block({ sub: 'block' }, { untilMs: Date.now() + 60_000 }) as unknown as Promise<number>
  }
  const bystander = await enter(t, all, tokenOf('bob', old))
  for (const [name, kick] of Object.entries(kicks)) {
    const token = tokenOf(name, { ...old, ...fields[name] })
    const clients = await Promise.all([1, 2, 3].map(() => enter(t, all, token)))
    await kick()
    for (const client of clients) {
      const close = await client.nextFrame({ opcode: opcodes.close, timeoutMs: 1_000 })
      assert.deepEqual(closeOf(close), { code: 4003, reason: 'revoked' }, name)
      client.destroy()
    }
    for (const [way, request] of Object.entries(ways)) {
      const client = await rawClient(t, all.port)
      assertRefused(await client.handshake(request(token)), 401)
      await ended(client)
      assert.equal(all.reasons().at(-1), 'revoked', way)
    }
    assert.deepEqual(await byMessage(t, all, token), { code: 4003, reason: 'revoked' })
  }
  await enter(t, all, tokenOf('sub', { iat: now() + 2 }))
  await wsGuard.unblock({ sub: 'block' })
  await enter(t, all, tokenOf('block', old))
  await bystander.sendJson({ type: 'join', topic: 'red:x', ref: 1 })
  assert.deepEqual((await bystander.nextJson<{ data: object }>()).data, { joined: true })
})

test('Z4: without an iat nobody can tell whether a credential is new: refused once its user was revoked', async (t) => {
  const all = await open(t)
  await all.app.wsGuard.revoke({ sub: 'alice' })
  const client = await rawClient(t, all.port)
  assertRefused(
    await client.handshake({ path: '/ws', headers: goodHeaders(tokenOf('alice', { iat: undefined })) }),
    401
  )
})

test('Z9: no spelling of a topic leads to another tenant: not joined, and not one frame of it', async (t) => {
  const all = await open(t)
  const red = await enter(t, all, tokenOf('ruby', { tenant: 'red' }))
  const blue = await enter(t, all, tokenOf('azure', { tenant: 'blue' }))
  const join = async (client: RawClient, topic: string): Promise<boolean> => {
    await client.sendJson({ type: 'join', topic, ref: 1 })
    return (await client.nextJson<{ data: { joined: boolean } }>()).data.joined
  }
  assert.equal(await join(red, 'red:lobby'), true)
  assert.equal(await join(blue, 'blue:lobby'), true)
  for (const topic of [
    'red:lobby',
    'RED:lobby',
    ' red:lobby',
    'red',
    'lobby',
    '',
    '*',
    'blue',
    'house:red:lobby',
    'red:lobby\u0000',
    '../red:lobby'
  ]) {
    assert.equal(await join(blue, topic), false, topic)
  }
  assert.equal(await join(blue, 'blue:../red:lobby'), true, 'a name like any other of its own')
  await red.sendJson({ type: 'tell', topic: 'lobby', text: 'for red' })
  assert.deepEqual(await red.nextJson(), { type: 'told', text: 'for red' })
  await blue.sendJson({ type: 'tell', topic: 'lobby', text: 'for blue' })
  assert.deepEqual(await blue.nextJson(), { type: 'told', text: 'for blue' })
  assert.equal(blue.frames.filter(({ payload }) => payload.includes('for red')).length, 0)
  for (const client of [red, blue]) client.destroy()
  await within(assertNothingHeld(all.app))
})
