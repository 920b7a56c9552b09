/** Redis under sentinels, for tests of a failover. */
import type { TestContext } from 'node:test'
import { Redis } from 'ioredis'
import { poll } from './redis-ask.ts'
import { type ClientOptions, Clients, RedisServer } from './redis-server.ts'

/** Sentinels announce themselves to each other only every two seconds, and an election may be held twice. */
const settledMs = 30_000

export interface SentinelsOptions {
  /** How many sentinels; default 3. One alone settles sooner. */
  readonly count?: number
}

export interface Address {
  readonly host: string
  readonly port: number
}

/** A master and a replica under sentinels, which make the replica the master half a second after the master fell silent. */
export class RedisSentinels {
  readonly name = 'group'
  /** The one that was the master at the start. */
  readonly master: RedisServer
  /** The one that was the replica at the start. */
  readonly replica: RedisServer
  readonly sentinelServers: readonly RedisServer[]
  readonly #clients = new Clients()

  private constructor(master: RedisServer, replica: RedisServer, sentinelServers: readonly RedisServer[]) {
    this.master = master
    this.replica = replica
    this.sentinelServers = sentinelServers
  }

  /** Resolves when the sentinels know each other and the replica, so that a failover can begin. */
  static async startFor(t: TestContext, { count = 3 }: SentinelsOptions = {}): Promise<RedisSentinels> {
    const master = await RedisServer.startFor(t, { args: ['--repl-diskless-sync-delay', '0'] })
    const replica = await RedisServer.startFor(t, {
      args: ['--repl-diskless-sync-delay', '0', '--replicaof', '127.0.0.1', String(master.port)]
    })
    await poll('the replica being in sync', settledMs, async () => {
      return (await replica.info('replication')).master_link_status === 'up'
    })
    const config = sentinelConfig('group', master.port, Math.floor(count / 2) + 1)
    const sentinels: RedisServer[] = []
    for (let index = 0; index < count; index++) {
      sentinels.push(await RedisServer.startFor(t, { config, args: ['--sentinel'] }))
    }
    const group = new RedisSentinels(master, replica, sentinels)
    t.after(() => group.#clients.disconnect())
    await poll('the sentinels knowing each other', settledMs, () => group.#isSettled())
    return group
  }

  get sentinels(): Address[] {
    return this.sentinelServers.map(({ port }) => ({ host: '127.0.0.1', port }))
  }

  client(options: ClientOptions = {}): Redis {
    return this.#clients.add(new Redis({ sentinels: this.sentinels, name: this.name, ...options }))
  }

  /** The port of the master, as each running sentinel sees it. */
  async masterPorts(): Promise<number[]> {
    return Promise.all(
      this.sentinelServers.map(async (sentinel) => {
        const address = await sentinel.ask('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.name)
        return Number((address as string[])[1])
      })
    )
  }

  /** Resolves when all sentinels name another master than at the start, and it says so itself; its server. */
  async failedOver(): Promise<RedisServer> {
    await poll('the failover', settledMs, async () => {
      const ports = await this.masterPorts()
      if (ports.some((port) => port !== this.replica.port)) return false
      return (await this.replica.info('replication')).role === 'master'
    })
    return this.replica
  }

  async #isSettled(): Promise<boolean> {
    const states = this.sentinelServers.map(async (sentinel) => {
      const pairs = (await sentinel.ask('SENTINEL', 'MASTER', this.name)) as string[]
      const fieldOf = (field: string): string | undefined => pairs[pairs.indexOf(field) + 1]
      const others = String(this.sentinelServers.length - 1)
      return fieldOf('flags') === 'master' && fieldOf('num-slaves') === '1' && fieldOf('num-other-sentinels') === others
    })
    return (await Promise.all(states)).every(Boolean)
  }
}

function sentinelConfig(name: string, masterPort: number, quorum: number): string {
  return `sentinel monitor ${name} 127.0.0.1 ${masterPort} ${quorum}
sentinel down-after-milliseconds ${name} 500
sentinel failover-timeout ${name} 2000
sentinel parallel-syncs ${name} 1
`
}
