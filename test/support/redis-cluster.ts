/** A Redis Cluster for tests. */
import type { TestContext } from 'node:test'
import { Cluster } from 'ioredis'
import { poll } from './redis-ask.ts'
import { Clients, fieldsOf, RedisServer } from './redis-server.ts'

/** A node waits two seconds before it finds a cluster complete, and hears of the others by gossip. */
const settledMs = 30_000
const slotCount = 16_384

/** Replies keep the shape that they have by default. */
export type ClusterClientOptions = NonNullable<ConstructorParameters<typeof Cluster<'legacy'>>[1]>

/** Three masters that share the slots. */
export class RedisCluster {
  readonly nodes: readonly RedisServer[]
  readonly #clients = new Clients()

  private constructor(nodes: readonly RedisServer[]) {
    this.nodes = nodes
  }

  /** Resolves when every node finds the cluster complete. */
  static async startFor(t: TestContext): Promise<RedisCluster> {
    const args = ['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf', '--cluster-node-timeout', '2000']
    const nodes: RedisServer[] = []
    for (let index = 0; index < 3; index++) nodes.push(await RedisServer.startFor(t, { args }))
    const cluster = new RedisCluster(nodes)
    t.after(() => cluster.#clients.disconnect())
    await cluster.#join()
    return cluster
  }

  client(options: ClusterClientOptions = {}): Cluster {
    const nodes = this.nodes.map(({ port }) => ({ host: '127.0.0.1', port }))
    return this.#clients.add(new Cluster(nodes, options))
  }

  /** All keys of all nodes, in order. */
  async keys(): Promise<string[]> {
    const keys = await Promise.all(this.nodes.map((node) => node.keys()))
    return keys.flat().sort()
  }

  async #join(): Promise<void> {
    const share = slotCount / this.nodes.length
    for (const [index, node] of this.nodes.entries()) {
      const [first, last] = [Math.ceil(share * index), Math.ceil(share * (index + 1)) - 1]
      await node.ask('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1))
      await node.ask('CLUSTER', 'ADDSLOTSRANGE', String(first), String(last))
      await node.ask('CLUSTER', 'MEET', '127.0.0.1', String(this.nodes[0]?.port))
    }
    await poll('the cluster being complete', settledMs, async () => {
      const states = this.nodes.map(async (node) => {
        const state = fieldsOf(await node.ask('CLUSTER', 'INFO'))
        return state.cluster_state === 'ok' && state.cluster_known_nodes === String(this.nodes.length)
      })
      return (await Promise.all(states)).every(Boolean)
    })
  }
}
