import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import { type InjectWsOptions, injectWs } from '../../lib/testing.ts'
import { tokenFor } from '../support/app.ts'
import { defaultStore } from '../support/default-store.ts'
import { closeOf, opcodes } from '../support/frames.ts'
import { eventually, within } from '../support/wait.ts'
import {
  assertNoSockets,
  assertNothingHeld,
  assertRefused,
  closing,
  ended,
  failingStore,
  goodHeaders,
  listen,
  rawClient
} from './harness.ts'

async function closed(app: FastifyInstance, options: InjectWsOptions = {}, path = '/ws') {
  await using ws = await injectWs(app, path, { protocols: 'ws-guard.v1', ...options })
  assert.equal(ws.statusCode, 101, ws.body)
  assert.equal(ws.protocol, 'ws-guard.v1', 'a browser that gets none of its protocols never sees the code')
  assert.equal(ws.headers['x-content-type-options'], 'nosniff')
  const { code, reason } = await within(ws.closed)
  return [code, reason]
}

test('401 is a close with 4001, 403 with 4003, 400 with 1008', async (t) => {
  const { app, called, reasons } = await closing(t, {
    schema: { querystring: Type.Object({ n: Type.Optional(Type.Integer()) }) },
    authorize: () => false
  })
  const token = tokenFor(app)
  assert.deepEqual(await closed(app), [4001, 'unauthorized'])
  assert.deepEqual(await closed(app, { token: 'bad' }), [4001, 'unauthorized'])
  assert.deepEqual(await closed(app, { token }), [4003, 'forbidden'])
  assert.deepEqual(await closed(app, { token, origin: 'https://evil.example' }), [4003, 'forbidden'])
  assert.deepEqual(await closed(app, { token }, '/ws?n=x'), [1008, 'bad_request'])
  const both = ['ws-guard.v1', `bearer.${token}`]
  assert.deepEqual(await closed(app, { token, protocols: both }), [1008, 'bad_request'])
  assert.deepEqual(called, [])
  assert.deepEqual(reasons(), [
    'no_credential',
    'invalid_credential',
    'forbidden',
    'origin_forbidden',
    'invalid_parameters',
    'ambiguous_credentials'
  ])
  await assertNothingHeld(app)
})

test('429 and 503 are a close with 1013', async (t) => {
  const attempts = await closing(t, {}, { limits: { attempts: { max: 1 } } })
  assert.deepEqual(await closed(attempts.app), [4001, 'unauthorized'])
  assert.deepEqual(await closed(attempts.app, { token: tokenFor(attempts.app) }), [1013, 'too_many_requests'])

  const store = failingStore('isRefused')
  const down = await closing(t, {}, { store })
  assert.deepEqual(await closed(down.app, { token: tokenFor(down.app) }), [1013, 'unavailable'])
  await assertNothingHeld(down.app, store)

  const slow = await closing(t, { preHandler: () => new Promise(() => {}) }, { handshakeTimeoutMs: 50 })
  assert.deepEqual(await closed(slow.app, { token: tokenFor(slow.app) }), [1013, 'unavailable'])
  for (const { called } of [attempts, down, slow]) assert.deepEqual(called, [])
})

test("H13: an error of the developer's own hook is a close by its status", async (t) => {
  let statusCode: number | undefined
  const preHandler = async (): Promise<void> => {
    throw Object.assign(new Error('canary'), { statusCode })
  }
  const { app, called, logs } = await closing(t, { preHandler })
  const token = tokenFor(app)
  const answers: unknown[] = []
  for (const status of [undefined, 401, 403, 418, 429, 507]) {
    statusCode = status
    answers.push(await closed(app, { token }))
  }
  assert.deepEqual(answers, [
    [1011, 'internal'],
    [4001, 'unauthorized'],
    [4003, 'forbidden'],
    [1008, 'refused'],
    [1013, 'too_many_requests'],
    [1011, 'refused']
  ])
  assert.deepEqual(called, [])
  assert.equal(logs.filter('ws.refused').length, 6)
})

test('the codes are those that closeCodes sets', async (t) => {
  const iana = await closing(t, {}, { closeCodes: 'iana' })
  assert.deepEqual(await closed(iana.app), [3000, 'unauthorized'])
  const own = await closing(t, {}, { closeCodes: { unauthorized: 4401 } })
  assert.deepEqual(await closed(own.app), [4401, 'unauthorized'])
})

test('a client that offers no protocol gets none', async (t) => {
  const { app } = await closing(t)
  await using ws = await injectWs(app, '/ws')
  assert.deepEqual([ws.statusCode, ws.protocol], [101, ''])
  assert.equal((await ws.closed).code, 4001)
})

test('H4, H12: what is no handshake, or would have to fail, is refused over HTTP all the same', async (t) => {
  const { app } = await closing(t)
  const port = await listen(app)
  const requests: ReadonlyArray<readonly [object, number]> = [
    [{ 'Sec-WebSocket-Version': '8' }, 426],
    [{ 'Sec-WebSocket-Key': 'x' }, 400],
    [{ Origin: ['https://a.example', 'https://b.example'] }, 400],
    [{ 'Sec-WebSocket-Protocol': 'other' }, 400],
    [{ 'Sec-WebSocket-Protocol': 'a,,b' }, 400]
  ]
  for (const [headers, status] of requests) {
    const client = await rawClient(t, port)
    assertRefused(await client.handshake({ path: '/ws', headers: { ...goodHeaders(), ...headers } }), status)
    await ended(client)
  }
  const elsewhere = await rawClient(t, port)
  assertRefused(await elsewhere.handshake({ path: '/nope', headers: goodHeaders() }), 404)
})

test('R7: a refused socket dispatches nothing and is destroyed when its peer does not close', async (t) => {
  const { app, called } = await closing(t)
  const port = await listen(app)
  const client = await rawClient(t, port)
  assert.equal((await client.handshake({ path: '/ws', headers: goodHeaders() })).statusCode, 101)
  const close = await client.nextFrame({ opcode: opcodes.close })
  assert.deepEqual(closeOf(close), { code: 4001, reason: 'unauthorized' })
  for (let n = 0; n < 100; n++) await client.sendText('{"type":"say","text":"hi"}')
  await client.serverEnd({ timeoutMs: 5000 })
  client.halfClose()
  assert.equal(client.frames.length, 1)
  assert.deepEqual(called, [])
  await assertNoSockets(app)
  await assertNothingHeld(app)
})

test('R4: a refused socket has the bounds of its route', async (t) => {
  const { app } = await closing(t, {}, { limits: { maxPayloadBytes: 100 } })
  const client = await rawClient(t, await listen(app))
  await client.handshake({ path: '/ws', headers: goodHeaders() })
  await client.nextFrame({ opcode: opcodes.close })
  // Announces 100 MB, of which ws would keep what comes.
  await client.sendFrame({ payload: 'x', declaredLength: 100_000_000, lengthBits: 64 })
  await client.serverEnd({ timeoutMs: 800 })
  client.halfClose()
  await assertNoSockets(app)
})

test('R2: there are never more refused sockets than limits.connections.unauthenticated; the others get HTTP', async (t) => {
  const store = defaultStore()
  const { app } = await closing(t, {}, { store, limits: { connections: { unauthenticated: 2 } } })
  const port = await listen(app)
  const statuses: number[] = []
  const clients = []
  for (let n = 0; n < 4; n++) {
    const client = await rawClient(t, port)
    const answer = await client.handshake({ path: '/ws', headers: goodHeaders() })
    if (answer.statusCode !== 101) assertRefused(answer, 401)
    statuses.push(answer.statusCode)
    clients.push(client)
  }
  assert.deepEqual(statuses, [101, 101, 401, 401])
  for (const client of clients) client.reset()
  await assertNothingHeld(app, store)
  await eventually(async () => assert.deepEqual(await closed(app), [4001, 'unauthorized']))
})

test('H10: a refused socket that is reset, or breaks a frame, ends no process', async (t) => {
  const { app } = await closing(t)
  const port = await listen(app)
  for (const end of ['reset', 'frame']) {
    const client = await rawClient(t, port)
    await client.handshake({ path: '/ws', headers: goodHeaders() })
    if (end === 'reset') client.reset()
    else await client.sendFrame({ opcode: 3, masked: false })
    if (end === 'frame') {
      await client.serverEnd({ timeoutMs: 5000 })
      client.halfClose()
    }
  }
  await assertNoSockets(app)
  await assertNothingHeld(app)
})
