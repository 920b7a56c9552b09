/** What the nodes of one chat share, all of it on one Redis. Loaded only with REDIS_URL. */
import { createHmac } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import type { Store } from '../lib/index.ts'
import { redisStore } from '../lib/redis.ts' // in your app: 'fastify-ws-guard/redis'
import type { Refusals } from './demo.ts'
import { RedisRooms } from './redis-rooms.ts'
import type { Rooms } from './rooms.ts'

export interface Shared {
  /** Limits, revocations, topics: what the guard shares. */
  store: Store
  /** History and presence: what the chat shares. */
  rooms: Rooms
  refusals: Refusals
}

/** Later than that Redis is away, and what needs it fails. Generous, for a laptop on which everything runs at once. */
const answerMs = 1_000

/** `secret` is the one of the tokens, the same on all nodes. */
export function openRedis(app: FastifyInstance, url: string, secret: string): Shared {
  const redis = new Redis(url, {
    commandTimeout: answerMs,
    maxRetriesPerRequest: 1,
    autoResendUnfulfilledCommands: false
  })
  redis.on('error', () => {}) // the guard logs, once, that Redis is away: ws.store
  const rooms = new RedisRooms(redis)
  app.addHook('onClose', async () => {
    rooms.close()
    redis.disconnect()
  })

  const hash = (text: string) => createHmac('sha256', secret).update(text).digest('base64url')
  const store = redisStore(redis, { secret: hash('names of keys'), commandTimeoutMs: answerMs })
  return { store, rooms, refusals: refusalsOn(redis, hash) }
}

function refusalsOn(redis: Redis, hash: (text: string) => string): Refusals {
  const keyOf = (ip: string) => `chat:refused:${hash(ip)}`
  return {
    remember: (ip, refused) => redis.set(keyOf(ip), JSON.stringify(refused), 'EX', 60).catch(() => {}),
    last: async (ip) => JSON.parse((await redis.get(keyOf(ip))) ?? 'null')
  }
}
