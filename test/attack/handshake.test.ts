import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect as connectTo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildApp, echo, origin, tokenFor } from '../support/app.ts'
import { selfSigned } from '../support/certificate.ts'
import { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, Target } from './harness.ts'

const handlers = { say: () => {}, ask: () => ({ items: [] }) }

test('T4, R1: behind a unix socket handshakes work, and all that comes through it is one client', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'wsg-'))
  const app = await buildApp({ guard: { limits: { attempts: { max: 3 }, connections: { perIp: 2 } } } })
  const clients: RawClient[] = []
  t.after(async () => {
    for (const client of clients) client.destroy()
    await app.close()
    rmSync(folder, { recursive: true })
  })
  const ips: string[] = []
  app.wsRoute('/echo', { contract: echo, handlers, onOpen: ({ ip }) => void ips.push(ip) })
  const path = join(folder, 'app.sock')
  await app.listen({ path })
  const statuses: number[] = []
  for (let at = 0; at < 4; at++) {
    const client = new RawClient(connectTo({ path, allowHalfOpen: true }))
    clients.push(client)
    const headers = { Origin: origin, Authorization: `Bearer ${tokenFor(app)}` }
    statuses.push((await client.handshake({ path: '/echo', headers })).statusCode)
  }
  assert.deepEqual(statuses, [101, 101, 429, 429])
  assert.deepEqual(ips, ['unix', 'unix'])
  assert.equal(await app.wsGuard.disconnect({ ip: 'unix' }), 2)
})

test('T4: behind a unix socket the address is the one that trustProxy makes out', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'wsg-'))
  const app = await buildApp({ server: { trustProxy: () => true } })
  const path = join(folder, 'app.sock')
  app.wsRoute('/echo', { contract: echo, handlers })
  await app.listen({ path })
  const client = new RawClient(connectTo({ path, allowHalfOpen: true }))
  t.after(async () => {
    client.destroy()
    await app.close()
    rmSync(folder, { recursive: true })
  })
  const headers = { Origin: origin, Authorization: `Bearer ${tokenFor(app)}`, 'X-Forwarded-For': '203.0.113.9' }
  assert.equal((await client.handshake({ path: '/echo', headers })).statusCode, 101)
  assert.equal(await app.wsGuard.disconnect({ ip: '203.0.113.9' }), 1)
})

test("R2: refuse: 'close' holds no more sockets than limits.connections.unauthenticated, and refuses others by HTTP", async (t) => {
  const target = await Target.start(t, {
    guard: { refuse: 'close', limits: { connections: { unauthenticated: 3 } } }
  })
  const evil = { Origin: 'https://evil.example' }
  const statuses: number[] = []
  for (let at = 0; at < 6; at++) statuses.push(await target.knock('/echo', evil))
  assert.deepEqual(statuses, [101, 101, 101, 403, 403, 403])
  assert.equal(target.app.wsGuard.stats().refused, 3)
  assert.equal(target.app.websocketServer.clients.size, 3)
  // They go by themselves, and their slots with them.
  await until(() => target.app.wsGuard.stats().refused === 0, { timeoutMs: 5000 })
  const again = await target.open('/echo', evil)
  assert.equal((await closeFrameOf(again)).code, 4003)
  again.reset()
  await until(() => target.app.wsGuard.stats().refused === 0)
})

test('R1: routes with the same limits.attempts share one allowance per address, others have their own', async (t) => {
  const attempts = { max: 2 }
  const target = await Target.start(t, {
    guard: { limits: { attempts } },
    declare: (app) => {
      app.wsRoute('/same', { contract: echo, handlers, limits: { attempts: { max: 2 } } })
      app.wsRoute('/inherited', { contract: echo, handlers })
      app.wsRoute('/other', { contract: echo, handlers, limits: { attempts: { max: 1 } } })
    }
  })
  const knocks = async (...paths: string[]): Promise<number[]> => {
    const statuses: number[] = []
    for (const path of paths) statuses.push(await target.knock(path))
    return statuses
  }
  assert.deepEqual(await knocks('/echo', '/same', '/inherited', '/echo', '/nowhere'), [101, 101, 429, 429, 429])
  assert.deepEqual(await knocks('/other', '/other'), [101, 429])
})

test('T1, H6: a refusal on the bare socket carries the headers of TLS', async (t) => {
  const secure = await Target.start(t, { tls: selfSigned() })
  const plain = await Target.start(t)
  const refused = async (target: Target): Promise<Readonly<Record<string, string>>> => {
    const client = await target.dial()
    const { statusCode, headers } = await client.handshake({ path: '/echo', method: 'POST' })
    assert.equal(statusCode, 405)
    assert.equal(headers['x-content-type-options'], 'nosniff')
    return headers
  }
  assert.match((await refused(secure))['strict-transport-security'] ?? '', /^max-age=\d+/)
  assert.equal((await refused(plain))['strict-transport-security'], undefined)
})
