/** Several nodes on one Redis, each in a process of its own, and clients of theirs in this one. */
import { after, type TestContext } from 'node:test'
import type { RedisStoreOptions } from '../../lib/redis.ts'
import { Child } from '../load/child.ts'
import { RedisServer } from '../support/redis.ts'
import { eventually } from '../support/wait.ts'
import { Client, type ClientOptions } from './node-client.ts'
import type { NodeOptions } from './node-process.ts'

export const isFull: boolean = process.env.LOAD === 'full'

/** A machine may be busy with something else: what is asked of Redis has patience, where a test does not say otherwise. */
const patientStore: RedisStoreOptions = { commandTimeoutMs: 5_000, leaseMs: 60_000 }
/** All clients have one address. */
const open = 1_000_000
const openLimits = { attempts: { max: open }, connections: { total: open, perIp: open, perUser: open } }
const pollMs = 20

const nodeFile = '../redis/node-process.ts'
const clientsFile = '../redis/topic-clients.ts'
/** Processes that have nothing to do, by file: starting one takes longer than many a test. */
const idle = new Map<string, Child[]>([
  [nodeFile, []],
  [clientsFile, []]
])
after(() => Promise.all([...idle.values()].flatMap((children) => children.splice(0).map((child) => child.kill()))))

async function take(file: string): Promise<Child> {
  return idle.get(file)?.pop() ?? (await Child.start(file))
}

/** Back to the others, once it has let go of everything; or killed. */
async function giveBack(file: string, child: Child, letGo: string): Promise<void> {
  try {
    await child.ask(letGo)
    idle.get(file)?.push(child)
  } catch {
    await child.kill()
  }
}

export interface NodesOptions {
  readonly store?: RedisStoreOptions
  readonly limits?: NodeOptions['limits']
  /** The port that a node reaches Redis by, by its index; default that of the server. */
  readonly redisPort?: (index: number) => Promise<number> | undefined
}

export class Node {
  readonly child: Child
  port = 0

  constructor(child: Child) {
    this.child = child
  }

  ask<T = void>(question: string, given: object = {}): Promise<T> {
    return this.child.ask<T>(question, given)
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.child.pid, signal)
  }
}

/** What a test has started: it ends with the test, clients first and Redis last. */
export class Nodes {
  readonly redis: RedisServer
  readonly all: Node[] = []
  readonly #options: NodesOptions
  readonly #clients = new Set<Client>()
  readonly #crowds: Child[] = []

  private constructor(redis: RedisServer, options: NodesOptions) {
    this.redis = redis
    this.#options = options
  }

  static async start(
    t: TestContext,
    count: number,
    options: NodesOptions | ((redis: RedisServer) => NodesOptions)
  ): Promise<Nodes> {
    const redis = await RedisServer.start()
    const nodes = new Nodes(redis, typeof options === 'function' ? options(redis) : options)
    t.after(() => nodes.#end())
    // One after the other: each has a deadline, and the machine may be a small one.
    while (nodes.all.length < count) await nodes.add()
    return nodes
  }

  /** One more. */
  async add(): Promise<Node> {
    const index = this.all.length
    const { store, limits, redisPort } = this.#options
    const child = await take(nodeFile)
    const given: NodeOptions = {
      redisPort: (await redisPort?.(index)) ?? this.redis.port,
      store: { ...patientStore, ...store },
      limits: { ...openLimits, ...limits, connections: { ...openLimits.connections, ...limits?.connections } }
    }
    const node = new Node(child)
    this.all.push(node)
    node.port = await child.ask<number>('start', given)
    return node
  }

  /** A process of subscribers. */
  async crowd(): Promise<Child> {
    const child = await take(clientsFile)
    this.#crowds.push(child)
    return child
  }

  at(index: number): Node {
    return this.all[index % this.all.length] as Node
  }

  /** @throws Error with the status line of a refusal */
  async open(node: Node, options: ClientOptions): Promise<Client> {
    const client = await Client.open(node.port, options)
    this.#clients.add(client)
    void client.closed.then(() => this.#clients.delete(client))
    return client
  }

  /** @returns undefined when it was refused with this status, and with no other */
  async tryOpen(node: Node, options: ClientOptions, refusal = 429): Promise<Client | undefined> {
    try {
      return await this.open(node, options)
    } catch (error) {
      if ((error as Error).message.startsWith(`HTTP/1.1 ${refusal} `)) return undefined
      throw error
    }
  }

  ask<T>(question: string, given: object = {}): Promise<T[]> {
    return Promise.all(this.all.map((node) => node.ask<T>(question, given)))
  }

  async #end(): Promise<void> {
    for (const client of this.#clients) client.destroy()
    for (const clients of this.#crowds) await giveBack(clientsFile, clients, 'leave')
    await Promise.all(this.all.map(({ child }) => giveBack(nodeFile, child, 'stop')))
    await this.redis.stop()
  }
}

/** Asks again, from time to time: processes that are asked all the time have no time for anything else. */
export function soon<T>(assertion: () => Promise<T>, timeoutMs: number = 10_000): Promise<T> {
  return eventually(assertion, { timeoutMs, everyMs: pollMs })
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number
}

/** What scripts run within Redis, which counts it like what clients send; and the question itself. */
const notSent: readonly string[] = (
  'time incr pttl pexpire hdel hgetall hset hmget hget hincrby zadd zrem zscore zcard zrange zrangebyscore ' +
  'zremrangebyscore info'
).split(' ')

/** Commands that the nodes have sent, by name. */
export async function sentCommands(redis: RedisServer): Promise<Record<string, number>> {
  const sent: Record<string, number> = {}
  for (const [key, text] of Object.entries(await redis.info('commandstats'))) {
    const name = /^cmdstat_(.*)$/.exec(key)?.[1]
    if (name !== undefined && !notSent.includes(name)) sent[name] = Number(/calls=(\d+)/.exec(text)?.[1])
  }
  return sent
}

/** Scripts that the nodes have run: that many round trips. */
export async function scriptsRun(redis: RedisServer): Promise<number> {
  const { evalsha = 0, eval: whole = 0 } = await sentCommands(redis)
  return evalsha + whole
}
