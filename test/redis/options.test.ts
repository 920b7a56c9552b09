/** What a developer can get wrong with `redisStore` is refused before anything is sent. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Cluster, Redis } from 'ioredis'
import { RedisStore } from '../../lib/redis/redis-store.ts'
import { type RedisStoreOptions, redisStore } from '../../lib/redis.ts'
import { buildApp } from '../support/app.ts'
import { RedisServer } from '../support/redis.ts'

const idle = { lazyConnect: true }

const wrong: ReadonlyArray<readonly [unknown, RegExp]> = [
  [{ prefix: '' }, /"prefix" must be 1 to 64/],
  [{ prefix: 'a b' }, /"prefix"/],
  [{ prefix: 'a{}b' }, /"prefix" .* without \{\}/],
  [{ prefix: 'x'.repeat(65) }, /"prefix"/],
  [{ prefix: 7 }, /"prefix"/],
  [{ whenDown: 'open' }, /"whenDown" must be 'closed' or 'local'/],
  [{ commandTimeoutMs: 9 }, /"commandTimeoutMs" must be an integer from 10 to 10000/],
  [{ commandTimeoutMs: '250' }, /"commandTimeoutMs"/],
  [{ commandTimeoutMs: 10_001 }, /"commandTimeoutMs"/],
  [{ leaseMs: 299 }, /"leaseMs" must be an integer from 300 to 600000/],
  [{ leaseMs: Number.NaN }, /"leaseMs"/],
  [{ leaseMs: 600, commandTimeoutMs: 301 }, /"leaseMs" must be at least twice "commandTimeoutMs"/],
  [{ secret: 'too short' }, /"secret" must be a string of at least 16 characters/],
  [{ secret: 1234567890123456 }, /"secret"/],
  [{ timeout: 5 }, /there is no option "timeout"; there are prefix, whenDown, commandTimeoutMs, leaseMs, secret/]
]

test('redisStore: a wrong option names itself and what is allowed', () => {
  const client = new Redis(idle)
  for (const [options, message] of wrong) {
    assert.throws(() => redisStore(client, options as RedisStoreOptions), { code: 'WSG_ERR_OPTION', message })
  }
  for (const options of [null, 'wsg:', 5]) {
    assert.throws(() => redisStore(client, options as never), { code: 'WSG_ERR_OPTION', message: /options/ })
  }
  for (const other of [undefined, null, 'redis://127.0.0.1', {}, { duplicate() {} }]) {
    assert.throws(() => redisStore(other as never), { code: 'WSG_ERR_OPTION', message: /a client of ioredis/ })
  }
})

test('redisStore: every client and every option that is right', () => {
  const clients = [new Redis(idle), new Cluster([{ host: '127.0.0.1', port: 1 }], idle)]
  for (const client of clients) {
    assert.ok(redisStore(client) instanceof RedisStore)
    assert.ok(redisStore(client, { prefix: '{app}:', whenDown: 'local', commandTimeoutMs: 10, leaseMs: 300 }))
    assert.equal(client.status, 'wait', 'the client itself is left alone')
  }
})

test('redisStore: one store is for one app', async (t) => {
  const server = await RedisServer.startFor(t)
  const store = redisStore(server.client())
  const app = await buildApp({ guard: { store } })
  t.after(() => app.close())
  await assert.rejects(buildApp({ guard: { store } }), {
    code: 'WSG_ERR_OPTION',
    message: /"store": this store belongs to another app already; call redisStore for each/
  })
})

test('redisStore: a keyPrefix of the client comes before every key and every channel', async (t) => {
  const server = await RedisServer.startFor(t)
  const hears = server.client()
  const store = redisStore(server.client({ keyPrefix: 'shop:' }), { prefix: 'ws:' })
  await store.open({ onMessage() {}, onKick() {}, onState() {} })
  t.after(() => store.close())
  await store.acquireSlot('user:alice', 1)
  await store.subscribe('house\na')
  const channels = await hears.pubsub('CHANNELS', '*')
  for (const name of [...(await server.keys()), ...(channels as string[])]) assert.match(name, /^shop:ws:/)
  assert.equal(channels.length, 2)
})
