/** What stands in Redis: nothing that a client is known by, nothing for ever, nothing that is not in the list. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { redisKeys } from '../../lib/redis/names.ts'
import type { RedisStoreOptions } from '../../lib/redis.ts'
import { tokenFor } from '../support/app.ts'
import { RedisServer } from '../support/redis.ts'
import { hears, news, rights, TestNode } from './harness.ts'

/** Nothing fails here, and a machine may be busy. */
const patientStore = { commandTimeoutMs: 5_000, leaseMs: 10_000 }

const ids = {
  ip: '203.0.113.77',
  sub: 'canary-user',
  sid: 'canary-session',
  jti: 'canary-token-id',
  topic: 'canary-topic',
  blocked: 'canary-blocked'
}

interface Traffic {
  readonly redis: RedisServer
  readonly node: TestNode
  /** What must not be found. */
  readonly secrets: readonly string[]
  readonly end: () => Promise<void>
}

/** Traffic of every kind, and all of it still there. */
async function traffic(t: TestContext, store: RedisStoreOptions = {}): Promise<Traffic> {
  const redis = await RedisServer.startFor(t)
  const start = (): Promise<TestNode> =>
    TestNode.start(t, redis.client({ lazyConnect: true }), {
      store: { ...patientStore, ...store },
      guard: { limits: { userMessages: { perSecond: 1, burst: 100 } } }
    })
  const [node, other] = await Promise.all([start(), start()])
  const { sub, sid, jti, ip, topic, blocked } = ids
  const token = tokenFor(node.app, sub, { sid, jti })
  const ws = await node.tryToken(token, '/ws', ip)
  assert.equal(ws.statusCode, 101)
  const v6 = await node.try('somebody', { ip: '2001:db8:7777::1' })
  await node.join(ws, topic)
  await hears(ws, other, topic)
  const { ticket } = await node.ticketFor(sub)
  await node.app.wsGuard.revoke({ sid: 'canary-old-session' }, { keepMs: 60_000 })
  await node.app.wsGuard.revoke({ jti: 'canary-old-token' })
  await node.app.wsGuard.revoke({ sub: 'canary-old-user' }, { keepMs: 100_000_000_000 })
  await node.app.wsGuard.block({ sub: blocked }, { untilMs: Date.now() + 60_000 })
  await node.app.wsGuard.unblock({ sub: blocked })
  await node.app.wsGuard.disconnect({ ip: '198.51.100.66' })
  const secrets = [...Object.values(ids), '203.0.113', '2001:db8', 'canary', '198.51.100', token, ticket, 'house', sub]
  const end = async (): Promise<void> => {
    ws.terminate()
    v6.terminate()
  }
  return { redis, node, secrets, end }
}

/** Names of keys, fields, members and channels. Values of tickets and orders are what they are for. */
async function namesIn(redis: RedisServer): Promise<string[]> {
  const found: string[] = []
  for (const key of await redis.keys()) {
    const type = await redis.ask('TYPE', key)
    found.push(key)
    if (type === 'hash') found.push(...((await redis.ask('HKEYS', key)) as string[]))
    if (type === 'zset') found.push(...((await redis.ask('ZRANGE', key, '0', '-1')) as string[]))
  }
  return [...found, ...((await redis.ask('PUBSUB', 'CHANNELS')) as string[])]
}

test('N5: no name in Redis holds an address, a user, a session, a token, a ticket or a topic', async (t) => {
  const { redis, secrets, end } = await traffic(t)
  const names = await namesIn(redis)
  assert.ok(names.length > 15)
  for (const secret of secrets) {
    assert.deepEqual(
      names.filter((name) => name.toLowerCase().includes(secret.toLowerCase())),
      [],
      secret
    )
  }
  await end()
})

test('N5: every key is in the list and has a type and a TTL that are in the list', async (t) => {
  const { redis, end } = await traffic(t)
  const seen = new Set<string>()
  const entryOf = (name: string): string => {
    const entry = redisKeys.find(({ key }) => new RegExp(`^wsg:${patternOf(key)}$`).test(name))
    assert.ok(entry, name)
    seen.add(entry.key)
    return entry.type
  }
  for (const key of await redis.keys()) {
    const type = entryOf(key)
    assert.equal(await redis.ask('TYPE', key), type === 'sorted set' ? 'zset' : type, key)
    const ttl = Number(await redis.ask('PTTL', key))
    assert.ok(ttl > 0, `${key} has a TTL of ${ttl}`)
  }
  for (const channel of (await redis.ask('PUBSUB', 'CHANNELS')) as string[]) assert.equal(entryOf(channel), 'channel')
  // And nothing in the list is never there.
  assert.deepEqual(
    redisKeys.map(({ key }) => key).filter((key) => !seen.has(key)),
    []
  )
  await end()
})

function patternOf(key: string): string {
  return key.replaceAll(/[{}]/g, '\\$&').replace('<hash>', '[\\w-]{22}')
}

test('N5: all keys of the log live as long as the longest order', async (t) => {
  const { redis, end } = await traffic(t)
  const ttls = await Promise.all(
    ['entries', 'seq', 'end', 'meta'].map(async (part) => Number(await redis.ask('PTTL', `wsg:{o}:${part}`)))
  )
  for (const ttl of ttls) assert.ok(ttl > 99_000_000_000, `${ttl}`)
  await end()
})

test('N5: other secrets make other hashes, and the same ones the same', async (t) => {
  const hashesWith = async (secret: string | undefined): Promise<string[]> => {
    const { redis, end } = await traffic(t, secret === undefined ? {} : { secret })
    const keys = [...(await redis.keys()), ...((await redis.ask('PUBSUB', 'CHANNELS')) as string[])]
    await end()
    return keys.filter((key) => /^wsg:[asbm]:/.test(key)).sort()
  }
  const plain = await hashesWith(undefined)
  const one = await hashesWith('the first of the secrets')
  const again = await hashesWith('the first of the secrets')
  const two = await hashesWith('the other of the secrets')
  assert.ok(one.length > 5)
  assert.deepEqual(one, again)
  const all = [...plain, ...one, ...two]
  assert.equal(new Set(all).size, all.length)
})

for (const prefix of ['wsg:', 'a{b}c:', '{all}', 'x{', '}y{']) {
  test(`N5: with the prefix ${prefix} all keys of the log have one hash slot`, async (t) => {
    const cluster = await RedisServer.startFor(t, { args: ['--cluster-enabled', 'yes'] })
    const redis = await RedisServer.startFor(t)
    const node = await TestNode.start(t, redis.client({ lazyConnect: true }), { store: { prefix } })
    await node.app.wsGuard.revoke({ sub: 'mallory' })
    const keys = (await redis.keys()).filter((key) => key.startsWith(`${prefix}{o}:`))
    assert.equal(keys.length, 4)
    const slots = await Promise.all(keys.map((key) => cluster.ask('CLUSTER', 'KEYSLOT', key)))
    assert.equal(new Set(slots).size, 1)
  })
}

async function everyKindOfTraffic(node: TestNode, other: TestNode): Promise<void> {
  const { sub, blocked } = ids
  const ws = await node.try(sub)
  assert.equal(ws.statusCode, 101)
  assert.equal(await node.join(ws, 'hall'), 'true')
  other.publish('hall', 'hello')
  assert.equal(await news(ws), 'hello')
  const { ticket } = await node.ticketFor(sub)
  assert.equal(await other.tryTicket(ticket), 101)
  const { wsGuard } = node.app
  await wsGuard.block({ sub: blocked }, { untilMs: Date.now() + 1 })
  await wsGuard.unblock({ sub: blocked })
  await wsGuard.disconnect({ sub })
  assert.equal((await ws.closed).code, 4003)
  await other.app.wsGuard.revoke({ sub })
}

test('N5: a user of Redis with the rights that the README lists can do all, and needs each of them', async (t) => {
  const redis = await RedisServer.startFor(t)
  await redis.ask('ACL', 'SETUSER', 'ws-guard', 'reset', 'on', '>a password', ...rights)
  const start = (): Promise<TestNode> => {
    const client = redis.client({ username: 'ws-guard', password: 'a password', lazyConnect: true })
    return TestNode.start(t, client, {
      store: patientStore,
      guard: { limits: { userMessages: { perSecond: 5, burst: 5 } } }
    })
  }
  const [node, other] = await Promise.all([start(), start()])
  await everyKindOfTraffic(node, other)
  await Promise.all([node.app.close(), other.app.close()])
  const denied = ((await redis.ask('ACL', 'LOG')) as unknown[][]).map((entry) => String(entry[7]))
  // With it ioredis says its name and version; nothing needs it.
  assert.deepEqual(
    denied.filter((command) => command !== 'client|setinfo'),
    []
  )
  const called = Object.keys(await redis.info('commandstats')).map((name) => name.replace('cmdstat_', '+'))
  assert.deepEqual(
    rights.filter((right) => right.startsWith('+') && !called.includes(right)),
    []
  )
})
