/** Apps in this process that share a Redis: nodes of one service, with a route of every kind. */
import type { TestContext } from 'node:test'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { WsConnection } from '../../lib/index.ts'
import { defineContract } from '../../lib/index.ts'
import type { RedisClient } from '../../lib/redis/link.ts'
import { type RedisStoreOptions, redisStore } from '../../lib/redis.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { injectWs, type TestSocket } from '../../lib/testing.ts'
import { buildApp, tokenFor } from '../support/app.ts'
import { captureLogs, type LogCapture } from '../support/log-capture.ts'
import { until } from '../support/wait.ts'

export const house = defineContract({
  name: 'house',
  clientToServer: {
    ask: { message: Type.Object({}), reply: Type.Object({}) },
    join: { message: Type.Object({ topic: Type.String() }), reply: Type.Object({ result: Type.String() }) },
    shout: {
      message: Type.Object({ topic: Type.String(), text: Type.String() }),
      reply: Type.Object({ reached: Type.Integer() })
    }
  },
  serverToClient: { news: Type.Object({ text: Type.String({ maxLength: 1_000 }) }) }
})

/** A topic of one is none of the other. */
const garden = defineContract({
  name: 'garden',
  clientToServer: { ask: { message: Type.Object({}), reply: Type.Object({}) } },
  serverToClient: { news: Type.Object({ text: Type.String() }) }
})

export type Socket = TestSocket<typeof house>

/** A machine may be busy with something else. */
export const patience = 15_000
const pollMs = 15

export interface NodeOptions {
  readonly store?: RedisStoreOptions
  readonly guard?: Omit<WsGuardOptions, 'store'>
  /** What `onOpen` of `/slow` waits for before it subscribes. */
  readonly gate?: Promise<unknown>
}

/** Short, so that a fault is noticed and over soon. */
export const quickStore: RedisStoreOptions = { commandTimeoutMs: 200, leaseMs: 600 }

/** What a user of Redis must be allowed, as the README has it. */
export const rights: readonly string[] = (
  '~wsg:* &wsg:* +evalsha +eval +info +publish +subscribe +unsubscribe ' +
  '+time +get +set +del +incr +pttl +pexpire ' +
  '+hset +hget +hdel +hmget +hgetall +hincrby ' +
  '+zadd +zrem +zcard +zscore +zrange +zrangebyscore +zremrangebyscore'
).split(' ')

/** One app with a store of its own. */
export class TestNode {
  readonly app: FastifyInstance
  readonly log: LogCapture
  #joins = 0

  private constructor(app: FastifyInstance, log: LogCapture) {
    this.app = app
    this.log = log
  }

  static async start(t: TestContext, client: unknown, options: NodeOptions = {}): Promise<TestNode> {
    const log = captureLogs('info')
    const store = redisStore(client as RedisClient, { ...quickStore, ...options.store })
    const app = await buildApp({
      server: { logger: log.logger },
      guard: { ...options.guard, limits: { attempts: { max: 100_000 }, ...options.guard?.limits }, store }
    })
    t.after(() => app.close())
    addRoutes(app, options.gate ?? Promise.resolve())
    await app.ready()
    return new TestNode(app, log)
  }

  /** A handshake, however it ends. */
  try(sub = 'alice', { path = '/ws', claims = {}, ip = '203.0.113.7' } = {}): Promise<Socket> {
    return this.tryToken(tokenFor(this.app, sub, claims), path, ip)
  }

  tryToken(token: string, path = '/ws', ip = '203.0.113.7'): Promise<Socket> {
    return injectWs(this.app, path, { contract: house, token, remoteAddress: ip, timeoutMs: patience })
  }

  async tryTicket(ticket: string): Promise<number> {
    await using ws = await injectWs(this.app, `/ws?ticket=${ticket}`, { timeoutMs: patience })
    return ws.statusCode
  }

  ticketFor(sub: string): Promise<{ readonly ticket: string }> {
    return this.app.wsGuard.issueTicket({ user: { sub }, route: '/ws' })
  }

  /** A connection that is open. On a busy machine Redis may not have answered in time. */
  async open(sub = 'alice', options: Parameters<TestNode['try']>[1] = {}): Promise<Socket> {
    let ws = await this.try(sub, options)
    for (let again = 0; ws.statusCode === 503 && again < 3; again++) {
      await this.admits()
      ws = await this.try(sub, options)
    }
    if (ws.statusCode !== 101) throw new Error(`refused with ${ws.statusCode} ${ws.body}`)
    return ws
  }

  async join(ws: Socket, topic: string): Promise<string> {
    const ref = `join ${this.#joins++}`
    ws.send('join', { topic }, { ref })
    return ((await ws.receive('reply', { timeoutMs: patience })).data as { result: string }).result
  }

  publish(topic: string, text: string): number {
    return this.app.wsGuard.publish(house, topic, 'news', { text })
  }

  stat(name: string): number {
    return this.app.wsGuard.stats()[name] ?? Number.NaN
  }

  /** `down` and `up`, as they were said since the log was cleared. */
  get states(): unknown[] {
    return this.log.filter('ws.store').map(({ reason }) => reason)
  }

  /** Whether a handshake is admitted again. */
  async admits(): Promise<void> {
    await soon(async () => {
      await using ws = await this.try('somebody', { ip: '198.51.100.200' })
      return ws.statusCode === 101
    })
  }
}

function addRoutes(app: FastifyInstance, gate: Promise<unknown>): void {
  const handlers = {
    ask: () => ({}),
    join: async ({ topic }: { topic: string }, connection: WsConnection<typeof house>) => {
      try {
        return { result: String(await connection.subscribe(topic)) }
      } catch (error) {
        return { result: String((error as { code?: unknown }).code) }
      }
    },
    shout: ({ topic, text }: { topic: string; text: string }) => ({
      reached: app.wsGuard.publish(house, topic, 'news', { text })
    })
  }
  const auth = { from: ['header', 'ticket'] } as const
  app.wsRoute('/ws', { contract: house, auth, handlers })
  app.wsRoute('/garden', { contract: garden, handlers: { ask: () => ({}) } })
  const onOpen = async (connection: WsConnection<typeof house>, _request: FastifyRequest): Promise<void> => {
    await gate
    await connection.subscribe('slow')
  }
  app.wsRoute('/slow', { contract: house, auth, handlers, onOpen })
}

/** A reply: what was sent before has been dealt with. */
export async function answers(ws: Socket): Promise<void> {
  ws.send('ask', {}, { ref: 'answers' })
  await ws.receive('reply', { timeoutMs: patience })
}

/** The text of the next message of a topic. */
export async function news(ws: Socket): Promise<string> {
  return (await ws.receive('news', { timeoutMs: patience })).text
}

/** Asks again, from time to time: what is asked all the time keeps this process from everything else. */
export async function soon(probe: () => Promise<unknown> | unknown, timeoutMs: number = patience): Promise<void> {
  await until(probe, { timeoutMs, everyMs: pollMs, what: probe.toString() })
}

/** Published until it has arrived: that a subscription is restored is told by nothing else. */
export async function hears(ws: Socket, from: TestNode, topic: string): Promise<void> {
  const heard = ws.receive('news', { timeoutMs: patience })
  let isHeard = false
  void heard.then(
    () => {
      isHeard = true
    },
    () => {}
  )
  await soon(() => {
    if (!isHeard) from.publish(topic, 'is anybody there?')
    return isHeard
  })
  await heard
}
