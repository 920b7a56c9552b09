import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { checkTransport, isSecure, readTrustProxy } from '../../lib/handshake/transport.ts'
import { selfSigned } from '../support/certificate.ts'
import { connect } from '../support/raw-client.ts'

function createApp(t: TestContext, options: object = {}): FastifyInstance {
  const app = fastify(options as FastifyServerOptions)
  t.after(() => app.close())
  return app
}

async function isSecureFrom(app: FastifyInstance, remoteAddress: string, forwardedProto?: string): Promise<boolean> {
  if (!app.hasRoute({ method: 'GET', url: '/' })) app.get('/', (request) => ({ secure: isSecure(request) }))
  const headers = forwardedProto === undefined ? {} : { 'x-forwarded-proto': forwardedProto }
  return (await app.inject({ url: '/', remoteAddress, headers })).json().secure
}

test('T1: plain HTTP is not secure', async (t) => {
  assert.equal(await isSecureFrom(createApp(t), '127.0.0.1'), false)
})

test('T1: https and wss are secure, http is not', () => {
  for (const protocol of ['https', 'wss']) assert.equal(isSecure({ protocol }), true)
  for (const protocol of ['http', 'ws', '', 'HTTPS']) assert.equal(isSecure({ protocol }), false)
})

test('T1: http behind a trusted proxy counts although the hop of the proxy is encrypted', async (t) => {
  const app = createApp(t, { https: selfSigned(), trustProxy: ['127.0.0.1'] })
  app.get('/', (request) => ({ secure: isSecure(request) }))
  await app.listen({ port: 0 })
  const { port } = app.server.address() as AddressInfo
  const secureOver = async (headers: Record<string, string>): Promise<unknown> => {
    await using client = await connect(port, { tls: true })
    return (await client.handshake({ headers: { Upgrade: null, Connection: 'close', ...headers } })).json()
  }
  assert.deepEqual(await secureOver({}), { secure: true })
  assert.deepEqual(await secureOver({ 'X-Forwarded-Proto': 'http' }), { secure: false })
  assert.deepEqual(await secureOver({ 'X-Forwarded-Proto': 'https' }), { secure: true })
})

test('T1: X-Forwarded-Proto counts only from a proxy that trustProxy names', async (t) => {
  const app = createApp(t, { trustProxy: ['10.0.0.7'] })
  assert.equal(await isSecureFrom(app, '10.0.0.7', 'https'), true)
  assert.equal(await isSecureFrom(app, '10.0.0.7', 'wss'), true)
  assert.equal(await isSecureFrom(app, '10.0.0.7', 'http'), false)
  assert.equal(await isSecureFrom(app, '10.0.0.7'), false)
  assert.equal(await isSecureFrom(app, '10.0.0.8', 'https'), false)
  assert.equal(await isSecureFrom(app, '10.0.0.8', 'wss'), false)
})

test('T1: what a client sent before the proxy does not count', async (t) => {
  const app = createApp(t, { trustProxy: ['10.0.0.7'] })
  assert.equal(await isSecureFrom(app, '10.0.0.7', 'https, http'), false)
})

test('T1: without trustProxy X-Forwarded-Proto is only a claim', async (t) => {
  assert.equal(await isSecureFrom(createApp(t), '127.0.0.1', 'https'), false)
})

test('T4: trustProxy is read from the root and from within a plugin', async (t) => {
  const app = createApp(t, { trustProxy: ['10.0.0.7'] })
  assert.deepEqual(readTrustProxy(app), ['10.0.0.7'])
  const seen: unknown[] = []
  app.register(async (outer) => {
    outer.register(async (inner) => {
      seen.push(readTrustProxy(outer), readTrustProxy(inner))
    })
  })
  await app.ready()
  assert.deepEqual(seen, [['10.0.0.7'], ['10.0.0.7']])
})

test('T4: trustProxy that was not set, or cannot be seen, is undefined', (t) => {
  assert.equal(readTrustProxy(createApp(t)), undefined)
  assert.equal(readTrustProxy({} as FastifyInstance), undefined)
  assert.equal(readTrustProxy({ [Symbol('fastify.options')]: undefined } as unknown as FastifyInstance), undefined)
})

for (const trustProxy of [true, 1, 0]) {
  test(`T4: trustProxy: ${trustProxy} does not boot, unless it is allowed by name`, (t) => {
    const app = createApp(t, { trustProxy })
    assert.throws(() => checkTransport(app, false), {
      code: 'WSG_ERR_OPTION',
      message: /trustProxy: .* name the addresses of your proxies.*allowUnsafeTrustProxy: true/
    })
    assert.doesNotThrow(() => checkTransport(app, true))
  })
}

for (const trustProxy of [undefined, false, 'loopback', '10.0.0.7', ['10.0.0.0/8'], () => false]) {
  test(`T4: trustProxy: ${trustProxy} boots`, (t) => {
    assert.doesNotThrow(() => checkTransport(createApp(t, { trustProxy }), false))
  })
}

test('T5: http2 without HTTP/1.1 does not boot', (t) => {
  const message = /http2: .* https: \{ allowHTTP1: true/
  for (const options of [{ http2: true }, { http2: true, https: {} }, { http2: true, https: { allowHTTP1: false } }]) {
    const app = createApp(t, options)
    assert.throws(() => checkTransport(app, false), { code: 'WSG_ERR_OPTION', message })
    assert.throws(() => checkTransport(app, true), { code: 'WSG_ERR_OPTION', message })
  }
})

test('T5: http2 with HTTP/1.1, https and http boot', (t) => {
  for (const options of [{ http2: true, https: { allowHTTP1: true } }, { https: {} }, {}]) {
    assert.doesNotThrow(() => checkTransport(createApp(t, options), false))
  }
})
