/** What the README says in words only, where no other test says it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import { injectWs } from '../../lib/testing.ts'
import { buildApp, echo, tokenFor } from '../support/app.ts'
import { captureLogs } from '../support/log-capture.ts'

/** For whatever has to come: it ends a test that has failed. */
const timeoutMs = 15_000
const handlers = { say() {}, ask: () => ({ items: [] }) }

test('README, Limits: routes with the same attempts share them, one with its own counts apart', async (t) => {
  const app = await buildApp({ guard: { limits: { attempts: { max: 1 } } } })
  t.after(() => app.close())
  app.wsRoute('/a', { contract: echo, handlers })
  app.wsRoute('/b', { contract: echo, handlers })
  app.wsRoute('/c', { contract: echo, handlers, limits: { attempts: { max: 2 } } })
  const token = tokenFor(app)
  const statuses = []
  for (const path of ['/a', '/b', '/c', '/c', '/c']) statuses.push((await injectWs(app, path, { token })).statusCode)
  assert.deepEqual(statuses, [101, 429, 101, 101, 429])
})

test('README, Limits: open connections are counted over all routes', async (t) => {
  const app = await buildApp({ guard: { limits: { connections: { perUser: 2 } } } })
  t.after(() => app.close())
  app.wsRoute('/a', { contract: echo, handlers })
  app.wsRoute('/b', { contract: echo, handlers })
  const token = tokenFor(app)
  const statuses = []
  for (const path of ['/a', '/b', '/a']) statuses.push((await injectWs(app, path, { token })).statusCode)
  assert.deepEqual(statuses, [101, 101, 429])
})

test('README, Plain websocket routes: they see a query of their own, the log line of the request does not', async (t) => {
  const log = captureLogs()
  const app = await buildApp({ server: { logger: log.logger } })
  t.after(() => app.close())
  app.get('/plain', { websocket: true }, (socket: WebSocket, request: FastifyRequest) => {
    socket.send(JSON.stringify(request.query))
  })
  const ws = await injectWs(app, '/plain?token=canary&x=1')
  assert.deepEqual(await ws.receive(undefined, { timeoutMs }), { x: '1', token: 'canary' })
  assert.equal(log.text().includes('canary'), false)
})

test('README, Choosing a credential: a route cannot have a parameter of that name', async (t) => {
  const app = await buildApp()
  t.after(() => app.close())
  for (const name of ['token', 'ticket']) {
    const querystring = { type: 'object', properties: { [name]: { type: 'string' } } }
    const declare = () => app.wsRoute('/q', { contract: echo, handlers, schema: { querystring } as object })
    assert.throws(declare, { code: 'WSG_ERR_OPTION' })
  }
})

test('README, Choosing a credential: a token above 8 192 characters is not looked at', async (t) => {
  let looked = 0
  const verify = () => ({ sub: `user-${++looked}` })
  const app = await buildApp({ jwt: false, guard: { auth: { verify } } })
  t.after(() => app.close())
  app.wsRoute('/a', { contract: echo, handlers })
  assert.equal((await injectWs(app, '/a', { token: 'x'.repeat(8_192) })).statusCode, 101)
  assert.equal((await injectWs(app, '/a', { token: 'x'.repeat(8_193) })).statusCode, 401)
  assert.equal(looked, 1)
})

test('README, Refusals: a hook that answers by itself is sent as it is, one that throws is not', async (t) => {
  const app = await buildApp()
  t.after(() => app.close())
  app.wsRoute('/own', { contract: echo, handlers, onRequest: async (_, reply) => reply.code(402).send({ pay: true }) })
  app.wsRoute('/throws', {
    contract: echo,
    handlers,
    preHandler: async () => {
      throw Object.assign(new Error('canary'), { statusCode: 418 })
    }
  })
  const token = tokenFor(app)
  const own = await injectWs(app, '/own', { token })
  assert.deepEqual([own.statusCode, own.json()], [402, { pay: true }])
  const threw = await injectWs(app, '/throws', { token })
  assert.deepEqual([threw.statusCode, threw.body.includes('canary')], [418, false])
})

test("README, Refusals: with refuse: 'close' a script reads the code and the reason", async (t) => {
  const app = await buildApp({ guard: { refuse: 'close' } })
  t.after(() => app.close())
  app.wsRoute('/a', { contract: echo, handlers })
  assert.deepEqual(await (await injectWs(app, '/a')).closed, { code: 4001, reason: 'unauthorized' })
  const foreign = await injectWs(app, '/a', { token: tokenFor(app), origin: 'https://evil.example' })
  assert.deepEqual(await foreign.closed, { code: 4003, reason: 'forbidden' })
  assert.equal((await injectWs(app, '/a', { token: tokenFor(app), protocols: 'other' })).statusCode, 400)
  assert.equal((await injectWs(app, '/none')).statusCode, 404)
})

test('README, Refresh: same subject, no earlier expiry, and good', async (t) => {
  const app = await buildApp()
  t.after(() => app.close())
  app.wsRoute('/a', { contract: echo, handlers })
  const open = () => injectWs(app, '/a', { contract: echo, token: tokenFor(app) })
  const renewed = await open()
  renewed.send('auth', { token: app.jwt.sign({ sub: 'alice' } as never, { expiresIn: '1m' }) })
  assert.equal((await renewed.receive('error', { timeoutMs })).code, 'forbidden')
  renewed.send('auth', { token: tokenFor(app) })
  assert.ok((await renewed.receive('auth_ok', { timeoutMs })).expiresInMs > 60_000)
  renewed.send('auth', { token: 'nonsense' })
  assert.deepEqual(await renewed.closed, { code: 4001, reason: 'unauthorized' })
  const other = await open()
  other.send('auth', { token: tokenFor(app, 'bob') })
  assert.deepEqual(await other.closed, { code: 4003, reason: 'forbidden' })
})

test('README, Your own verifier: a user without a subject is 401, other errors are 503', async (t) => {
  const app = await buildApp({ jwt: false })
  t.after(() => app.close())
  const verifiers: Readonly<Record<string, () => unknown>> = {
    '/nobody': () => null,
    '/nameless': () => ({ name: 'ada' }),
    '/unauthorized': () => Promise.reject(Object.assign(new Error('no'), { statusCode: 401 })),
    '/down': () => Promise.reject(new Error('ECONNREFUSED'))
  }
  const statuses = []
  for (const [path, verify] of Object.entries(verifiers)) {
    app.wsRoute(path, { contract: echo, handlers, auth: { verify } })
  }
  for (const path of Object.keys(verifiers)) {
    statuses.push((await injectWs(app, path, { token: 'x' })).statusCode)
  }
  assert.deepEqual(statuses, [401, 401, 401, 503])
})

test('README, Sending: a topic has at most 256 characters', async (t) => {
  const app = await buildApp()
  t.after(() => app.close())
  const answers: boolean[] = []
  app.wsRoute('/a', {
    contract: echo,
    handlers,
    async onOpen(connection) {
      for (const length of [256, 257]) answers.push(await connection.subscribe('x'.repeat(length)))
      connection.send('said', { text: 'done' })
    }
  })
  const ws = await injectWs(app, '/a', { token: tokenFor(app) })
  await ws.receive('said', { timeoutMs })
  assert.deepEqual(answers, [true, false])
})
