/** One node of several: an app with the store on Redis, in a process of its own, that does what the test asks it to. */
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import { Redis } from 'ioredis'
import { defineContract } from '../../lib/index.ts'
import { type RedisStoreOptions, redisStore } from '../../lib/redis.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { answer } from '../load/answer.ts'
import { buildApp } from '../support/app.ts'

export const nodeContract = defineContract({
  name: 'nodes',
  clientToServer: {
    hit: Type.Object({}),
    join: {
      message: Type.Object({ topic: Type.String() }),
      /** What there was in Redis once the subscription was live. */
      reply: Type.Object({ snapshot: Type.Integer() })
    }
  },
  serverToClient: {
    news: Type.Object({ topic: Type.String(), from: Type.Integer(), n: Type.Integer(), text: Type.String() })
  }
})

export interface NodeOptions {
  readonly redisPort: number
  readonly store: RedisStoreOptions
  readonly limits: NonNullable<WsGuardOptions['limits']>
}

export interface Publication {
  readonly topics: readonly string[]
  readonly from: number
  /** The first number; one message to each topic for each number. */
  readonly first: number
  readonly count: number
  readonly textLength: number
}

const streamStepMs = 5

let app: FastifyInstance | undefined
let redis: Redis | undefined
/** When a handler ran, by user; on a clock that the processes of a machine share. */
let hits = new Map<string, number[]>()
let isStreaming = false
let streamed: Promise<number> = Promise.resolve(0)

function running(): FastifyInstance {
  if (app === undefined) throw new Error('not started')
  return app
}

/** @returns its port */
async function start({ redisPort, store, limits }: NodeOptions): Promise<number> {
  await stop()
  redis = new Redis({ host: '127.0.0.1', port: redisPort })
  redis.on('error', () => {})
  const made = await buildApp({ guard: { store: redisStore(redis, store), limits } })
  app = made
  made.wsRoute('/ws', {
    contract: nodeContract,
    handlers: {
      hit: (_message, { user }) => {
        const { sub } = user as { sub: string }
        const times = hits.get(sub) ?? []
        hits.set(sub, times)
        times.push(performance.timeOrigin + performance.now())
      },
      join: async ({ topic }, connection) => {
        if (!(await connection.subscribe(topic))) throw new Error('no subscription')
        return { snapshot: Number((await redis?.get(`state:${topic}`)) ?? 0) }
      }
    }
  })
  await made.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 })
  return (made.server.address() as AddressInfo).port
}

async function stop(): Promise<void> {
  isStreaming = false
  await streamed.catch(() => {})
  await app?.close()
  redis?.disconnect()
  app = undefined
  hits = new Map()
}

/** One after the other, without waiting for anything. */
function publish({ topics, from, first, count, textLength }: Publication): void {
  const text = 'x'.repeat(textLength)
  for (let n = first; n < first + count; n++) {
    for (const topic of topics) running().wsGuard.publish(nodeContract, topic, 'news', { topic, from, n, text })
  }
}

/** As an app does it: what there is now is written first, and then told. Until `endStream`. */
async function stream(topics: readonly string[]): Promise<number> {
  let n = 0
  while (isStreaming) {
    n++
    await Promise.all(topics.map((topic) => redis?.set(`state:${topic}`, n)))
    publish({ topics, from: 0, first: n, count: 1, textLength: 0 })
    await delay(streamStepMs)
  }
  return n
}

function startStream({ topics }: { topics: readonly string[] }): void {
  isStreaming = true
  streamed = stream(topics)
}

/** @returns the last number */
function endStream(): Promise<number> {
  isStreaming = false
  return streamed
}

answer({
  start,
  stop,
  publish,
  startStream,
  endStream,
  connections: () => running().wsGuard.connections,
  stats: () => running().wsGuard.stats(),
  hits: ({ sub }: { sub: string }) => hits.get(sub) ?? [],
  revoke: (query: object) => running().wsGuard.revoke(query),
  disconnect: (query: object) => running().wsGuard.disconnect(query),
  block: ({ sub }: { sub: string }) => running().wsGuard.block({ sub }, { untilMs: Date.now() + 3_600_000 }),
  unblock: ({ sub }: { sub: string }) => running().wsGuard.unblock({ sub })
})
