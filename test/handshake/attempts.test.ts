import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance } from 'fastify'
import type { AttemptsOptions } from '../../lib/handshake/attempts.ts'
import { type InjectWsOptions, injectWs } from '../../lib/testing.ts'
import { tokenFor } from '../support/app.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { RawClient } from '../support/raw-client.ts'
import {
  assertNothingHeld,
  assertRefused,
  type GuardedApp,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from './harness.ts'

interface Limited extends GuardedApp {
  readonly verified: string[]
}

/** A route with these limits; `verified` are the tokens that a verifier was asked about. */
async function limited(t: TestContext, attempts: Partial<AttemptsOptions>): Promise<Limited> {
  const all = await guarded(t, { jwt: false, guard: { limits: { attempts }, auth: false } })
  const verified: string[] = []
  const verify = (token: string): object | null => {
    verified.push(token)
    return token === 'good' ? { sub: 'alice' } : null
  }
  all.app.wsRoute('/ws', { auth: { verify }, handler() {} })
  all.app.wsRoute('/open', { handler() {} })
  return { ...all, verified }
}

async function statusOf(app: FastifyInstance, options: InjectWsOptions = {}, path = '/open'): Promise<number> {
  await using ws = await injectWs(app, path, options)
  return ws.statusCode
}

async function statusesOf(app: FastifyInstance, addresses: readonly string[]): Promise<number[]> {
  const statuses: number[] = []
  for (const remoteAddress of addresses) statuses.push(await statusOf(app, { remoteAddress }))
  return statuses
}

test('A9, R1: attempts are counted before any token is verified', async (t) => {
  const { app, verified, reasons } = await limited(t, { max: 3 })
  for (let n = 0; n < 3; n++) assert.equal(await statusOf(app, { token: `bad${n}` }, '/ws'), 401)
  await using ws = await injectWs(app, '/ws', { token: 'good' })
  assertRefused(ws, 429)
  assert.deepEqual(verified, ['bad0', 'bad1', 'bad2'])
  assert.equal(reasons().at(-1), 'attempts')
  const retryAfter = Number(ws.headers['retry-after'])
  assert.ok(retryAfter > 50 && retryAfter < 65, `about the rest of the minute, not ${retryAfter} s`)
  assert.equal(await statusOf(app, { token: 'good', remoteAddress: '10.0.0.2' }, '/ws'), 101)
  await assertNothingHeld(app)
})

test('R1: when the window is over an address may try again', async (t) => {
  const { app } = await limited(t, { max: 1, timeWindow: 1 })
  assert.equal(await statusOf(app), 101)
  let status = 0
  for (let n = 0; n < 100 && status !== 101; n++) status = await statusOf(app)
  assert.equal(status, 101)
})

test('R1: malformed handshakes and foreign origins are attempts too', async (t) => {
  const { app } = await limited(t, { max: 2 })
  assert.equal(await statusOf(app, { origin: 'https://evil.example' }), 403)
  assert.equal(await statusOf(app, { headers: { 'sec-websocket-protocol': 'other' } }), 400)
  assert.equal(await statusOf(app), 429)
})

test('H7, R1: upgrades to paths that are not ours are attempts', async (t) => {
  const { app } = await limited(t, { max: 2 })
  app.get('/plain', () => 'plain')
  assert.equal(await statusOf(app, {}, '/plain'), 400)
  assert.equal(await statusOf(app, {}, '/nope'), 404)
  assert.equal(await statusOf(app, {}, '/plain'), 429)
  assert.equal(await statusOf(app, {}, '/nope'), 429)
})

test('R1: routes with the same options share one allowance, whatever is written where', async (t) => {
  const { app } = await guarded(t, { guard: { auth: false, limits: { attempts: { max: 2 } } } })
  app.wsRoute('/a', { handler() {} })
  app.wsRoute('/b', { limits: { attempts: { max: 2, timeWindow: '1 minute' } }, handler() {} })
  app.wsRoute('/c', { limits: { attempts: { max: 2, timeWindow: 60_000 } }, handler() {} })
  assert.equal(await statusOf(app, {}, '/a'), 101)
  assert.equal(await statusOf(app, {}, '/b'), 101)
  assert.equal(await statusOf(app, {}, '/a'), 429)
  assert.equal(await statusOf(app, {}, '/b'), 429)
  assert.equal(await statusOf(app, {}, '/nope'), 429)
  assert.equal(await statusOf(app, {}, '/c'), 101)
})

test('R1: what comes through a unix socket is one client', async (t) => {
  const { app } = await limited(t, { max: 1 })
  const path = join(tmpdir(), `ws-guard-${process.pid}.sock`)
  await app.listen({ path })
  const statuses: number[] = []
  for (let n = 0; n < 2; n++) {
    const client = new RawClient(connect(path))
    t.after(() => client.destroy())
    await client.write(handshakeRequest({ path: '/open', headers: goodHeaders() }))
    statuses.push((await client.answer()).statusCode)
    client.destroy()
  }
  assert.deepEqual(statuses, [101, 429])
})

test('R1: an IPv6 /64 is one client', async (t) => {
  const { app } = await limited(t, { max: 2 })
  const addresses = ['2001:db8:0:1::1', '2001:db8:0:1:ffff::2', '2001:db8:0:1::3', '2001:db8:0:2::1']
  assert.deepEqual(await statusesOf(app, addresses), [101, 101, 429, 101])
})

test('R1: a /48 has eight times the attempts of one address, however many /64s it has', async (t) => {
  const { app } = await limited(t, { max: 1 })
  const addresses = Array.from({ length: 10 }, (_, n) => `2001:db8:0:${n}::1`)
  assert.deepEqual(await statusesOf(app, addresses), [...Array(8).fill(101), 429, 429])
  assert.deepEqual(await statusesOf(app, ['2001:db8:1::1']), [101])
})

test('R1: IPv4 has no wider subnet, and is the same mapped into IPv6', async (t) => {
  const { app } = await limited(t, { max: 1 })
  const addresses = Array.from({ length: 10 }, (_, n) => `10.0.0.${n}`)
  assert.deepEqual(await statusesOf(app, addresses), Array(10).fill(101))
  assert.deepEqual(await statusesOf(app, ['::ffff:10.0.0.1', '10.0.0.1', '::ffff:10.0.0.77']), [429, 429, 101])
})

test('R1: ipv6Subnet sets how much of an address counts', async (t) => {
  const { app } = await limited(t, { max: 1, ipv6Subnet: 128 })
  assert.deepEqual(await statusesOf(app, ['2001:db8::1', '2001:db8::2', '2001:db8::1']), [101, 101, 429])
})

test('R1: globalMax bounds everybody together, and an address over its own limit takes none of it', async (t) => {
  const { app } = await limited(t, { max: 1, globalMax: 3 })
  assert.deepEqual(await statusesOf(app, ['10.0.0.1', '10.0.0.1', '10.0.0.1', '10.0.0.1']), [101, 429, 429, 429])
  assert.deepEqual(await statusesOf(app, ['10.0.0.2', '10.0.0.3', '10.0.0.4']), [101, 101, 429])
})

test('R1: an allow list names addresses, also of IPv6, and no limiter counts them', async (t) => {
  const allowList = ['10.0.0.9', '2001:db8::9']
  const { app } = await limited(t, { max: 1, globalMax: 2, allowList })
  for (const address of allowList) assert.deepEqual(await statusesOf(app, Array(10).fill(address)), Array(10).fill(101))
  assert.deepEqual(await statusesOf(app, ['2001:db8::8', '2001:db8::8', '10.0.0.1', '10.0.0.2']), [101, 429, 101, 429])
})

test('R1: an allow list may be a function, or name keys', async (t) => {
  const asked: unknown[] = []
  const byFunction = await limited(t, {
    max: 1,
    allowList: (request: { headers: Record<string, unknown> }, key: unknown) => {
      asked.push(key)
      return request.headers['x-health'] === 'yes'
    }
  } as never)
  const health = { headers: { 'x-health': 'yes' }, remoteAddress: '2001:db8::1' }
  for (let n = 0; n < 3; n++) assert.equal(await statusOf(byFunction.app, health), 101)
  assert.deepEqual(asked, Array(3).fill('2001:db8::'), 'asked once for all limiters')
  assert.equal(await statusOf(byFunction.app), 101)
  assert.equal(await statusOf(byFunction.app), 429)

  const keyGenerator = (): string => 'everybody'
  const byKey = await limited(t, { max: 1, allowList: ['everybody'], keyGenerator })
  for (let n = 0; n < 3; n++) assert.equal(await statusOf(byKey.app), 101)
})

test('R1: a keyGenerator says what counts as one client; addresses do not matter then', async (t) => {
  const { app } = await limited(t, { max: 2, keyGenerator: async ({ headers }) => String(headers['x-key']) })
  const tryAs = (key: string, remoteAddress: string): Promise<number> =>
    statusOf(app, { headers: { 'x-key': key }, remoteAddress })
  assert.equal(await tryAs('a', '2001:db8:0:1::1'), 101)
  assert.equal(await tryAs('a', '2001:db8:0:2::1'), 101)
  assert.equal(await tryAs('a', '10.0.0.1'), 429)
  assert.equal(await tryAs('b', '10.0.0.1'), 101)
})

test('R1: keys of any length are told apart, and take no more memory than a hash', async (t) => {
  const keys: string[] = []
  const { app } = await limited(t, {
    max: 1,
    keyGenerator: ({ headers }: { headers: Record<string, unknown> }) => String(headers['x-key']),
    allowList: (_request: unknown, key: unknown) => {
      keys.push(String(key))
      return false
    }
  } as never)
  const long = 'k'.repeat(5_000)
  for (const [key, status] of [
    [`${long}1`, 101],
    [`${long}2`, 101],
    [`${long}1`, 429],
    ['k'.repeat(128), 101]
  ] as const) {
    assert.equal(await statusOf(app, { headers: { 'x-key': key } }), status)
  }
  assert.deepEqual(
    keys.map(({ length }) => length),
    [43, 43, 43, 128]
  )
})

test('A12: a keyGenerator that throws lets nobody in', async (t) => {
  const { app, logs } = await limited(t, {
    keyGenerator: () => {
      throw Object.assign(new Error('canary'), { code: 'E_KEY' })
    }
  })
  await using ws = await injectWs(app, '/open')
  assertRefused(ws, 503)
  assert.equal(logs.find('ws.refused')?.errorCode, 'E_KEY')
  assert.doesNotMatch(logs.text(), /canary/)
})

test("R1: the app's own @fastify/rate-limit neither charges us nor is charged by us", async (t) => {
  const { app } = await guarded(t, { guard: { auth: false } })
  await app.register(rateLimit, { max: 2, global: false })
  app.get('/http', { config: { rateLimit: { max: 2 } } }, () => 'ok')
  app.wsRoute('/ws', { handler() {} })
  const { statusCode } = await app.inject('/http')
  assert.equal(statusCode, 200)
  for (let n = 0; n < 10; n++) assert.equal(await statusOf(app, {}, '/ws'), 101)
  const answers = [await app.inject('/http'), await app.inject('/http')]
  assert.deepEqual(
    answers.map((answer) => answer.statusCode),
    [200, 429]
  )
  assert.equal(await statusOf(app, {}, '/ws'), 101)
})

test('R1: a route has its own limits', async (t) => {
  const { app } = await guarded(t, { guard: { auth: false, limits: { attempts: { max: 1 } } } })
  app.wsRoute('/narrow', { handler() {} })
  app.wsRoute('/wide', { limits: { attempts: { max: 3 } }, handler() {} })
  const statuses = async (path: string): Promise<number[]> => [
    await statusOf(app, {}, path),
    await statusOf(app, {}, path),
    await statusOf(app, {}, path)
  ]
  assert.deepEqual(await statuses('/narrow'), [101, 429, 429])
  assert.deepEqual(await statuses('/wide'), [101, 101, 101])
})

test('T4: an address that a client only claims is not counted', async (t) => {
  const { app } = await limited(t, { max: 2 })
  const statuses: number[] = []
  for (let n = 0; n < 3; n++) statuses.push(await statusOf(app, { headers: { 'x-forwarded-for': `10.9.9.${n}` } }))
  assert.deepEqual(statuses, [101, 101, 429])
})

test('R1: a flood of handshakes on a port is refused and leaves nothing', async (t) => {
  const { app } = await limited(t, { max: 5 })
  const port = await listen(app)
  const statuses: number[] = []
  for (let n = 0; n < 25; n++) {
    const client = await rawClient(t, port)
    await client.write(handshakeRequest({ path: '/open', headers: goodHeaders() }))
    statuses.push((await client.answer()).statusCode)
    client.reset()
  }
  assert.deepEqual(statuses, [...Array(5).fill(101), ...Array(20).fill(429)])
  await assertNothingHeld(app)
})

test('a token is no help against the limit', async (t) => {
  const { app } = await guarded(t, { guard: { limits: { attempts: { max: 1 } } } })
  app.wsRoute('/ws', { handler() {} })
  const token = tokenFor(app)
  assert.equal(await statusOf(app, { token }, '/ws'), 101)
  assert.equal(await statusOf(app, { token }, '/ws'), 429)
})
