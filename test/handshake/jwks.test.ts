/** Keys that are fetched: a secret function of @fastify/jwt and a real key server, up, down and back again. */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import jwt from '@fastify/jwt'
import type { FastifyRequest } from 'fastify'
import { echo, origin } from '../support/app.ts'
import { closeOf, opcodes } from '../support/frames.ts'
import { claims, signJwt } from '../support/tokens.ts'
import {
  assertNothingHeld,
  assertRefused,
  ended,
  type GuardedApp,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from './harness.ts'

type Keys = Map<string, { readonly privateKey: string; readonly publicKey: string }>
type Decoded = { readonly header: { readonly kid?: string } }

function newKey(): { privateKey: string; publicKey: string } {
  return generateKeyPairSync('ed25519', {
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' }
  })
}

/** Serves what it is told to, and can be stopped and started on the same port. */
class KeyServer {
  readonly keys: Keys = new Map([['one', newKey()]])
  asked = 0
  /** How long those who ask wait. Short only for a server that does not answer: a busy machine needs its time. */
  patienceMs = 10_000
  answer: RequestListener = (_request, response) => {
    response.end(JSON.stringify(Object.fromEntries([...this.keys].map(([kid, key]) => [kid, key.publicKey]))))
  }
  #server: Server | undefined
  #port = 0

  async start(): Promise<void> {
    this.#server = createServer((request, response) => {
      this.asked++
      this.answer(request, response)
    })
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
  }

  async stop(): Promise<void> {
    this.#server?.closeAllConnections()
    this.#server?.close()
    this.#server = undefined
  }

  async fetchKey(kid: string): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${this.#port}/keys.json`, {
      signal: AbortSignal.timeout(this.patienceMs)
    })
    if (!response.ok) throw new Error(`the key server answered ${response.status}`)
    return ((await response.json()) as Record<string, string>)[kid] as string
  }

  tokenOf(kid: string, fields: Record<string, unknown> = {}): string {
    const key = this.keys.get(kid)?.privateKey as string
    return signJwt(claims(fields), key, { alg: 'EdDSA', header: { kid } })
  }
}

interface Target extends GuardedApp {
  readonly server: KeyServer
  readonly status: (token: string) => Promise<number>
  readonly firstMessage: (token: string) => Promise<{ code: number; reason: string } | 'auth_ok'>
}

async function target(t: TestContext): Promise<Target> {
  const server = new KeyServer()
  await server.start()
  t.after(() => server.stop())
  const all = await guarded(t, { jwt: false, guard: { auth: { from: ['header', 'message'], algorithms: ['EdDSA'] } } })
  const secret = async (_request: FastifyRequest, token: Decoded): Promise<string> =>
    server.fetchKey(String(token.header.kid))
  await all.app.register(jwt, { secret: secret as never, decode: { complete: true } })
  all.app.wsRoute('/ws', { contract: echo, handlers: { say() {}, ask: () => ({ items: [] }) } })
  const port = await listen(all.app)
  return {
    ...all,
    server,
    status: async (token) => {
      const client = await rawClient(t, port)
      const answer = await client.handshake({ path: '/ws', headers: goodHeaders(token) })
      if (answer.statusCode === 101) {
        client.reset()
      } else {
        assertRefused(answer, answer.statusCode)
        await ended(client)
      }
      return answer.statusCode
    },
    firstMessage: async (token) => {
      const client = await rawClient(t, port)
      await client.handshake({ path: '/ws', headers: { Origin: origin } })
      await client.sendJson({ type: 'auth', token })
      const frame = await client.nextFrame()
      client.reset()
      return frame.opcode === opcodes.close ? closeOf(frame) : 'auth_ok'
    }
  }
}

const unavailable = { code: 1013, reason: 'unavailable' }
const failures: Readonly<Record<string, (server: KeyServer) => void | Promise<void>>> = {
  'is not there': (server) => server.stop(),
  'answers 500': (server) => {
    server.answer = (_request, response) => void response.writeHead(500).end('canary')
  },
  'answers no JSON': (server) => {
    server.answer = (_request, response) => void response.end('<html>canary</html>')
  },
  'never answers': (server) => {
    server.patienceMs = 150
    server.answer = () => {}
  },
  'hangs up': (server) => {
    server.answer = (_request, response) => void response.destroy()
  },
  'stops in the middle': (server) => {
    server.patienceMs = 150
    server.answer = (_request, response) => void response.writeHead(200, { 'content-length': '500' }).write('{"one":')
  }
}

for (const [how, fail] of Object.entries(failures)) {
  test(`A12: a key server that ${how} is 503 and 1013 for everybody, and all is well again when it is`, async (t) => {
    const { app, server, status, firstMessage, logs } = await target(t)
    const { answer, patienceMs } = server
    const token = server.tokenOf('one')
    assert.equal(await status(token), 101)
    await fail(server)
    assert.equal(await status(token), 503)
    assert.equal(await status(server.tokenOf('one', { exp: 1 })), 503, 'nobody can tell what it is worth')
    assert.deepEqual(await firstMessage(token), unavailable)
    await assertNothingHeld(app)
    assert.deepEqual(
      logs.filter('ws.refused').map(({ reason }) => reason),
      ['unavailable', 'unavailable']
    )
    assert.deepEqual(
      logs.lines.filter(({ level }) => level > 40),
      []
    )
    assert.doesNotMatch(logs.text(), /canary/)
    Object.assign(server, { answer, patienceMs })
    if (how === 'is not there') await server.start()
    assert.equal(await status(token), 101)
    assert.equal(await firstMessage(token), 'auth_ok')
    await assertNothingHeld(app)
  })
}

test('A2, A12: keys rotate: a new one is good at once, one that is gone is 401', async (t) => {
  const { app, server, status, firstMessage } = await target(t)
  const first = server.tokenOf('one')
  server.keys.set('two', newKey())
  const second = server.tokenOf('two')
  assert.deepEqual([await status(first), await status(second)], [101, 101])
  server.keys.delete('one')
  assert.deepEqual([await status(first), await status(second)], [401, 101])
  assert.deepEqual(await firstMessage(first), { code: 4001, reason: 'unauthorized' })
  assert.equal(await firstMessage(second), 'auth_ok')
  server.keys.set('one', newKey())
  assert.equal(await status(first), 401, 'signed with the key that was')
  await assertNothingHeld(app)
})

test('A2, A9: kids that are nobody’s are 401; those that every object inherits, or that are no text, ask no key server', async (t) => {
  const { app, server, status, logs } = await target(t)
  const { privateKey } = newKey()
  const forged = (kid: unknown): string => signJwt(claims(), privateKey, { alg: 'EdDSA', header: { kid } })
  const inherited = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', ['one'], { one: 1 }, null]
  for (const kid of inherited) assert.equal(await status(forged(kid)), 401, JSON.stringify(kid))
  assert.equal(server.asked, 0)
  for (const kid of ['two', '../../etc/passwd', 'http://127.0.0.1/', '', 7, undefined]) {
    assert.equal(await status(forged(kid)), 401, JSON.stringify(kid))
  }
  assert.ok(server.asked > 0)
  assert.deepEqual(
    logs.lines.filter(({ level }) => level > 40),
    []
  )
  assert.equal(app.wsGuard.connections, 0)
})

test('A12: whatever a secret function fails with, nobody comes in', async (t) => {
  const { app, reasons } = await guarded(t, { jwt: false, guard: { auth: { algorithms: ['HS256'] } } })
  let fail: () => unknown = () => undefined
  await app.register(jwt, { secret: (async () => fail()) as never })
  app.wsRoute('/ws', { handler: () => assert.fail('nobody may come in') })
  const port = await listen(app)
  const status = async (): Promise<number> => {
    const client = await rawClient(t, port)
    const answer = await client.handshake({ path: '/ws', headers: goodHeaders(signJwt(claims(), '')) })
    assertRefused(answer, answer.statusCode)
    await ended(client)
    return answer.statusCode
  }
  for (const thrown of ['canary', 7, Object.freeze({ code: 'E_DOWN' }), new Error('down')]) {
    fail = () => Promise.reject(thrown)
    assert.equal(await status(), 503, String(thrown))
  }
  // No key for this token: @fastify/jwt takes an error that is nothing for the same.
  for (const nothing of [() => undefined, () => null, () => '', () => Buffer.alloc(0), () => Promise.reject()]) {
    fail = nothing
    assert.equal(await status(), 401, String(nothing))
  }
  assert.equal(reasons().length, 9)
  await assertNothingHeld(app)
})
