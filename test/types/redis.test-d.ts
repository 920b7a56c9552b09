/** Every client of ioredis is one for `redisStore`, without a cast: of both versions, whatever its options say. */

import Fastify from 'fastify'
import { Cluster, Redis } from 'ioredis'
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis-5'
import wsGuard, { type Store } from '../../lib/index.ts'
import { redisStore } from '../../lib/redis.ts'

const stores: Store[] = [
  redisStore(new Redis()),
  redisStore(new Redis({ protocol: 3, replyMapping: 'resp3' })),
  redisStore(new Redis({ sentinels: [{ host: '127.0.0.1', port: 26379 }], name: 'main' })),
  redisStore(new Cluster([{ host: '127.0.0.1', port: 7000 }]), { prefix: '{app}:', whenDown: 'local' }),
  redisStore(new Redis5(), { commandTimeoutMs: 100, leaseMs: 5_000, secret: 'at least sixteen characters' }),
  redisStore(new Cluster5([]))
]

Fastify().register(wsGuard, { origins: false, auth: false, store: stores[0] as Store })

// @ts-expect-error a URL is no client
redisStore('redis://127.0.0.1')
// @ts-expect-error there is no such way
redisStore(new Redis(), { whenDown: 'open' })
