/** `refuse: 'close'`, byte by byte: what a refused client sees, and for how long it is there at all. */
import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import type { GuardedSocket } from '../../lib/connection/guarded-socket.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { origin, tokenFor } from '../support/app.ts'
import { closeFrame, closeOf, frame, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { within } from '../support/wait.ts'
import {
  assertNoSockets,
  assertNothingHeld,
  type ClosingApp,
  closing,
  failingStore,
  listen,
  rawClient
} from './harness.ts'

interface Refusing extends ClosingApp {
  readonly port: number
}

async function refusing(t: TestContext, options?: object, guard?: WsGuardOptions): Promise<Refusing> {
  const all = await closing(t, options, guard)
  return { ...all, port: await listen(all.app) }
}

type Headers = Readonly<Record<string, string>>

interface Case {
  readonly route?: object
  readonly guard?: WsGuardOptions
  readonly path?: string
  readonly headers?: (app: FastifyInstance) => Headers
  /** Somebody is in already. */
  readonly isSecond?: boolean
  readonly close: { readonly code: number; readonly reason: string }
}

const good = (app: FastifyInstance): Headers => ({ Authorization: `Bearer ${tokenFor(app)}` })
const fails = (error: unknown) => async (): Promise<never> => Promise.reject(error)

const cases: Readonly<Record<string, Case>> = {
  '400 two credentials': {
    headers: (app) => ({ ...good(app), 'Sec-WebSocket-Protocol': 'ws-guard.v1, bearer.x' }),
    close: { code: 1008, reason: 'bad_request' }
  },
  '400 parameters': {
    route: { schema: { querystring: Type.Object({ n: Type.Integer() }) } },
    path: '/ws?n=x',
    headers: good,
    close: { code: 1008, reason: 'bad_request' }
  },
  '401 no credential': { close: { code: 4001, reason: 'unauthorized' } },
  '401 a bad one': { headers: () => ({ Authorization: 'Bearer x' }), close: { code: 4001, reason: 'unauthorized' } },
  '403 a foreign page': {
    headers: () => ({ Origin: 'https://evil.example' }),
    close: { code: 4003, reason: 'forbidden' }
  },
  '403 no TLS': { guard: { requireTls: true }, headers: good, close: { code: 4003, reason: 'forbidden' } },
  '403 authorize': { route: { authorize: () => false }, headers: good, close: { code: 4003, reason: 'forbidden' } },
  '429 attempts': {
    guard: { limits: { attempts: { max: 1 } } },
    isSecond: true,
    headers: good,
    close: { code: 1013, reason: 'too_many_requests' }
  },
  '429 per user': {
    guard: { limits: { connections: { perUser: 1 } } },
    isSecond: true,
    headers: good,
    close: { code: 1013, reason: 'too_many_requests' }
  },
  '500 a hook': {
    route: { preHandler: fails(new Error('canary')) },
    headers: good,
    close: { code: 1011, reason: 'internal' }
  },
  '503 full': {
    guard: { limits: { connections: { total: 1 } } },
    isSecond: true,
    headers: good,
    close: { code: 1013, reason: 'unavailable' }
  },
  '503 a verifier that is down': {
    route: { auth: { verify: fails(new Error('canary')) } },
    headers: () => ({ Authorization: 'Bearer any' }),
    close: { code: 1013, reason: 'unavailable' }
  },
  '503 a store that is down': {
    guard: { store: failingStore('acquireSlot') },
    headers: good,
    close: { code: 1013, reason: 'unavailable' }
  },
  '503 too slow': {
    route: { preHandler: () => new Promise(() => {}), handshakeTimeoutMs: 50 },
    headers: good,
    close: { code: 1013, reason: 'unavailable' }
  }
}

/** Opens a socket that is refused, with frames behind the handshake. @returns it, with the close frame read */
async function refused(
  t: TestContext,
  { app, port }: Refusing,
  one: Pick<Case, 'path' | 'headers'>,
  head: string | Buffer = ''
): Promise<RawClient> {
  const client = await rawClient(t, port)
  const offered = { Origin: origin, 'Sec-WebSocket-Protocol': 'ws-guard.v1' }
  const headers = { ...offered, ...one.headers?.(app) }
  const answer = await client.handshake({ path: one.path ?? '/ws', headers, body: head })
  assert.equal(answer.statusCode, 101)
  assert.equal(answer.headers['sec-websocket-protocol'], 'ws-guard.v1')
  assert.equal(answer.headers['x-content-type-options'], 'nosniff')
  await client.nextFrame({ opcode: opcodes.close })
  return client
}

// Each waits for a second: together they do so once.
describe("refuse: 'close'", { concurrency: 7 }, () => {
  for (const [name, one] of Object.entries(cases)) {
    test(`${name}: one close frame, then the end, whether the client answers or not`, async (t) => {
      const all = await refusing(t, one.route, one.guard)
      const first = await rawClient(t, all.port)
      if (one.isSecond) await first.handshake({ path: '/ws', headers: { Origin: origin, ...good(all.app) } })
      const inside = [...all.called]
      const started = performance.now()
      const silent = await refused(t, all, one, frame({ payload: '{"type":"say"}' }))
      const polite = await refused(t, all, one)
      await polite.write(closeFrame(1000))
      await polite.serverEnd({ timeoutMs: 900 })
      await silent.sendText('{"type":"say"}')
      await silent.serverEnd({ timeoutMs: 5_000 })
      const took = performance.now() - started
      assert.ok(took > 900 && took < 4_000, `the silent one is there for about a second, not ${took} ms`)
      for (const client of [silent, polite]) {
        assert.equal(client.frames.length, 1)
        assert.equal(client.unparsed.length, 0)
        assert.deepEqual(closeOf(client.frames[0] as never), one.close)
        client.halfClose()
      }
      await within(Promise.all([silent.closed, polite.closed]))
      assert.deepEqual(all.called, inside)
      assert.equal(all.logs.filter('ws.open').length, inside.length)
      assert.equal(all.app.wsGuard.connections, inside.length)
      first.destroy()
      await assertNoSockets(all.app)
      await assertNothingHeld(all.app)
    })
  }
})

test("R7: refuse: 'close': what a refused client goes on sending is soon no longer parsed", async (t) => {
  const all = await refusing(t)
  const sent = 100_000
  const client = await refused(t, all, {})
  const [socket] = [...all.app.websocketServer.clients] as GuardedSocket[]
  let parsed = 0
  const emit = (socket as GuardedSocket).emit.bind(socket)
  Object.defineProperty(socket, 'emit', {
    value: (event: string, ...values: unknown[]) => {
      if (event === 'message') parsed++
      return emit(event, ...values)
    }
  })
  const empty = frame()
  const thousand = Buffer.concat(Array.from({ length: 1_000 }, () => empty))
  for (let n = 0; n < sent / 1_000; n++) await client.write(thousand)
  await client.serverEnd({ timeoutMs: 5_000 })
  client.halfClose()
  // Frames are counted one by one, but read in chunks of 64 KiB.
  const atMost = 64 + Math.ceil(65_536 / empty.length)
  assert.ok(parsed >= 64 && parsed <= atMost, `${parsed} of ${sent} frames were parsed`)
  assert.equal(client.frames.length, 1)
  assert.deepEqual(all.called, [])
  await assertNoSockets(all.app)
})

test("R2: refuse: 'close': a flood is refused over HTTP as soon as limits.connections.unauthenticated are being told", async (t) => {
  const max = 5
  const all = await refusing(t, {}, { limits: { attempts: { max: 1 }, connections: { unauthenticated: max } } })
  const statuses: Record<number, number> = {}
  const clients: RawClient[] = []
  for (let n = 0; n < 40; n++) {
    const client = await rawClient(t, all.port)
    const { statusCode } = await client.handshake({ path: '/ws', headers: { Origin: origin } })
    statuses[statusCode] = (statuses[statusCode] ?? 0) + 1
    clients.push(client)
  }
  assert.deepEqual(statuses, { 101: max, 429: 40 - max })
  for (const client of clients) client.destroy()
  await assertNothingHeld(all.app)
  assert.equal((await refused(t, all, {})).frames.length, 1, 'and told again when they are gone')
})
