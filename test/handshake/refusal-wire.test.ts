/** A refusal to a client that does not take part: it neither reads nor closes, and goes on sending (threat T7). */
import assert from 'node:assert/strict'
import { STATUS_CODES } from 'node:http'
import { type TestContext, test } from 'node:test'
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { refusalReasons } from '../../lib/handshake/refusal.ts'
import { tokenFor } from '../support/app.ts'
import { type HandshakeOptions, handshakeRequest } from '../support/http-message.ts'
import { connectionsOf, until } from '../support/wait.ts'
import {
  assertNoSockets,
  assertNothingHeld,
  bodyOf,
  failingStore,
  type GuardedApp,
  gate,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from './harness.ts'

/**
 * The row says 100 ms; a machine that runs all tests at once is given more. What it takes on one that does not is a few
 * milliseconds, so that a socket that waits for any timer fails here.
 */
const goneWithinMs = 1_000

const token = 'Bearer bad'
const teapot = async (_request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> =>
  reply.code(418).send('short and stout')
const lawful = async (): Promise<never> => {
  throw Object.assign(new Error('canary'), { statusCode: 451 })
}

/** By status: whoever refuses, the guard on the bare socket, a check, a hook, Fastify or node. */
const refusals: readonly [name: string, status: number, request: HandshakeOptions][] = [
  ['bare socket', 400, { path: '/%' }],
  ['bare socket, a body', 400, { headers: { ...goodHeaders(), 'Content-Length': '3' }, body: 'abc' }],
  ['onRequest', 400, { headers: { ...goodHeaders(), Authorization: [token, token] } }],
  ['no websocket route', 400, { path: '/plain' }],
  ['validation', 400, { path: '/room/x', headers: goodHeaders() }],
  ['node itself', 400, { headers: goodHeaders(), rawHeaders: ['bad header'] }],
  ['no credential', 401, { headers: goodHeaders() }],
  ['a bad credential', 401, { headers: { ...goodHeaders(), Authorization: token } }],
  ['Origin', 403, { headers: { Origin: 'https://evil.example' } }],
  ['authorize', 403, { path: '/forbidden', headers: goodHeaders() }],
  ['no route', 404, { path: '/nope' }],
  ['bare socket', 405, { method: 'DELETE' }],
  ['a parameter too long', 414, { path: `/room/${'1'.repeat(101)}`, headers: goodHeaders() }],
  ['a hook that answers', 418, { path: '/teapot', headers: goodHeaders() }],
  ['another version', 426, { headers: { ...goodHeaders(), 'Sec-WebSocket-Version': '8' } }],
  ['no upgrade', 426, { headers: { ...goodHeaders(), Upgrade: null, Connection: 'keep-alive' } }],
  ['an error with a status', 451, { path: '/lawful', headers: goodHeaders() }],
  ['a hook that throws', 500, { path: '/throws', headers: goodHeaders() }],
  ['a hook too slow', 503, { path: '/stuck', headers: goodHeaders() }]
]

async function refusing(t: TestContext): Promise<GuardedApp & { port: number; served: string[] }> {
  const all = await guarded(t)
  const { app } = all
  const open = { auth: false, handler: () => assert.fail('nobody may come in') } as const
  app.wsRoute('/', { handler: open.handler })
  app.wsRoute('/room/:id', { ...open, schema: { params: Type.Object({ id: Type.Integer() }) } })
  app.wsRoute('/forbidden', { ...open, authorize: () => false })
  app.wsRoute('/teapot', { ...open, preHandler: teapot })
  app.wsRoute('/lawful', { ...open, preHandler: lawful })
  app.wsRoute('/throws', { ...open, preValidation: () => Promise.reject(new Error('canary')) })
  app.wsRoute('/stuck', { ...open, handshakeTimeoutMs: 50, preHandler: () => new Promise(() => {}) })
  const served: string[] = []
  app.get('/plain', async ({ url }) => {
    served.push(url)
    return 'plain'
  })
  return { ...all, served, port: await listen(app) }
}

/** What is sent behind the refused request in one segment with it. */
const behind = {
  nothing: '',
  'a request': 'GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n',
  'another upgrade': handshakeRequest({ path: '/plain?canary' }).toString(),
  'bytes that are no HTTP': '\x81\x85\0\0\0\0hello'.repeat(50)
}

for (const [who, status, request] of refusals) {
  test(`T7: ${status} by ${who}: the connection ends, whatever is sent behind it`, async (t) => {
    const { app, port, served } = await refusing(t)
    for (const [what, bytes] of Object.entries(behind)) {
      const client = await rawClient(t, port)
      client.pause()
      await until(async () => (await connectionsOf(app.server)) === 1)
      const start = performance.now()
      await client.write(Buffer.concat([handshakeRequest(request), Buffer.from(bytes, 'latin1')]))
      await until(async () => (await connectionsOf(app.server)) === 0, { what: `the end of the socket with ${what}` })
      const tookMs = performance.now() - start
      assert.ok(tookMs < goneWithinMs, `${what}: gone after ${tookMs} ms`)
      t.diagnostic(`${what}: ${tookMs.toFixed(1)} ms`)
      client.resume()
      // Bytes that the server has not read turn its FIN into a reset, which may overtake the answer.
      if (bytes !== '') continue
      const answer = await client.answer()
      assert.equal(answer.statusCode, status)
      if (who !== 'node itself') assert.equal(answer.headers.connection, 'close')
      await client.serverEnd()
      assert.equal(client.unparsed.length, 0)
      await client.write(behind['a request'])
    }
    // Without an upgrade they are requests like any other, which node reads together; none but the first is answered.
    if (who !== 'no upgrade') assert.deepEqual(served, [])
    await assertNothingHeld(app)
  })
}

test('T7: 429 and 503 of a limit or a back end end the connection too', async (t) => {
  const limits = { attempts: { max: 1 } }
  const limited = await guarded(t, { guard: { limits } })
  const down = await guarded(t, { guard: { store: failingStore('isRefused') } })
  for (const [{ app }, statuses] of [
    [limited, [101, 429]],
    [down, [503, 503]]
  ] as const) {
    let served = 0
    app.get('/plain', () => `${++served}`)
    app.wsRoute('/', { handler() {} })
    const port = await listen(app)
    for (const status of statuses) {
      const client = await rawClient(t, port)
      await client.write(handshakeRequest({ headers: goodHeaders(tokenFor(app)) }))
      const { statusCode, headers } = await client.answer()
      assert.equal(statusCode, status)
      if (status === 101) client.reset()
      else assert.equal(headers.connection, 'close')
      await until(async () => (await connectionsOf(app.server)) === 0, { timeoutMs: goneWithinMs })
      if (status !== 101) await client.write(behind['a request'])
    }
    assert.equal(served, 0)
  }
})

test('T7: every status of the table is among these', () => {
  const tested = new Set([...refusals.map(([, status]) => status), 429])
  assert.deepEqual(
    Object.values(refusalReasons).filter((status) => !tested.has(status)),
    []
  )
  for (const status of tested) assert.ok(STATUS_CODES[status])
})

test('T7: an answer that nobody reads holds its socket no longer than the deadline of the handshake', async (t) => {
  const { app } = await guarded(t, { guard: { handshakeTimeoutMs: 200 } })
  const answered = gate(t)
  app.wsRoute('/', {
    auth: false,
    // More than the kernel takes for a client that does not read.
    preHandler: async (_request: FastifyRequest, reply: FastifyReply) => {
      answered.open()
      return reply.code(402).send(Buffer.alloc(32 * 1024 * 1024))
    },
    handler() {}
  } as never)
  const client = await rawClient(t, await listen(app))
  client.pause()
  await client.write(handshakeRequest({ headers: goodHeaders() }))
  await answered.promise
  assert.equal(await connectionsOf(app.server), 1)
  await assertNoSockets(app)
  await assertNothingHeld(app)
})

test('T7: the answer arrives whole although nothing behind it does', async (t) => {
  const { app, port } = await refusing(t)
  for (let n = 0; n < 20; n++) {
    const client = await rawClient(t, port)
    const answer = await client.handshake({ headers: goodHeaders() })
    assert.equal(answer.body, bodyOf(401))
    await client.serverEnd()
  }
  await assertNoSockets(app)
})
