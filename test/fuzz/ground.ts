/** What the campaigns with real sockets share: an app that listens, a bystander on it, and the look at what is left. */
import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import jwt from '@fastify/jwt'
import Fastify, { type FastifyInstance } from 'fastify'
import wsGuard from '../../lib/index.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { echo } from '../support/app.ts'
import type { HandshakeOptions } from '../support/http-message.ts'
import { connect, type RawClient } from '../support/raw-client.ts'
import { connectionsOf, eventually } from '../support/wait.ts'

/** A machine may be slow; nothing here is about speed. */
export const patienceMs = 10_000

/** A client keeps every frame: one of its kind answers so often, then another. */
const askedOfOne = 500

/** So high that no campaign meets them. */
export const unlimited = {
  attempts: { max: 2 ** 31 - 1 },
  connections: { perIp: 100_000, perUser: 100_000 },
  messages: { perSecond: 1_000_000, burst: 1_000_000 },
  bytes: { perSecond: 2 ** 31 - 1, burst: 2 ** 31 - 1 }
}

export interface Grounds {
  readonly app: FastifyInstance
  readonly port: number
  /** The bystander still gets its answer. */
  readonly bystanderAnswers: () => Promise<void>
  /** Nothing is left but the bystander. */
  readonly assertIdle: () => Promise<void>
  /** Closes the app; nothing at all is left. */
  readonly end: () => Promise<void>
}

/** An app with routes of its own; `/bystander` is there already. */
export async function listen(declare: (app: FastifyInstance) => void, guard: WsGuardOptions = {}): Promise<Grounds> {
  const app = Fastify() as unknown as FastifyInstance
  await app.register(jwt, { secret: 'a secret of more than 32 bytes, for tests only' })
  await app.register(wsGuard, { origins: false, auth: false, limits: unlimited, ...guard })
  app.wsRoute('/bystander', {
    origins: false,
    auth: false,
    contract: { ...echo, name: 'bystander' },
    handlers: { say: () => {}, ask: ({ count }) => ({ items: [String(count)] }) }
  })
  declare(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  let bystander = await open(port, '/bystander')
  let asked = 0
  return {
    app,
    port,
    bystanderAnswers: async () => {
      const count = ++asked % 100
      await bystander.sendJson({ type: 'ask', count, ref: asked })
      const { data } = await bystander.nextJson<{ data: unknown }>({ timeoutMs: patienceMs })
      assert.deepEqual(data, { items: [String(count)] }, 'the bystander gets its answer')
      if (asked % askedOfOne !== 0) return
      bystander.destroy()
      bystander = await open(port, '/bystander')
    },
    assertIdle: () => assertHeld(app, 1),
    end: async () => {
      bystander.destroy()
      await assertHeld(app, 0)
      await app.close()
      assert.equal(await connectionsOf(app.server), 0)
    }
  }
}

/** An open connection. */
export async function open(port: number, path: string, options: HandshakeOptions = {}): Promise<RawClient> {
  const client = await connect(port)
  const answer = await client.handshake({ path, ...options, timeoutMs: patienceMs })
  assert.equal(answer.statusCode, 101, answer.body)
  return client
}

/** What is kept on purpose, for a time. */
const kept = /^store\.(attempts|punished|revocations|blocks|userBudgets)$/
/** One entry for each connection; all come from one address. */
const perConnection = new Set(['connections', 'ids', 'slots'])
const perAddress = new Set(['ips', 'store.slots'])

async function assertHeld(app: FastifyInstance, count: number): Promise<void> {
  await eventually(
    async () => {
      const stats = app.wsGuard.stats()
      for (const [name, size] of Object.entries(stats)) {
        if (kept.test(name)) continue
        const expected = perConnection.has(name) ? count : perAddress.has(name) ? Math.min(count, 1) : 0
        assert.equal(size, expected, `${name} of ${JSON.stringify(stats)}`)
      }
      assert.equal(await connectionsOf(app.server), count, 'sockets')
    },
    { timeoutMs: patienceMs }
  )
}
