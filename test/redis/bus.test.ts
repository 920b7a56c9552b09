/** What comes over the bus is from outside: whoever can write to Redis, and whatever version the other nodes run. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Type } from '@sinclair/typebox'
import type { Redis } from 'ioredis'
import { defineContract } from '../../lib/index.ts'
import type { RedisClient } from '../../lib/redis/link.ts'
import { Names } from '../../lib/redis/names.ts'
import { redisStore } from '../../lib/redis.ts'
import { injectWs } from '../../lib/testing.ts'
import { buildApp, tokenFor } from '../support/app.ts'
import { RedisServer } from '../support/redis.ts'
import { answers, hears, news, patience, quickStore, type Socket, soon, TestNode } from './harness.ts'

const names = new Names('wsg:', 'wsg:')
const hall = names.topic('house\nhall')

interface Scene {
  readonly node: TestNode
  readonly alice: Socket
  readonly redis: RedisServer
  /** Somebody who can write to Redis. */
  readonly intruder: Redis
}

async function scene(t: TestContext): Promise<Scene> {
  const redis = await RedisServer.startFor(t)
  const node = await TestNode.start(t, redis.client({ lazyConnect: true }), { guard: { logSamplePerSecond: 1_000 } })
  const alice = await node.open('alice')
  t.after(() => alice.terminate())
  await node.join(alice, 'hall')
  return { node, alice, redis, intruder: redis.client() }
}

/** Messages of one channel come in order: when this one is there, those before were dealt with. */
async function comesThrough({ alice, intruder }: Scene, text = 'the last one'): Promise<void> {
  await intruder.publish(hall, `another\nhouse\n${JSON.stringify({ type: 'news', text })}`)
  assert.equal(await news(alice), text)
}

const message = (value: unknown): string => `another\nhouse\n${JSON.stringify(value)}`
const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)

const ignored: Record<string, readonly (readonly [name: string, payload: string | Buffer])[]> = {
  contract: [
    ['nothing', ''],
    ['no text', Buffer.from([0xff, 0xfe, 0x00, 0x80, 0xc3, 0x28])],
    ['no header', '{"type":"news","text":"x"}'],
    ['no contract', 'another\n{"type":"news","text":"x"}'],
    ['no such contract', 'another\nother\n{"type":"news","text":"x"}'],
    ['another contract of this node', 'another\ngarden\n{"type":"news","text":"x"}'],
    ['a contract named __proto__', 'another\n__proto__\n{"type":"news","text":"x"}'],
    ['1 MB of nothing', 'x'.repeat(1_048_576)]
  ],
  malformed: [
    ['no JSON', 'another\nhouse\n{"type":"news"'],
    ['no message', 'another\nhouse\n'],
    ['no object', message(['news'])],
    ['null', message(null)],
    ['no type', message({ text: 'x' })],
    ['a type that is an object', message({ type: { toString: 'news' }, text: 'x' })],
    ['__proto__', 'another\nhouse\n{"type":"news","text":"x","__proto__":{"admin":true}}'],
    ['constructor.prototype', 'another\nhouse\n{"type":"news","text":"x","constructor":{"prototype":{"admin":true}}}'],
    ['too deep', `another\nhouse\n{"type":"news","text":"x","deep":${nested(2_000)}}`],
    ['1 MB of brackets', `another\nhouse\n${nested(524_288)}`],
    ['no UTF-8', Buffer.concat([Buffer.from('another\nhouse\n'), Buffer.from([0xff, 0xfe])])]
  ],
  type: [
    ['a type that is not declared', message({ type: 'gossip', text: 'x' })],
    ['a type of clients', message({ type: 'shout', topic: 'hall', text: 'x' })],
    ['a type of the wire', message({ type: 'auth_ok', expiresInMs: 1 })],
    ['__proto__ as type', message({ type: '__proto__', text: 'x' })]
  ],
  schema: [
    ['no text', message({ type: 'news' })],
    ['a text that is none', message({ type: 'news', text: 5 })],
    ['1 MB of text', message({ type: 'news', text: 'x'.repeat(1_048_576) })]
  ]
}

for (const [reason, payloads] of Object.entries(ignored)) {
  test(`N4: over the bus: what has a wrong ${reason} is ignored and counted`, async (t) => {
    const all = await scene(t)
    for (const [name, payload] of payloads) {
      all.node.log.clear()
      await all.intruder.publish(hall, payload)
      await comesThrough(all, name)
      const reasons = all.node.log.filter('ws.bus_ignored').map((line) => line.reason)
      assert.deepEqual(reasons, [reason], name)
    }
    assert.equal(({} as Record<string, unknown>).admin, undefined)
    await assert.rejects(all.alice.receive(undefined, { timeoutMs: 1 }))
  })
}

test('N4: over the bus: what is not declared is left out', async (t) => {
  const { alice, intruder } = await scene(t)
  await intruder.publish(hall, message({ type: 'news', text: 'x', secret: 'y', ref: 1 }))
  assert.deepEqual(await alice.receive('news', { timeoutMs: patience }), { type: 'news', text: 'x' })
})

test("N4: over the bus: a node's own messages are not delivered twice", async (t) => {
  const all = await scene(t)
  const [own] = (await all.redis.ask('ZRANGE', 'wsg:n', '0', '-1')) as string[]
  await all.intruder.publish(hall, `${own}\nhouse\n${JSON.stringify({ type: 'news', text: 'echo' })}`)
  assert.equal(all.node.publish('hall', 'once'), 1)
  assert.equal(await news(all.alice), 'once')
  await answers(all.alice)
  await comesThrough(all)
  assert.deepEqual(all.node.log.filter('ws.bus_ignored'), [])
})

test('N4: a flood of forged news makes nobody do anything but read the log', async (t) => {
  const all = await scene(t)
  await Promise.all(
    Array.from({ length: 500 }, (_, at) => all.intruder.publish('wsg:o', at % 2 === 0 ? '' : '{"kind":"disconnect"}'))
  )
  await comesThrough(all)
  await answers(all.alice)
  assert.equal(all.alice.socket.readyState, 1)
  assert.equal(all.node.states.includes('down'), false)
})

const later = Date.now() + 600_000
/** As a node would have written it just now. */
const kept = (order: unknown, number = 0): string => `${number} ${Date.now()}.000 ${later}.000 ${JSON.stringify(order)}`
const garbageOrders = (): readonly string[] => [
  '',
  'garbage',
  `0 0 ${later} not JSON`,
  `x y z ${JSON.stringify({ kind: 'sub', value: 'alice', node: 'n' })}`,
  `NaN 0 ${later} ${JSON.stringify({ kind: 'sub', value: 'alice', node: 'n' })}`,
  `0 0 ${later} {"__proto__":{"kind":"disconnect"},"value":""}`,
  kept(null),
  kept([]),
  kept({ kind: 'everybody', value: 'alice', node: 'n' }),
  kept({ kind: '__proto__', value: 'alice', node: 'n' }),
  kept({ kind: 'sub', value: { toString: 1 }, node: 'n' }),
  kept({ kind: 'disconnect', value: '', node: 'n' }),
  kept({ kind: 'disconnect', value: '', node: 'n', query: null }),
  kept({ kind: 'disconnect', value: '', node: 'n', query: {} }),
  kept({ kind: 'disconnect', value: '', node: 'n', query: 'alice' }),
  kept({ kind: 'disconnect', value: '', node: 'n', query: { everybody: 'alice' } }),
  kept({ kind: 'disconnect', value: '', node: 'n', query: { sub: ['alice'] } }),
  kept({ kind: 'disconnect', value: '', node: 'n', query: { sub: 'alice' }, reason: { code: 1 } })
]

test('N4: garbage in the log of orders ends nobody and stops nothing', async (t) => {
  const { node, alice, intruder } = await scene(t)
  await node.app.wsGuard.revoke({ sub: 'somebody' })
  for (const [at, entry] of garbageOrders().entries()) {
    await intruder.hset('wsg:{o}:entries', `forged ${at}`, entry)
    await intruder.zadd('wsg:{o}:seq', await intruder.hincrby('wsg:{o}:meta', 'seq', 1), `forged ${at}`)
    await intruder.publish('wsg:o', '')
  }
  // An entry that is gone, as well.
  await intruder.zadd('wsg:{o}:seq', await intruder.hincrby('wsg:{o}:meta', 'seq', 1), 'nothing')
  await intruder.hset('wsg:{o}:entries', 'real', kept({ kind: 'block', value: 'mallory', node: 'n' }, later))
  await intruder.zadd('wsg:{o}:seq', await intruder.hincrby('wsg:{o}:meta', 'seq', 1), 'real')
  await intruder.publish('wsg:o', '')
  // What stands behind it is read.
  await soon(async () => {
    await using ws = await node.try('mallory')
    return ws.statusCode === 401
  })
  await answers(alice)
  assert.equal(alice.socket.readyState, 1)
  await node.admits()
  assert.equal(node.states.includes('down'), false)
})

const garbageTickets: readonly string[] = [
  '',
  'garbage',
  'null',
  '[]',
  '{"route":5}',
  '{"route":"/other","user":{"sub":"alice"},"identity":{"subject":"alice"}}',
  '{"route":"/ws","user":{"sub":"alice"},"identity":{"subject":"alice"},"__proto__":{}}'
]

test('N4: garbage in the place of a ticket lets nobody in', async (t) => {
  const { node, redis } = await scene(t)
  for (const garbage of garbageTickets) {
    const { ticket } = await node.ticketFor('alice')
    const [key] = (await redis.keys()).filter((name) => name.startsWith('wsg:t:'))
    await redis.ask('SET', String(key), garbage, 'KEEPTTL')
    assert.equal(await node.tryTicket(ticket), 401, garbage)
  }
  const { ticket } = await node.ticketFor('alice')
  assert.equal(await node.tryTicket(ticket), 101)
})

test('N4: two versions of a contract side by side: each node sends what its own declares', async (t) => {
  const { node, alice, redis } = await scene(t)
  const newer = defineContract({
    name: 'house',
    clientToServer: { join: { message: Type.Object({ topic: Type.String() }), reply: Type.Object({}) } },
    serverToClient: {
      news: Type.Object({ text: Type.String(), author: Type.Optional(Type.String()) }),
      gossip: Type.Object({ text: Type.String() })
    }
  })
  const store = redisStore(redis.client({ lazyConnect: true }) as unknown as RedisClient, quickStore)
  const app = await buildApp({ guard: { store } })
  t.after(() => app.close())
  app.wsRoute('/ws', {
    contract: newer,
    handlers: { join: async ({ topic }, connection) => ({ joined: await connection.subscribe(topic) }) }
  })
  await using bob = await injectWs(app, '/ws', { contract: newer, token: tokenFor(app, 'bob') })
  bob.send('join', { topic: 'hall' }, { ref: 1 })
  await bob.receive('reply', { timeoutMs: patience })

  const both = { text: 'new', author: 'bob' }
  app.wsGuard.publish(newer, 'hall', 'news', both)
  assert.deepEqual(await alice.receive('news', { timeoutMs: patience }), { type: 'news', text: 'new' })
  assert.deepEqual(await bob.receive('news', { timeoutMs: patience }), { type: 'news', ...both })
  app.wsGuard.publish(newer, 'hall', 'gossip', { text: 'psst' })
  await bob.receive('gossip', { timeoutMs: patience })
  await soon(() => node.log.filter('ws.bus_ignored').length > 0)
  assert.deepEqual(
    node.log.filter('ws.bus_ignored').map(({ reason }) => reason),
    ['type']
  )
  node.publish('hall', 'old')
  assert.deepEqual(await bob.receive('news', { timeoutMs: patience }), { type: 'news', text: 'old' })
  assert.equal(await news(alice), 'old')
  await hears(alice, node, 'hall')
})
