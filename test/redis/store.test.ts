/** The store on Redis does what every store does: over both versions of ioredis, and over a Cluster. */
import { randomUUID } from 'node:crypto'
import { after, before, suite, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { Cluster, Redis } from 'ioredis'
import { Redis as Redis5 } from 'ioredis-5'
import { redisStore } from '../../lib/redis.ts'
import { type CreateStore, testStore } from '../limits/store-suite.ts'
import { skipWithout } from '../proxies/processes.ts'
import { RedisCluster, RedisServer } from '../support/redis.ts'

/** A machine that is slow is not Redis that is down. */
const commandTimeoutMs = 10_000
const leaseMs = 30_000
/** Beyond what a timer may fire early, and what Redis rounds. */
const roundingMs = 20
const timing = { spanMs: 3_000, slackMs: 1_400 }

/** A store with names of its own. */
function storesOf(client: () => Parameters<typeof redisStore>[0]): CreateStore {
  return () => ({
    store: redisStore(client(), { prefix: `${randomUUID()}:`, commandTimeoutMs, leaseMs }),
    advance: async (ms) => void (await pause(ms + roundingMs)),
    wall: Date.now
  })
}

suite('on real servers', { skip: skipWithout('redis-server') }, () => {
  const stops: Array<() => unknown> = []
  /** What is started for all tests of this file is stopped after them. */
  const context = { after: (stop: () => unknown) => void stops.push(stop) } as unknown as TestContext
  after(async () => {
    for (const stop of stops.reverse()) await stop()
  })

  suite('one server', () => {
    let client: Redis
    let client5: Redis5
    before(async () => {
      const server = await RedisServer.startFor(context)
      client = server.client({ lazyConnect: true })
      client5 = new Redis5({ host: '127.0.0.1', port: server.port, lazyConnect: true })
      context.after(() => client5.disconnect())
    })
    testStore(
      'redisStore, ioredis 6',
      storesOf(() => client),
      timing
    )
    testStore(
      'redisStore, ioredis 5',
      storesOf(() => client5),
      timing
    )
  })

  suite('a Cluster', () => {
    let client: Cluster
    before(async () => {
      const cluster = await RedisCluster.startFor(context)
      client = cluster.client({ lazyConnect: true })
    })
    testStore(
      'redisStore, Cluster',
      storesOf(() => client),
      timing
    )
  })
})
