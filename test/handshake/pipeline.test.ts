import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import wsGuard from '../../lib/index.ts'
import type { Store } from '../../lib/limits/store.ts'
import { injectWs } from '../../lib/testing.ts'
import { echo, origin, tokenFor } from '../support/app.ts'
import { selfSigned } from '../support/certificate.ts'
import { connect } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import {
  assertNothingHeld,
  assertRefused,
  bodyOf,
  ended,
  failingStore,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from './harness.ts'

test('T1: without TLS a route that requires it is 403, before anything else is looked at', async (t) => {
  const { app, reasons } = await guarded(t, { guard: { requireTls: true } })
  app.wsRoute('/ws', { handler() {} })
  await using plain = await injectWs(app, '/ws', { origin: 'https://evil.example' })
  assertRefused(plain, 403)
  assert.deepEqual(reasons(), ['tls_required'])
  await using tls = await injectWs(app, '/ws', { tls: true, token: tokenFor(app) })
  assert.equal(tls.statusCode, 101)
})

test('T1: a forwarded scheme counts only from a proxy that trustProxy names', async (t) => {
  const { app } = await guarded(t, { server: { trustProxy: ['10.0.0.7'] }, guard: { requireTls: true } })
  app.wsRoute('/ws', { handler() {} })
  const status = async (remoteAddress: string, proto: string): Promise<number> => {
    const headers = { 'x-forwarded-proto': proto }
    await using ws = await injectWs(app, '/ws', { remoteAddress, headers, token: tokenFor(app) })
    return ws.statusCode
  }
  assert.equal(await status('10.0.0.7', 'https'), 101)
  assert.equal(await status('10.0.0.7', 'wss'), 101)
  assert.equal(await status('10.0.0.7', 'http'), 403)
  assert.equal(await status('10.0.0.8', 'https'), 403)
})

test('T1: requireTls is on in production unless it is said otherwise', async (t) => {
  const before = process.env.NODE_ENV
  t.after(() => {
    if (before === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = before
  })
  process.env.NODE_ENV = 'production'
  const { app } = await guarded(t)
  app.wsRoute('/ws', { handler() {} })
  app.wsRoute('/inside', { requireTls: false, handler() {} })
  process.env.NODE_ENV = 'test'
  await using refused = await injectWs(app, '/ws', { token: tokenFor(app) })
  assert.equal(refused.statusCode, 403)
  await using admitted = await injectWs(app, '/inside', { token: tokenFor(app) })
  assert.equal(admitted.statusCode, 101)
})

test('HSTS and nosniff are on the 101 and on refusals over TLS, on a port too', async (t) => {
  const { app } = await guarded(t, { server: { https: selfSigned() } as object, guard: { requireTls: true } })
  app.wsRoute('/ws', { handler() {} })
  const port = await listen(app)
  const requests: ReadonlyArray<readonly [object, number]> = [
    [{ path: '/ws', headers: goodHeaders(tokenFor(app)) }, 101],
    [{ path: '/ws', headers: goodHeaders() }, 401],
    [{ path: '/nope', headers: goodHeaders() }, 404],
    [{ path: '/%', headers: goodHeaders() }, 400],
    [{ path: '/ws', headers: { Upgrade: null, Connection: 'keep-alive' } }, 426]
  ]
  for (const [request, status] of requests) {
    await using client = await connect(port, { tls: true })
    const { statusCode, headers } = await client.handshake(request)
    assert.equal(statusCode, status)
    assert.equal(headers['x-content-type-options'], 'nosniff')
    assert.equal(headers['strict-transport-security'], 'max-age=31536000; includeSubDomains')
  }
})

test('H14: upgradeHeaders are constants on the 101 and on every refusal, in place of the default ones', async (t) => {
  const { app } = await guarded(t, { guard: { upgradeHeaders: { 'X-Frame-Options': 'DENY' } } })
  app.wsRoute('/ws', { handler() {} })
  app.wsRoute('/own', { upgradeHeaders: { 'x-own': 'yes' }, handler() {} })
  app.wsRoute('/bare', { upgradeHeaders: {}, handler() {} })
  const token = tokenFor(app)
  const headersOf = async (path: string, options: object) => {
    await using ws = await injectWs(app, path, options)
    const { 'x-frame-options': frame, 'x-own': own, 'x-content-type-options': sniff } = ws.headers
    return [ws.statusCode, frame, own, sniff]
  }
  assert.deepEqual(await headersOf('/ws', { token }), [101, 'DENY', undefined, undefined])
  assert.deepEqual(await headersOf('/ws', {}), [401, 'DENY', undefined, undefined])
  assert.deepEqual(await headersOf('/nope', {}), [404, 'DENY', undefined, undefined])
  assert.deepEqual(await headersOf('/own', { token }), [101, undefined, 'yes', undefined])
  assert.deepEqual(await headersOf('/own', {}), [401, undefined, 'yes', undefined])
  assert.deepEqual(await headersOf('/bare', { token }), [101, undefined, undefined, undefined])
  const port = await listen(app)
  const client = await rawClient(t, port)
  assert.equal((await client.handshake({ path: '/%' })).headers['x-frame-options'], 'DENY')
})

for (const headers of [{ 'x-a': 'a\r\nb: c' }, { 'x\r\na': 'b' }, { connection: 'keep-alive' }, { 'x-a': 1 }]) {
  test(`H14: upgradeHeaders ${JSON.stringify(headers)} do not boot`, async (t) => {
    await assert.rejects(guarded(t, { guard: { upgradeHeaders: headers as never } }), { code: 'WSG_ERR_OPTION' })
  })
}

test('H1: a foreign Origin is 403 before any token is verified, with what was expected in the log only', async (t) => {
  const { app, logs } = await guarded(t, { jwt: false })
  let calls = 0
  const verify = (): object => {
    calls++
    return { sub: 'a' }
  }
  app.wsRoute('/ws', { auth: { verify }, handler() {} })
  for (const foreign of [
    'https://evil.example',
    'https://app.example.com.evil.example',
    'null',
    '',
    'HTTPS://APP.EXAMPLE.COM'
  ]) {
    await using ws = await injectWs(app, '/ws', { origin: foreign, token: 'any' })
    assertRefused(ws, 403)
    const line = logs.filter('ws.refused').at(-1)
    assert.deepEqual([line?.reason, line?.origin, line?.expected], ['origin_forbidden', foreign, [origin]])
  }
  assert.equal(calls, 0)
  await assertNothingHeld(app)
})

test('H3: without an Origin only an Authorization header that is read lets a client in', async (t) => {
  const { app, reasons } = await guarded(t, { guard: { auth: { from: ['header', 'query'] } } })
  app.wsRoute('/ws', { handler() {} })
  app.wsRoute('/strict', { missingOrigin: 'refuse', handler() {} })
  app.wsRoute('/query', { auth: { from: ['query'] }, handler() {} })
  app.wsRoute('/open', { auth: false, handler() {} })
  app.wsRoute('/any', { origins: false, handler() {} })
  const token = tokenFor(app)
  const status = async (path: string, options: object): Promise<number> => {
    await using ws = await injectWs(app, path, { origin: null, ...options })
    return ws.statusCode
  }
  assert.equal(await status('/ws', { token }), 101)
  assert.equal(await status('/ws', { token: 'bad' }), 401)
  assert.equal(await status(`/ws?token=${token}`, {}), 403)
  assert.equal(await status('/ws', { headers: { authorization: 'Basic x' } }), 403)
  assert.equal(await status('/strict', { token }), 403)
  assert.equal(await status(`/query?token=${token}`, { token: 'any' }), 403)
  assert.equal(await status('/open', {}), 403)
  assert.equal(await status('/open', { token: 'any' }), 101)
  assert.equal(await status('/any', { token }), 101)
  assert.deepEqual(new Set(reasons()), new Set(['invalid_credential', 'origin_missing']))
})

test('authorize has the user and the coerced params; anything but true is 403', async (t) => {
  const { app, logs } = await guarded(t)
  const asked: unknown[] = []
  let answer: unknown = true
  app.wsRoute('/room/:id', {
    schema: { params: Type.Object({ id: Type.Integer() }) },
    authorize: (user, request) => {
      asked.push([(user as { sub: string }).sub, request.params.id])
      return answer as boolean
    },
    handler() {}
  })
  const token = tokenFor(app, 'alice')
  for (const no of [false, undefined, null, 1, 'true', {}, Promise.resolve(false)]) {
    answer = no
    await using ws = await injectWs(app, '/room/7', { token })
    assertRefused(ws, 403)
  }
  for (const yes of [true, Promise.resolve(true)]) {
    answer = yes
    await using ws = await injectWs(app, '/room/7', { token })
    assert.equal(ws.statusCode, 101)
  }
  assert.deepEqual(asked, Array(9).fill(['alice', 7]))
  assert.equal(logs.filter('ws.forbidden').length, 7)
  assert.equal(logs.find('ws.forbidden')?.sub, 'alice')
  await using invalid = await injectWs(app, '/room/x', { token })
  assertRefused(invalid, 400)
  assert.equal(logs.filter('ws.refused').at(-1)?.reason, 'invalid_parameters')
})

test('H13: whatever authorize, data or a hook throws, nobody gets in and nothing of it gets out', async (t) => {
  const thrown: unknown[] = [new Error('canary'), 'canary', undefined, null, 0, false, '', { statusCode: 200 }, 7]
  const places = ['authorize', 'data', 'preHandler', 'preValidation', 'onRequest']
  const { app, reasons } = await guarded(t)
  let current: unknown
  for (const place of places) {
    app.wsRoute(`/${place}`, {
      [place]: () => Promise.reject(current),
      handler: () => assert.fail('nobody may come in')
    } as { handler: () => void })
  }
  for (const place of places) {
    for (const error of thrown) {
      current = error
      await using ws = await injectWs(app, `/${place}`, { token: tokenFor(app) })
      assert.equal(ws.statusCode, 500, `${place} ${String(error)}`)
      assert.equal(ws.body, bodyOf(500))
      assert.equal(ws.headers.connection, 'close')
    }
  }
  assert.deepEqual(new Set(reasons()), new Set(['hook_failed']))
  await assertNothingHeld(app)
})

test("H13: a status of the developer's own error is kept, its text is not", async (t) => {
  const { app, logs } = await guarded(t)
  let statusCode = 0
  app.wsRoute('/ws', {
    preHandler: async () => Promise.reject(Object.assign(new Error('canary'), { statusCode })),
    handler() {}
  })
  app.setErrorHandler(async () => 'canary')
  const answers: unknown[] = []
  for (const status of [402, 403, 429, 503, 599, 600, 302, 99]) {
    statusCode = status
    await using ws = await injectWs(app, '/ws', { token: tokenFor(app) })
    assert.doesNotMatch(ws.body, /canary/)
    assert.equal(ws.headers.connection, 'close')
    answers.push([ws.statusCode, ws.json<{ code: string }>().code])
  }
  assert.deepEqual(answers, [
    [402, 'refused'],
    [403, 'forbidden'],
    [429, 'too_many_requests'],
    [503, 'unavailable'],
    [599, 'refused'],
    [500, 'internal'],
    [500, 'internal'],
    [500, 'internal']
  ])
  const errors = logs.filter('a hook of a websocket route failed')
  assert.equal(errors.length, 5, 'from 500 on it is logged')
})

test('the handshake runs in its order, before the hooks of the developer', async (t) => {
  const { app } = await guarded(t, { jwt: false })
  const steps: string[] = []
  const step = (name: string) => async (): Promise<void> => void steps.push(name)
  app.addHook('preValidation', step('instance preValidation'))
  app.wsRoute('/ws/:id', {
    auth: {
      verify: async () => {
        steps.push('verify')
        return { sub: 'a' }
      }
    },
    onRequest: step('onRequest'),
    preValidation: step('preValidation'),
    authorize: async () => {
      steps.push('authorize')
      return true
    },
    data: () => {
      steps.push('data')
      return { n: 1 }
    },
    preHandler: step('preHandler'),
    handler: ({ data }) => void steps.push(`handler ${JSON.stringify(data)}`)
  })
  await using ws = await injectWs(app, '/ws/1', { token: 'any' })
  assert.equal(ws.statusCode, 101)
  assert.deepEqual(steps, [
    'onRequest',
    'verify',
    'instance preValidation',
    'preValidation',
    'authorize',
    'data',
    'preHandler',
    'handler {"n":1}'
  ])
})

test('A1: with auth: false there is no user, and authorize decides alone', async (t) => {
  const { app } = await guarded(t, { jwt: false, guard: { auth: false } })
  const users: unknown[] = []
  app.wsRoute('/ws', {
    authorize: (user) => {
      users.push(user)
      return true
    },
    handler: ({ user }) => void users.push(user)
  })
  await using ws = await injectWs(app, '/ws')
  assert.equal(ws.statusCode, 101)
  assert.deepEqual(users, [undefined, undefined])
})

test('revoked and blocked credentials are 401', async (t) => {
  const { app, reasons } = await guarded(t)
  app.wsRoute('/ws', { handler() {} })
  const token = tokenFor(app, 'alice')
  const status = async (): Promise<number> => {
    await using ws = await injectWs(app, '/ws', { token })
    return ws.statusCode
  }
  await app.wsGuard.block({ sub: 'alice' }, { untilMs: Date.now() + 60_000 })
  assert.equal(await status(), 401)
  await app.wsGuard.unblock({ sub: 'alice' })
  assert.equal(await status(), 101)
  await app.wsGuard.revoke({ sub: 'alice' })
  assert.equal(await status(), 401)
  assert.deepEqual(reasons(), ['revoked', 'revoked'])
})

const storeCalls: ReadonlyArray<readonly [keyof Store | 'incr', string]> = [
  ['incr', 'header'],
  ['acquireSlot', 'header'],
  ['isRefused', 'header'],
  ['takeTicket', 'ticket']
]

for (const [method, source] of storeCalls) {
  test(`A12, N2: a store whose ${method} fails refuses with 503`, async (t) => {
    const store = failingStore(method)
    const { app, logs } = await guarded(t, { guard: { store, auth: { from: ['header', 'ticket'] } } })
    app.wsRoute('/ws', { handler: () => assert.fail('nobody may come in') })
    const options = source === 'header' ? { token: tokenFor(app) } : {}
    await using ws = await injectWs(app, source === 'header' ? '/ws' : '/ws?ticket=x', options)
    assertRefused(ws, 503)
    const line = logs.find('ws.refused')
    assert.equal(line?.reason, 'unavailable')
    assert.equal(line?.errorCode, method === 'incr' ? 'Error' : 'ECONNREFUSED')
    assert.equal(
      logs.lines.some(({ level }) => level >= 40),
      false
    )
    await assertNothingHeld(app, store)
  })
}

test('A12, N2: a store that fails when the slot of the user is taken refuses, and gives the others back', async (t) => {
  const store = failingStore()
  const acquire = store.acquireSlot.bind(store)
  Object.defineProperty(store, 'acquireSlot', {
    value: (key: string, max: number) => {
      if (key.startsWith('user:')) throw new Error('down')
      return acquire(key, max)
    }
  })
  const { app } = await guarded(t, { guard: { store } })
  app.wsRoute('/ws', { handler() {} })
  assertRefused(await injectWs(app, '/ws', { token: tokenFor(app) }), 503)
  await assertNothingHeld(app, store)
})

test('H11: a GET without an upgrade is 426, and needs no credential to learn that', async (t) => {
  const { app } = await guarded(t)
  app.wsRoute('/ws', { handler() {} })
  const port = await listen(app)
  const client = await rawClient(t, port)
  const plain = { Upgrade: null, Connection: 'keep-alive', 'Sec-WebSocket-Key': null, 'Sec-WebSocket-Version': null }
  assertRefused(await client.handshake({ path: '/ws', headers: plain }), 426)
  await ended(client)
  const { statusCode, body } = await app.inject('/ws')
  assert.deepEqual([statusCode, body], [426, bodyOf(426)])
  assert.equal((await app.inject({ method: 'HEAD', url: '/ws' })).statusCode, 404)
})

test('H7: an app with a 404 page and an error page of its own gives them to no upgrade', async (t) => {
  const { app } = await guarded(t)
  app.setNotFoundHandler(async () => 'canary')
  app.wsRoute('/ws', { handler() {} })
  await using ws = await injectWs(app, '/nope')
  assertRefused(ws, 404)
})

test('routes of a plugin with a prefix are guarded, and so are its 404s', async (t) => {
  const { app } = await guarded(t)
  await app.register(
    async (child) => {
      child.wsRoute('/ws', { handler() {} })
      child.setNotFoundHandler(async () => 'canary')
    },
    { prefix: '/api' }
  )
  await using ws = await injectWs(app, '/api/ws', { token: tokenFor(app) })
  assert.equal(ws.statusCode, 101)
  await using none = await injectWs(app, '/api/nope')
  assertRefused(none, 404)
})

test('T6: compression is never negotiated', async (t) => {
  const { app } = await guarded(t, { guard: { auth: false } })
  app.wsRoute('/ws', { handler() {} })
  const client = await rawClient(t, await listen(app))
  const headers = { ...goodHeaders(), 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' }
  const answer = await client.handshake({ path: '/ws', headers })
  assert.equal(answer.statusCode, 101)
  assert.equal(answer.headers['sec-websocket-extensions'], undefined)
  await client.sendFrame({ rsv: 4, payload: 'x' })
  assert.equal((await client.nextFrame({ opcode: 8 })).payload.readUInt16BE(), 1002)
})

test('T4, T5: an app whose transport cannot be judged does not register the guard', async (t: TestContext) => {
  const boots = async (options: object, guard: object = {}): Promise<void> => {
    const app = Fastify(options) as unknown as FastifyInstance
    t.after(() => app.close())
    await app.register(wsGuard, { origins: [origin], auth: false, ...guard })
  }
  await assert.rejects(boots({ trustProxy: true }), /trustProxy: true/)
  await assert.rejects(boots({ http2: true }), /http2/)
  await assert.doesNotReject(boots({ trustProxy: true }, { allowUnsafeTrustProxy: true }))
})

test('a route with a contract is admitted by the same steps', async (t) => {
  const { app } = await guarded(t)
  app.wsRoute('/ws', { contract: echo, handlers: { say() {}, ask: () => ({ items: [] }) } })
  assertRefused(await injectWs(app, '/ws'), 401)
  await using ws = await injectWs(app, '/ws', { token: tokenFor(app) })
  assert.equal(ws.statusCode, 101)
  await until(() => app.wsGuard.connections === 1)
})
