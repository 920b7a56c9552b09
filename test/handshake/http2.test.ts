/** A server for HTTP/2 that also takes HTTP/1.1: WebSockets come over the latter only (threat T5). */
import assert from 'node:assert/strict'
import { type ClientHttp2Session, connect as connectHttp2, constants, type OutgoingHttpHeaders } from 'node:http2'
import { type TestContext, test } from 'node:test'
import { tokenFor } from '../support/app.ts'
import { selfSigned } from '../support/certificate.ts'
import { connect } from '../support/raw-client.ts'
import { connectionsOf, once, within } from '../support/wait.ts'
import { assertNothingHeld, bodyOf, type GuardedApp, goodHeaders, guarded, listen, rawClient } from './harness.ts'

interface Served extends GuardedApp {
  readonly port: number
  /** What reached the developer's code. */
  readonly seen: string[]
}

async function served(t: TestContext, https: object = {}): Promise<Served> {
  const server = { http2: true, https: { allowHTTP1: true, ...selfSigned(), ...https } }
  const all = await guarded(t, { server: server as object, guard: { requireTls: true } })
  const seen: string[] = []
  all.app.addHook('onRequest', async ({ method, url }) => void seen.push(`${method} ${url}`))
  all.app.wsRoute('/ws', { handler: () => void seen.push('handler') })
  all.app.get('/plain', () => 'plain')
  return { ...all, seen, port: await listen(all.app) }
}

/** A session that is gone before its server closes, which would wait for it. */
async function overHttp2(port: number, use: (client: ClientHttp2Session) => Promise<void>): Promise<void> {
  const client = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
  try {
    await once(client, 'remoteSettings')
    await use(client)
  } finally {
    client.destroy()
  }
}

interface Http2Answer {
  readonly headers: Record<string, unknown>
  readonly body: string
  readonly errorCode: number
}

/** The answer of one stream, and the code it was closed with. */
async function ask(client: ClientHttp2Session, headers: OutgoingHttpHeaders): Promise<Http2Answer> {
  const stream = client.request(headers, { endStream: true })
  let answered: Record<string, unknown> = {}
  let body = ''
  stream.setEncoding('utf8')
  stream.on('response', (response) => {
    answered = { ...response }
  })
  stream.on('data', (chunk: string) => {
    body += chunk
  })
  // A stream that was reset says so by an error too; its code is what counts.
  stream.on('error', () => {})
  await within(new Promise((resolve) => stream.once('close', resolve)), { what: 'the end of the stream' })
  return { headers: answered, body, errorCode: stream.rstCode }
}

const extendedConnect = {
  ':method': 'CONNECT',
  ':protocol': 'websocket',
  ':scheme': 'https',
  ':path': '/ws',
  ':authority': 'localhost',
  'sec-websocket-version': '13'
}

test('T5: extended CONNECT is not offered, and a client that tries it all the same is reset', async (t) => {
  const { app, port, seen } = await served(t)
  await overHttp2(port, async (client) => {
    assert.equal(client.remoteSettings.enableConnectProtocol, false)
    const headers = { ...extendedConnect, origin: goodHeaders().Origin, authorization: `Bearer ${tokenFor(app)}` }
    const { headers: answer, errorCode } = await ask(client, headers)
    assert.deepEqual([answer, errorCode], [{}, constants.NGHTTP2_PROTOCOL_ERROR])
  })
  assert.deepEqual(seen, [])
  await assertNothingHeld(app)
})

test('T5: nor does it open anything where the developer switched it on', async (t) => {
  const { app, port, seen } = await served(t, { settings: { enableConnectProtocol: true } })
  await overHttp2(port, async (client) => {
    assert.equal(client.remoteSettings.enableConnectProtocol, true)
    const headers = { ...extendedConnect, origin: goodHeaders().Origin, authorization: `Bearer ${tokenFor(app)}` }
    const { headers: answer } = await ask(client, headers)
    assert.equal(answer[':status'], 405)
  })
  assert.deepEqual(seen, [])
  await assertNothingHeld(app)
})

test('T5, H11: a GET over HTTP/2 is 426, without the headers that HTTP/2 forbids', async (t) => {
  const { app, port } = await served(t)
  await overHttp2(port, async (client) => {
    for (let n = 0; n < 2; n++) {
      const { headers, body } = await ask(client, { ':path': '/ws', origin: 'https://evil.example' })
      assert.equal(headers[':status'], 426)
      assert.equal(body, bodyOf(426))
      assert.equal(headers['sec-websocket-version'], '13')
      assert.equal(headers['x-content-type-options'], 'nosniff')
      assert.deepEqual([headers.upgrade, headers.connection], [undefined, undefined])
    }
    assert.equal((await ask(client, { ':path': '/plain' })).body, 'plain')
  })
  await assertNothingHeld(app)
})

test('T5: on the same server HTTP/1.1 over TLS is served', async (t) => {
  const { app, port, seen } = await served(t)
  const tls = { rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] }
  await using client = await connect(port, { tls })
  assert.equal((client.socket as { alpnProtocol?: unknown }).alpnProtocol, 'http/1.1')
  const answer = await client.handshake({ path: '/ws', headers: goodHeaders(tokenFor(app)) })
  assert.equal(answer.statusCode, 101)
  assert.deepEqual(seen, ['GET /ws', 'handler'])
  client.destroy()
})

for (const request of [
  { method: 'CONNECT', path: '/ws' },
  { method: 'CONNECT', path: 'localhost:443' },
  { method: 'CONNECT', path: 'localhost:443', headers: { ...goodHeaders(), Upgrade: null, Connection: null } }
]) {
  test(`T5: ${JSON.stringify(request)} over HTTP/1.1 ends the socket, unanswered`, async (t) => {
    const { app } = await guarded(t)
    let called = 0
    app.addHook('onRequest', async () => void called++)
    app.wsRoute('/ws', { handler: () => void called++ })
    const client = await rawClient(t, await listen(app))
    await assert.rejects(within(client.handshake({ headers: goodHeaders(), timeoutMs: 300, ...request })))
    await client.serverEnd()
    assert.equal(client.unparsed.length, 0)
    assert.equal(await connectionsOf(app.server), 0)
    assert.equal(called, 0)
  })
}
