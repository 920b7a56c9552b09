/** The store of tests that are not about one: memory, or with an environment variable a Redis server. */
import { randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { Store } from '../../lib/limits/store.ts'
import { eventually } from './wait.ts'

/** The port of a Redis server on this machine. */
export const redisPortVariable = 'TEST_STORE_REDIS_PORT'

/** A machine that is slow is not Redis that is down. */
const patience = { commandTimeoutMs: 10_000, leaseMs: 30_000 }

/** Undefined without the variable: an app is then given no store at all. */
export const storeOnRedis: (() => Store) | undefined = await creator(process.env[redisPortVariable])

/** A new one, in use by nobody else: an app opens and closes it. */
export function defaultStore(): Store {
  return storeOnRedis?.() ?? new MemoryStore()
}

async function creator(port: string | undefined): Promise<(() => Store) | undefined> {
  if (port === undefined) return undefined
  const [ioredis, { redisStore }] = await Promise.all([import('ioredis'), import('../../lib/redis.ts')])
  // Never connected itself: the store does what it does on connections of its own.
  const client: Redis = new ioredis.Redis({ host: '127.0.0.1', port: Number(port), lazyConnect: true })
  return () => openPatiently(redisStore(client, { prefix: `${randomUUID()}:`, ...patience }))
}

/** An app boots without Redis when that takes its time; a test that begins then sees only refusals. */
function openPatiently(store: Store): Store {
  const open = store.open.bind(store)
  store.open = async (listener) => {
    await open(listener)
    await eventually(() => store.takeTicket('nobody has one'), { timeoutMs: patience.commandTimeoutMs })
  }
  return store
}
