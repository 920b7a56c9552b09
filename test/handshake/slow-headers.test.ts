/** Clients that take their time before there is a request (threat T2). */
import assert from 'node:assert/strict'
import { connect as connectTcp } from 'node:net'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { slowClientsWarning } from '../../lib/handshake/transport.ts'
import { selfSigned } from '../support/certificate.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { connect } from '../support/raw-client.ts'
import { connectionsOf, eventually, once, until } from '../support/wait.ts'
import { goodHeaders, guarded, listen, rawClient } from './harness.ts'

const certificate = selfSigned()
const good = { headersTimeout: 10_000, connectionsCheckingInterval: 5_000 }
/** Before Node 24 the options of an HTTP/2 server are not those of its HTTP/1.1 side. */
const http2Looks = Number.parseInt(process.versions.node, 10) >= 24

const servers: readonly [name: string, options: object, warns: boolean][] = [
  ['nothing set', {}, true],
  ['both set', { http: good }, false],
  ['both smaller', { http: { headersTimeout: 1, connectionsCheckingInterval: 1 } }, false],
  ['headersTimeout too long', { http: { ...good, headersTimeout: 10_001 } }, true],
  ['headersTimeout off', { http: { ...good, headersTimeout: 0 } }, true],
  ['headersTimeout alone', { http: { headersTimeout: 10_000 } }, true],
  ['the interval too long', { http: { ...good, connectionsCheckingInterval: 5_001 } }, true],
  ['the interval alone', { http: { connectionsCheckingInterval: 5_000 } }, true],
  ['requestTimeout instead', { requestTimeout: 10_000, http: { connectionsCheckingInterval: 5_000 } }, false],
  ['requestTimeout too long', { requestTimeout: 10_001, http: { connectionsCheckingInterval: 5_000 } }, true],
  ['set where Fastify has no such option', good, true],
  ['https, nothing set', { https: certificate }, true],
  ['https, both set', { https: { ...certificate, ...good } }, false],
  ['https, set for http', { https: certificate, http: good }, true],
  ['http2, nothing set', { http2: true, https: { ...certificate, allowHTTP1: true } }, true],
  ['http2, both set', { http2: true, https: { ...certificate, allowHTTP1: true, ...good } }, !http2Looks]
]

for (const [name, options, warns] of servers) {
  test(`T2: ${name}: ${warns ? 'a warning' : 'none'}`, async (t) => {
    const app = Fastify(options) as unknown as FastifyInstance
    t.after(() => app.close())
    assert.equal(slowClientsWarning(app, true) !== undefined, warns)
    assert.equal(slowClientsWarning(app, false), undefined, 'no route requires TLS')
  })
}

test('T2: the settings that an HTTP/2 server takes end the warning', (t) => {
  const options: object = { http2: true, https: { ...certificate, allowHTTP1: true } }
  const app = Fastify(options) as unknown as FastifyInstance
  t.after(() => app.close())
  assert.match(String(slowClientsWarning(app, true)), /Object\.assign\(app\.server, \{ headersTimeout: 10_000, .* \}\)/)
  Object.assign(app.server, good)
  assert.equal(slowClientsWarning(app, true), undefined)
})

test('T2: behind a proxy that trustProxy names it is the proxy’s business', (t) => {
  for (const [trustProxy, warns] of [
    ['loopback', false],
    [['10.0.0.7'], false],
    [() => true, false],
    [false, true],
    [undefined, true]
  ] as const) {
    const app = Fastify({ trustProxy } as object) as unknown as FastifyInstance
    t.after(() => app.close())
    assert.equal(slowClientsWarning(app, true) !== undefined, warns)
  }
})

test('T2: an interval that node does not show is not held against the server', () => {
  const app = (server: object): FastifyInstance => ({ server, initialConfig: {} }) as unknown as FastifyInstance
  assert.equal(slowClientsWarning(app({ headersTimeout: 10_000 }), true), undefined)
  assert.match(String(slowClientsWarning(app({}), true)), /headersTimeout: undefined/)
})

/** What the log of an app says about it once it is ready. */
async function warnings(t: TestContext, server: object, requireTls: readonly boolean[]): Promise<string[]> {
  const { app, logs } = await guarded(t, { server })
  for (const [at, one] of requireTls.entries()) app.wsRoute(`/${at}`, { requireTls: one, handler() {} })
  await app.ready()
  return logs.lines.filter(({ level }) => level === 40).map(({ msg }) => String(msg))
}

test('T2: an app warns once when it is ready, if one of its routes requires TLS', async (t) => {
  const [only, ...more] = await warnings(t, { https: certificate }, [false, true, true])
  assert.deepEqual(more, [])
  assert.match(String(only), /has headersTimeout: 60000 and connectionsCheckingInterval: 30000/)
  assert.match(String(only), /https: \{ …, handshakeTimeout: 10_000, headersTimeout: 10_000, connectionsCheckingIn/)
  assert.match(String(only), /app\.server\.maxConnections/)
  assert.deepEqual(await warnings(t, { https: certificate }, [false, false]), [])
  assert.deepEqual(await warnings(t, { https: certificate }, []), [])
  assert.deepEqual(await warnings(t, { https: { ...certificate, ...good } }, [true]), [])
  assert.deepEqual(await warnings(t, { trustProxy: ['10.0.0.7'] }, [true]), [])
  assert.match(String(await warnings(t, {}, [true])), /Fastify\(\{ http: \{ headersTimeout: 10_000, connections/)
})

/** Scaled down: what the warning asks for, and what it means to a client. */
const headersTimeoutMs = 300
const intervalMs = 100
const scaled = { headersTimeout: headersTimeoutMs, connectionsCheckingInterval: intervalMs }
/** For a machine that is busy. */
const slackMs = 1_500
const half = handshakeRequest({ path: '/ws', headers: goodHeaders() }).subarray(0, -10)

for (const [name, server, tls] of [
  ['http', { http: scaled }, false],
  ['https', { https: { ...certificate, ...scaled } }, true]
] as const) {
  test(`T2: ${name}: half a head is 408 and its socket is gone, also when one byte more comes every 50 ms`, async (t) => {
    const { app } = await guarded(t, { server: server as object })
    app.wsRoute('/ws', { handler: () => assert.fail('there is no request') })
    const port = await listen(app)
    for (const [first, drips] of [
      [half, false],
      [half, true],
      ['', false]
    ] as const) {
      await using client = await connect(port, { tls })
      const start = performance.now()
      await client.write(first)
      const drip = drips ? setInterval(() => client.socket.write('a'), 50) : undefined
      t.after(() => clearInterval(drip))
      const { statusCode } = await client.answer({ timeoutMs: headersTimeoutMs + intervalMs + slackMs })
      const tookMs = performance.now() - start
      clearInterval(drip)
      assert.equal(statusCode, 408)
      assert.ok(tookMs > headersTimeoutMs - intervalMs, `${tookMs} ms is too soon`)
      assert.ok(tookMs < headersTimeoutMs + intervalMs + slackMs, `${tookMs} ms`)
      await client.serverEnd()
      await eventually(async () => assert.equal(await connectionsOf(app.server), 0))
    }
  })
}

test('T2: a socket that never begins TLS is ended by handshakeTimeout, and a few of them fill maxConnections', async (t) => {
  const { app } = await guarded(t, {
    server: { https: { ...certificate, ...scaled, handshakeTimeout: 300 } } as object
  })
  app.wsRoute('/ws', { handler() {} })
  const port = await listen(app)
  app.server.maxConnections = 1
  const idle = connectTcp({ port, host: '127.0.0.1' })
  t.after(() => idle.destroy())
  await until(async () => (await connectionsOf(app.server)) === 1)
  const refused = connectTcp({ port, host: '127.0.0.1' }).resume()
  await once(refused, 'close')
  assert.equal(await connectionsOf(app.server), 1)
  idle.on('error', () => {}).resume()
  await once(idle, 'close', { timeoutMs: headersTimeoutMs + slackMs })
  await eventually(async () => assert.equal(await connectionsOf(app.server), 0))
})

test('T2: a whole head in time is served, and its connection outlives the timeouts', async (t) => {
  const { app } = await guarded(t, { server: { http: scaled } as object, guard: { auth: false } })
  app.wsRoute('/ws', {
    handler: ({ socket }) => {
      socket.on('message', (data) => socket.send(data))
    }
  })
  const client = await rawClient(t, await listen(app))
  const start = performance.now()
  assert.equal((await client.handshake({ path: '/ws', headers: goodHeaders() })).statusCode, 101)
  await until(() => performance.now() - start > headersTimeoutMs + 3 * intervalMs, { timeoutMs: 5_000 })
  await client.sendText('still here')
  assert.equal((await client.nextFrame()).payload.toString(), 'still here')
})
