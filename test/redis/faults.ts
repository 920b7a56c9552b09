/** What happens to Redis, and to the way there. */
import type { TestContext } from 'node:test'
import type { Redis } from 'ioredis'
import { RedisServer } from '../support/redis.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'

/** Longer than any command may take in these tests. */
const slowMs = 400

export class Place {
  readonly redis: RedisServer
  readonly proxy: TcpProxy

  private constructor(redis: RedisServer, proxy: TcpProxy) {
    this.redis = redis
    this.proxy = proxy
  }

  static async make(t: TestContext): Promise<Place> {
    const redis = await RedisServer.startFor(t)
    return new Place(redis, await TcpProxy.startFor(t, redis.port))
  }

  /** By the proxy, as the node that has the trouble. */
  client(): Redis {
    return this.redis.client({ port: this.proxy.port, lazyConnect: true })
  }

  /** Past the proxy. */
  directClient(): Redis {
    return this.redis.client({ lazyConnect: true })
  }
}

export interface Fault {
  readonly name: string
  /** Commands that were sent are carried out after all, once it is over. */
  readonly begin: (place: Place) => Promise<void> | void
  readonly end: (place: Place) => Promise<void> | void
}

export const faults: readonly Fault[] = [
  { name: 'is stopped', begin: ({ redis }) => redis.freeze(), end: ({ redis }) => redis.thaw() },
  { name: 'is killed', begin: ({ redis }) => redis.kill(), end: ({ redis }) => redis.restart() },
  { name: 'cannot be reached', begin: ({ proxy }) => proxy.cut(), end: ({ proxy }) => proxy.mend() },
  { name: 'is silent', begin: ({ proxy }) => proxy.freeze(), end: ({ proxy }) => proxy.thaw() },
  {
    name: 'is slow',
    begin: ({ proxy }) => {
      proxy.latencyMs = slowMs
    },
    end: ({ proxy }) => {
      proxy.latencyMs = 0
    }
  }
]
