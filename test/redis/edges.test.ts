/** What happens at the bounds of the store: a full log, a crowd of commands, a round that ends after the store. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Kick, Store } from '../../lib/limits/store.ts'
import { Bus } from '../../lib/redis/bus.ts'
import { Health } from '../../lib/redis/health.ts'
import { Link, maxPendingCommands } from '../../lib/redis/link.ts'
import { Names } from '../../lib/redis/names.ts'
import { maxOrders, Orders } from '../../lib/redis/orders.ts'
import { countAttempt } from '../../lib/redis/scripts.ts'
import { type RedisStoreOptions, redisStore } from '../../lib/redis.ts'
import { RedisServer } from '../support/redis.ts'
import { eventually, until } from '../support/wait.ts'
import { patience } from './harness.ts'

const timeoutMs = patience

async function startStore(
  t: TestContext,
  options: RedisStoreOptions = {}
): Promise<{ redis: RedisServer; store: Store; states: string[] }> {
  const redis = await RedisServer.startFor(t)
  const store = redisStore(redis.client(), { leaseMs: 600, commandTimeoutMs: 200, ...options })
  const states: string[] = []
  await store.open({ onMessage() {}, onKick() {}, onState: (state, code) => states.push(`${state} ${code ?? ''}`) })
  t.after(() => store.close())
  return { redis, store, states }
}

/** As many other orders as the log takes, in steps that keep Redis from nobody. */
async function fillLog(redis: RedisServer): Promise<void> {
  const step = 5_000
  for (let from = 0; from < maxOrders; from += step) {
    const members = Array.from({ length: step }, (_, at) => ['0', `other ${from + at}`]).flat()
    await redis.ask('ZADD', 'wsg:{o}:seq', ...members)
  }
}

async function startOrders(t: TestContext, size?: number): Promise<{ redis: RedisServer; link: Link; orders: Orders }> {
  const redis = await RedisServer.startFor(t)
  const link = new Link(redis.client({ lazyConnect: true }), 2_000)
  t.after(() => link.close())
  await link.connect()
  const listener = { onMessage() {}, onKick() {}, onState() {} }
  return { redis, link, orders: new Orders(link, new Names('wsg:', 'wsg:'), 'a node', listener, size) }
}

test('R1: a log that is full takes no further order, and says so; what is in it may be given again', async (t) => {
  const { redis, orders } = await startOrders(t)
  const revocation = { kind: 'sub' as const, value: 'alice', issuedBefore: Date.now(), keepMs: 60_000 }
  await orders.read()
  await orders.revoke(revocation)
  await fillLog(redis)
  await assert.rejects(orders.revoke({ ...revocation, value: 'bob' }), { code: 'WSG_ERR_STORE_FULL', statusCode: 503 })
  await orders.revoke({ ...revocation, issuedBefore: Date.now() + 5_000 })
  assert.equal(orders.isRefused({ subject: 'alice', issuedAt: Date.now() + 1_000 }), true)
  assert.equal(orders.sizes().orders, 1, 'bob is not tried again')
})

test('R1: a full log is no fault of the line: the store goes on', async (t) => {
  const { redis, store, states } = await startStore(t, { leaseMs: 6_000, commandTimeoutMs: 2_000 })
  await fillLog(redis)
  await assert.rejects(async () => store.block('alice', Date.now() + 60_000), { code: 'WSG_ERR_STORE_FULL' })
  assert.equal(await store.acquireSlot('user:bob', 1), true)
  assert.deepEqual(states, [])
})

test('R1: what was given while Redis was down, and finds no room in the end, holds here and stops nothing', async (t) => {
  const { redis, link, orders } = await startOrders(t)
  await orders.read()
  await redis.kill()
  await until(() => !link.isReady, { timeoutMs })
  const given = orders.revoke({ kind: 'sub', value: 'alice', issuedBefore: Date.now(), keepMs: 60_000 })
  await assert.rejects(given, { code: 'WSG_ERR_STORE_DOWN' })
  await redis.restart()
  await fillLog(redis)
  await until(() => link.isReady, { timeoutMs })
  await orders.read()
  await orders.writeMissing()
  assert.equal(await redis.ask('HLEN', 'wsg:{o}:entries'), 0)
  assert.equal(orders.isRefused({ subject: 'alice', issuedAt: 0 }), true)
})

test('N3: a node that joins reads the whole log, and what a disconnect says reaches it', async (t) => {
  const patient = { leaseMs: 6_000, commandTimeoutMs: 2_000 }
  const { redis, store } = await startStore(t, patient)
  const names = Array.from({ length: 1_001 }, (_, at) => `user ${at}`)
  const revoke = (value: string) => store.revoke({ kind: 'sub', value, issuedBefore: Date.now(), keepMs: 60_000 })
  await Promise.all(names.map(revoke))
  const late = redisStore(redis.client(), patient)
  const kicks: Kick[] = []
  await late.open({ onMessage() {}, onKick: (kick) => kicks.push(kick), onState() {} })
  t.after(() => late.close())
  await until(() => late.sizes().orders === names.length, { timeoutMs })
  assert.equal(late.isRefused({ subject: 'user 1000', issuedAt: 0 }), true)
  assert.equal(kicks.length, names.length)
  await store.disconnect({ sub: 'alice' }, 'see you')
  await until(() => kicks.length > names.length, { timeoutMs })
  assert.equal(kicks.filter(({ query }) => query.sub === 'alice').length, 1)
  const { openForMs = -1, ...kick } = kicks.at(-1) as Kick
  assert.deepEqual(kick, { query: { sub: 'alice' }, reason: 'see you' })
  assert.ok(openForMs >= 0 && openForMs < timeoutMs)
})

test('N3: a disconnect is carried out once, also when it is read again from a log that was lost', async (t) => {
  const { redis, link, orders } = await startOrders(t)
  const seen: Kick[] = []
  const listener = { onMessage() {}, onKick: (kick: Kick) => void seen.push(kick), onState() {} }
  const other = new Orders(link, new Names('wsg:', 'wsg:'), 'another node', listener)
  await other.read()
  await orders.disconnect({ sub: 'alice' }, undefined)
  await orders.revoke({ kind: 'sub', value: 'bob', issuedBefore: Date.now(), keepMs: 60_000 })
  await other.read()
  assert.deepEqual(seen.map(({ query }) => query.sub).sort(), ['alice', 'bob'])
  await redis.ask('FLUSHALL')
  await orders.read()
  await orders.writeMissing()
  await other.read()
  assert.deepEqual(
    seen.slice(2).map(({ query }) => query.sub),
    ['bob']
  )
})

test('N3: an order that Redis loses before its own node has read it is written again with its own time', async (t) => {
  const { redis, orders } = await startOrders(t)
  await orders.read()
  await orders.disconnect({ sub: 'alice' }, undefined)
  await orders.block('bob', Date.now() + 60_000)
  const kept = (): Promise<unknown> => redis.ask('HVALS', 'wsg:{o}:entries')
  const timesOf = (values: unknown): string[] => (values as string[]).map((value) => String(value.split(' ')[1])).sort()
  const before = timesOf(await kept())
  await redis.ask('FLUSHALL')
  await orders.read()
  await orders.writeMissing()
  assert.deepEqual(timesOf(await kept()), before)
  assert.equal(before.length, 2)
})

test('N3: a node remembers so many orders and no more; what it could not write stays until it can', async (t) => {
  const { link, orders } = await startOrders(t, 2)
  assert.throws(() => orders.isRefused({ subject: 'alice' }), { code: 'WSG_ERR_STORE_DOWN' })
  await orders.read()
  link.close()
  const down = { code: 'WSG_ERR_STORE_DOWN' }
  for (const sub of ['alice', 'bob']) await assert.rejects(orders.disconnect({ sub }, undefined), down)
  await assert.rejects(orders.disconnect({ sub: 'carol' }, undefined), { code: 'WSG_ERR_STORE_FULL' })
  await assert.rejects(orders.writeMissing(), down)
  assert.equal(orders.sizes().orders, 2)
})

test('N1: when the dead are gone and the living still hold all, it stays refused', async (t) => {
  const { redis, store } = await startStore(t)
  const other = redisStore(redis.client(), { leaseMs: 600, commandTimeoutMs: 200 })
  await other.open({ onMessage() {}, onKick() {}, onState() {} })
  t.after(() => other.close())
  assert.equal(await other.acquireSlot('user:alice', 1), true)
  const key = (await redis.keys()).find((name) => name.startsWith('wsg:s:')) as string
  await redis.ask('HSET', key, 'a node that died', '5')
  assert.equal(await store.acquireSlot('user:alice', 1), false)
  assert.equal(await store.acquireSlot('user:alice', 2), true)
  assert.equal(await redis.ask('HLEN', key), 2)
})

test('N2: a line on which ten thousand commands wait takes no more', async (t) => {
  const redis = await RedisServer.startFor(t)
  const link = new Link(redis.client({ lazyConnect: true }), 10_000)
  t.after(() => link.close())
  await link.connect()
  redis.freeze()
  const waiting = Array.from({ length: maxPendingCommands }, (_, at) => link.run(countAttempt, [`key ${at}`], [1_000]))
  await assert.rejects(link.run(countAttempt, ['key'], [1_000]), { code: 'WSG_ERR_STORE_DOWN', message: /too many/ })
  assert.equal(link.pending, maxPendingCommands)
  redis.thaw()
  await Promise.all(waiting)
  assert.equal(link.pending, 0)
})

test('N2: a message for which Redis does not answer in time is paid from a budget of this node', async (t) => {
  const { redis, store, states } = await startStore(t)
  const rate = { perSecond: 0.001, burst: 3 }
  redis.freeze()
  const taken = await Promise.all(Array.from({ length: 5 }, () => store.takeUserBudget('alice', 1, rate)))
  assert.deepEqual(taken, [true, true, true, false, false])
  assert.deepEqual(states, ['down no answer in time'])
  redis.thaw()
  await until(() => states.length === 2, { timeoutMs })
  await eventually(() => assert.equal(store.sizes().commands, 0), { timeoutMs })
})

test('N2: Redis says what is wrong with it by one word', async (t) => {
  const { redis, store, states } = await startStore(t)
  await redis.ask('CONFIG', 'SET', 'maxmemory', '1')
  await assert.rejects(async () => store.acquireSlot('user:alice', 1), {
    code: 'WSG_ERR_STORE_DOWN',
    message: /\(OOM\)/
  })
  assert.deepEqual(states, ['down OOM'])
  await redis.ask('CONFIG', 'SET', 'maxmemory', '0')
  await until(() => states.length === 2, { timeoutMs })
  assert.equal(await store.acquireSlot('user:alice', 1), true)
})

test('N2: what a round fails with is said by its code, once; a round that outlives the store says nothing', async () => {
  const said: string[] = []
  let settle: { resolve: () => void; reject: (error: unknown) => void } | undefined
  const work = (): Promise<void> => new Promise((resolve, reject) => (settle = { resolve, reject }))
  const listener = {
    onMessage() {},
    onKick() {},
    onState: (state: string, code?: string) => said.push(`${state} ${code}`)
  }
  const round = async (health: Health, end: () => void): Promise<void> => {
    const checked = health.check()
    end()
    await checked
  }
  const health = new Health(work, 60_000, listener)
  await round(health, () => settle?.reject(Object.assign(new Error('x'), { code: 'WSG_ERR_STORE_FULL' })))
  await round(health, () => settle?.reject(new TypeError('x')))
  assert.deepEqual(said, ['down WSG_ERR_STORE_FULL'])
  assert.equal(health.isUp, false)
  await round(health, () => settle?.resolve())
  assert.deepEqual(said, ['down WSG_ERR_STORE_FULL', 'up undefined'])
  for (const end of [() => settle?.resolve(), () => settle?.reject(new Error('x'))]) {
    const ended = new Health(work, 60_000, listener)
    const checked = ended.check()
    ended.stop()
    end()
    await checked
    await ended.check()
    assert.equal(ended.isUp, false)
  }
  health.stop()
  assert.equal(said.length, 2)
})

test('N3: a topic that is left while its line is being restored is not listened to', async (t) => {
  const { redis, link } = await startOrders(t)
  const names = new Names('wsg:', 'wsg:')
  const bus = new Bus(link, names, 'a node', { onMessage() {}, onNews() {} })
  // More than are subscribed to at once: the last one's turn comes when it has been left.
  const topics = Array.from({ length: 501 }, (_, at) => `topic ${at}`)
  for (const topic of topics) bus.subscribeLater(topic)
  const { subscriber } = link
  const subscribe = subscriber.subscribe.bind(subscriber)
  subscriber.subscribe = (...channels: string[]) => {
    if (channels.includes(names.topic('topic 0'))) bus.unsubscribe('topic 500')
    return subscribe(...channels)
  }
  await bus.restore()
  // Answered in order: what was asked for before this has been done.
  await bus.subscribe('the last one')
  const listening = await redis.ask('PUBSUB', 'NUMSUB', names.topic('topic 500'), names.topic('topic 499'))
  assert.deepEqual(listening, [names.topic('topic 500'), 0, names.topic('topic 499'), 1])
})
