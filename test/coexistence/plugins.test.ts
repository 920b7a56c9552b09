import assert from 'node:assert/strict'
import dns from 'node:dns'
import { once } from 'node:events'
import { type AddressInfo, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { afterEach, test } from 'node:test'
import cookie from '@fastify/cookie'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import jwt from '@fastify/jwt'
import rateLimit from '@fastify/rate-limit'
import Fastify, { type FastifyInstance } from 'fastify'
import { WebSocket } from 'ws'
import wsGuard from '../../lib/index.ts'
import { injectWs } from '../../lib/testing.ts'
import { echo, origin, secret } from '../support/app.ts'
import { selfSigned } from '../support/certificate.ts'
import { claims, signJwt } from '../support/tokens.ts'
import { within } from '../support/wait.ts'

const apps: FastifyInstance[] = []
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close()
})

const handlers = { say: () => {}, ask: () => ({ items: [] }) }
const route = { contract: echo, handlers }
const token = signJwt(claims({ sub: 'alice' }), secret)

/** What an app registers beside us; `guard` is the place of ours among them. */
const plugins: Readonly<Record<string, (app: FastifyInstance) => unknown>> = {
  guard: (app) => app.register(wsGuard, { origins: [origin], auth: { from: ['header', 'cookie'] } }),
  jwt: (app) => app.register(jwt, { secret }),
  cookie: (app) => app.register(cookie),
  cors: (app) => app.register(cors, { origin: 'https://other.example.com' }),
  helmet: (app) => app.register(helmet),
  rateLimit: (app) => app.register(rateLimit, { max: 1_000, timeWindow: 60_000 })
}

/** Each plugin before and after ours, and all of them in either order. */
function orders(): string[][] {
  const others = Object.keys(plugins).filter((name) => name !== 'guard')
  const splits = Array.from({ length: 2 ** others.length }, (_, bits) => {
    const before = others.filter((_name, index) => (bits >> index) & 1)
    return [...before, 'guard', ...others.filter((name) => !before.includes(name))]
  })
  return [...splits, ['guard', ...others.toReversed()], [...others.toReversed(), 'guard']]
}

async function observe(order: readonly string[]): Promise<unknown> {
  const app = Fastify() as unknown as FastifyInstance
  apps.push(app)
  for (const name of order) await plugins[name]?.(app)
  app.wsRoute('/ws', route)
  app.get('/http', async () => ({ ok: true }))
  await app.ready()
  const seen: unknown[] = []
  const cookies = { token }
  for (const options of [
    { token },
    { cookies },
    {},
    { token: `${token}x` },
    { token, cookies },
    { token, origin: 'https://other.example.com' },
    { cookies, origin: null },
    { token, origin: null }
  ]) {
    await using ws = await injectWs(app, '/ws', options)
    seen.push([ws.statusCode, ws.body])
    if (ws.statusCode === 101) {
      ws.send('ask', { count: 0 }, { ref: 1 })
      seen.push(await ws.receive('reply'))
      assert.deepEqual([ws.headers['x-content-type-options'], ws.headers['x-ratelimit-limit']], ['nosniff', undefined])
    }
  }
  // Ordinary routes are what the others make of them.
  const http = await app.inject({ url: '/http', headers: { origin: 'https://other.example.com' } })
  assert.equal(http.statusCode, 200)
  assert.equal(http.headers['access-control-allow-origin'], 'https://other.example.com')
  assert.ok(http.headers['content-security-policy'] !== undefined)
  assert.equal(http.headers['x-ratelimit-limit'], '1000')
  const preflight = await app.inject({
    method: 'OPTIONS',
    url: '/http',
    headers: { origin: 'https://other.example.com', 'access-control-request-method': 'GET' }
  })
  assert.equal(preflight.statusCode, 204)
  await app.close()
  return seen
}

test('our checks are the same in whichever order the app registers its plugins', async () => {
  const [first = [], ...others] = orders()
  const expected = (await observe(first)) as [number, string][]
  assert.deepEqual(
    expected.flatMap((entry) => (Array.isArray(entry) ? [entry[0]] : [])),
    [101, 101, 401, 401, 400, 403, 403, 101]
  )
  for (const order of others) assert.deepEqual(await observe(order), expected, order.join(', '))
})

test('a global @fastify/rate-limit is not charged by our attempts, nor are they by it', async () => {
  const app = Fastify() as unknown as FastifyInstance
  apps.push(app)
  await app.register(wsGuard, { origins: false, auth: false, limits: { attempts: { max: 3 } } })
  await app.register(rateLimit, { max: 4, timeWindow: 60_000 })
  app.wsRoute('/ws', route)
  app.get('/http', async () => 'ok')
  const statuses: number[] = []
  for (let request = 0; request < 5; request++) statuses.push((await app.inject('/http')).statusCode)
  assert.deepEqual(statuses, [200, 200, 200, 200, 429])
  const upgrades: unknown[] = []
  for (let attempt = 0; attempt < 4; attempt++) {
    await using ws = await injectWs(app, '/ws')
    upgrades.push(ws.statusCode)
  }
  assert.deepEqual(upgrades, [101, 101, 101, 429])
})

test('a route’s own config.rateLimit asks @fastify/rate-limit as well', async () => {
  const app = Fastify() as unknown as FastifyInstance
  apps.push(app)
  await app.register(rateLimit, { max: 100, timeWindow: 60_000 })
  await app.register(wsGuard, { origins: false, auth: false })
  app.wsRoute('/ws', { ...route, config: { rateLimit: { max: 1, timeWindow: 60_000 } } as never })
  const statuses: unknown[] = []
  for (let attempt = 0; attempt < 2; attempt++) {
    await using ws = await injectWs(app, '/ws')
    statuses.push([ws.statusCode, ws.body && ws.json()])
  }
  const body = { statusCode: 429, error: 'Too Many Requests', code: 'too_many_requests' }
  assert.deepEqual(statuses, [
    [101, ''],
    [429, body]
  ])
})

test('a namespace of @fastify/jwt verifies what it signed, and only that', async () => {
  const app = Fastify() as unknown as FastifyInstance
  apps.push(app)
  const adminSecret = 'the secret of the admin namespace, for tests only'
  await app.register(jwt, { secret })
  await app.register(jwt, { secret: adminSecret, namespace: 'admin' })
  await app.register(wsGuard, { origins: [origin], auth: {} })
  const users: unknown[] = []
  app.wsRoute('/user', { handler: ({ user }) => void users.push(user) })
  app.wsRoute('/admin', { auth: { namespace: 'admin' }, handler: ({ user }) => void users.push(user) })
  const admin = signJwt(claims({ sub: 'root' }), adminSecret)
  const statuses: number[] = []
  for (const [path, sent] of [
    ['/user', token],
    ['/user', admin],
    ['/admin', admin],
    ['/admin', token]
  ] as const) {
    await using ws = await injectWs(app, path, { token: sent })
    statuses.push(ws.statusCode)
  }
  assert.deepEqual(statuses, [101, 401, 101, 401])
  assert.deepEqual(
    users.map((user) => (user as { sub: string }).sub),
    ['alice', 'root']
  )
})

/** A request and its reply over a real socket, and the 101's headers. */
async function exchange(url: string): Promise<Record<string, unknown>> {
  const socket = new WebSocket(url, {
    rejectUnauthorized: false,
    origin,
    headers: { authorization: `Bearer ${token}` }
  })
  const upgraded = once(socket, 'upgrade')
  await within(once(socket, 'open'))
  const [{ headers }] = await upgraded
  socket.send(JSON.stringify({ type: 'ask', ref: 1, count: 0 }))
  const [data] = await within(once(socket, 'message'))
  assert.deepEqual(JSON.parse(String(data)), { type: 'reply', ref: 1, data: { items: [] } })
  socket.close()
  await once(socket, 'close')
  return headers
}

for (const [name, options] of [
  ['https', { https: selfSigned() }],
  ['http2 with allowHTTP1', { http2: true, https: { ...selfSigned(), allowHTTP1: true } }]
] as const) {
  test(`T1: ${name}: a connection over TLS, with HSTS`, async () => {
    const app = Fastify(options as object) as unknown as FastifyInstance
    apps.push(app)
    await app.register(jwt, { secret })
    await app.register(wsGuard, { origins: [origin], auth: {}, requireTls: true })
    app.wsRoute('/ws', route)
    app.get('/http', async () => 'ok')
    await app.listen({ port: 0, host: '127.0.0.1' })
    const headers = await exchange(`wss://127.0.0.1:${(app.server.address() as AddressInfo).port}/ws`)
    assert.equal(headers['strict-transport-security'], 'max-age=31536000; includeSubDomains')
    assert.equal((await app.inject('/http')).body, 'ok')
  })
}

test('listening on localhost: every address it stands for is guarded', async (t) => {
  // Fastify makes a second server where localhost is two addresses; this machine may know it by one only.
  const hasIpv6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'))
  const both = ['127.0.0.1', hasIpv6 ? '::1' : '127.0.0.2'].map((address) => ({ address, family: isIP(address) }))
  t.mock.method(dns, 'lookup', (host: string, ...parameters: unknown[]) => {
    const done = parameters.at(-1) as (error: null, found: unknown, family?: number) => void
    const { all } = parameters[0] as { all?: boolean }
    const found = host === 'localhost' ? both : [{ address: host, family: isIP(host) }]
    const [{ address, family }] = found as [{ address: string; family: number }]
    process.nextTick(() => (all === true ? done(null, found) : done(null, address, family)))
  })
  const app = Fastify() as unknown as FastifyInstance
  apps.push(app)
  await app.register(jwt, { secret })
  await app.register(wsGuard, { origins: [origin], auth: {} })
  app.wsRoute('/ws', route)
  await app.listen({ port: 0, host: 'localhost' })
  const addresses = app.addresses() as AddressInfo[]
  assert.deepEqual(addresses.map(({ address }) => address).sort(), both.map(({ address }) => address).sort())
  for (const { address, port } of addresses) {
    const url = `ws://${isIP(address) === 6 ? `[${address}]` : address}:${port}/ws`
    await exchange(url)
    const foreign = new WebSocket(url, { origin: 'https://evil.example' })
    const [error] = await within(once(foreign, 'error'))
    assert.match(String(error), /403/)
  }
})
