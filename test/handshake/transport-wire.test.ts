/** What a client claims about its transport, as bytes on a socket (threats T1, T3, T4, T6). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FastifyServerOptions } from 'fastify'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { origin, tokenFor } from '../support/app.ts'
import { selfSigned } from '../support/certificate.ts'
import { closeOf, opcodes } from '../support/frames.ts'
import type { HttpAnswer } from '../support/http-message.ts'
import { connect } from '../support/raw-client.ts'
import { assertNothingHeld, assertRefused, ended, type GuardedApp, guarded, listen, rawClient } from './harness.ts'

type Headers = Readonly<Record<string, string | readonly string[] | null>>

interface Served extends GuardedApp {
  readonly port: number
  /** The address and the user of each connection. */
  readonly opened: string[]
}

async function served(t: TestContext, guard: WsGuardOptions = {}, server: FastifyServerOptions = {}): Promise<Served> {
  const all = await guarded(t, { guard, server })
  const opened: string[] = []
  all.app.wsRoute('/ws', { handler: ({ ip }) => void opened.push(ip) })
  return { ...all, opened, port: await listen(all.app) }
}

async function ask(t: TestContext, { app, port }: Served, headers: Headers = {}): Promise<HttpAnswer> {
  const client = await rawClient(t, port)
  const good = { Origin: origin, Authorization: `Bearer ${tokenFor(app)}` }
  const answer = await client.handshake({ path: '/ws', headers: { ...good, ...headers } })
  if (answer.statusCode === 101) client.reset()
  else await ended(client)
  return answer
}

const claims: readonly Headers[] = [
  {},
  { 'X-Forwarded-Proto': 'https' },
  { 'X-Forwarded-Proto': 'wss' },
  { 'X-Forwarded-Proto': ['https', 'https'] },
  { 'X-Forwarded-Proto': 'https', 'X-Forwarded-For': '127.0.0.1', 'X-Forwarded-Ssl': 'on', 'Front-End-Https': 'on' },
  { Forwarded: 'for=127.0.0.1;proto=https', 'X-Forwarded-Port': '443', 'X-Url-Scheme': 'https' },
  { Host: 'localhost:443', 'X-Forwarded-Host': 'app.example.com:443' }
]

for (const [who, trustProxy] of [
  ['an app without proxy', undefined],
  ['an app behind another proxy', ['10.0.0.7']]
] as const) {
  test(`T1: ${who}: http is 403 and no redirect, whatever the client claims`, async (t) => {
    const app = await served(t, { requireTls: true }, { ...(trustProxy && { trustProxy: [...trustProxy] }) })
    for (const headers of claims) {
      const answer = await ask(t, app, headers)
      assertRefused(answer, 403)
      assert.equal(answer.headers.location, undefined)
      assert.equal(answer.headers['strict-transport-security'], undefined)
    }
    assert.deepEqual(app.reasons(), Array(claims.length).fill('tls_required'))
    assert.deepEqual(app.opened, [])
  })
}

const byProxy: readonly [proto: string | readonly string[] | null, status: number][] = [
  ['https', 101],
  ['wss', 101],
  // The last word is the proxy's own, what comes before it is the client's.
  ['http, https', 101],
  [['http', 'https'], 101],
  ['https, http', 403],
  [['https', 'http'], 403],
  ['https,http', 403],
  ['https, ', 403],
  ['http', 403],
  ['ws', 403],
  ['HTTPS', 403],
  ['https;', 403],
  ['', 403],
  [null, 403]
]

for (const [proto, status] of byProxy) {
  test(`T1: X-Forwarded-Proto: ${JSON.stringify(proto)} of a trusted proxy is ${status}`, async (t) => {
    const app = await served(t, { requireTls: true }, { trustProxy: ['127.0.0.1'] })
    const answer = await ask(t, app, { 'X-Forwarded-Proto': proto })
    assert.equal(answer.statusCode, status)
    const hsts = answer.headers['strict-transport-security']
    assert.equal(hsts !== undefined, status === 101)
  })
}

test('T1: over TLS it is 101 without any proxy', async (t) => {
  const app = await served(t, { requireTls: true }, { https: selfSigned() } as object)
  await using client = await connect(app.port, { tls: true })
  const headers = { Origin: origin, Authorization: `Bearer ${tokenFor(app.app)}` }
  assert.equal((await client.handshake({ path: '/ws', headers })).statusCode, 101)
})

test('T4: rotating X-Forwarded-For from a peer that is no proxy of ours is one client', async (t) => {
  for (const trustProxy of [undefined, ['10.0.0.7']]) {
    const limits = { attempts: { max: 3 } }
    const app = await served(t, { limits }, { ...(trustProxy && { trustProxy }) })
    const statuses: number[] = []
    for (let n = 0; n < 6; n++) {
      const address = `203.0.113.${n}`
      const headers = { 'X-Forwarded-For': address, 'X-Real-IP': address, Forwarded: `for=${address}` }
      statuses.push((await ask(t, app, headers)).statusCode)
    }
    assert.deepEqual(statuses, [101, 101, 101, 429, 429, 429])
    assert.deepEqual(new Set(app.opened), new Set(['127.0.0.1']))
    assert.deepEqual(new Set(app.logs.filter('ws.refused').map(({ ip }) => ip)), new Set(['127.0.0.1']))
  }
})

test('T4: behind a proxy the address is the last one that the proxy saw, not the first that the client wrote', async (t) => {
  const app = await served(t, { limits: { attempts: { max: 1 } } }, { trustProxy: ['127.0.0.1'] })
  const statusOf = async (forwardedFor: string): Promise<number> =>
    (await ask(t, app, { 'X-Forwarded-For': forwardedFor })).statusCode
  assert.equal(await statusOf('198.51.100.1, 203.0.113.9'), 101)
  assert.equal(await statusOf('198.51.100.2, 203.0.113.9'), 429)
  assert.equal(await statusOf('203.0.113.9'), 429)
  assert.equal(await statusOf('203.0.113.9, 203.0.113.10'), 101)
  assert.deepEqual(app.opened, ['203.0.113.9', '203.0.113.10'])
})

test('T4: what a trusted proxy passes on in X-Forwarded-Host decides nothing', async (t) => {
  const guard = { origins: 'same-origin' as const, hosts: ['app.example.com'] }
  const app = await served(t, guard, { trustProxy: ['127.0.0.1'] })
  const evil = { Origin: 'http://evil.example', Host: 'app.example.com', 'X-Forwarded-Host': 'evil.example' }
  assertRefused(await ask(t, app, evil), 403)
  const forwarded = { Origin: 'http://app.example.com', Host: 'evil.example', 'X-Forwarded-Host': 'app.example.com' }
  assertRefused(await ask(t, app, forwarded), 403)
  const own = { Origin: 'http://app.example.com', Host: 'app.example.com', 'X-Forwarded-Host': 'evil.example' }
  assert.equal((await ask(t, app, own)).statusCode, 101)
})

const bodies: readonly [name: string, rawHeaders: string[], body: string][] = [
  ['a length', ['Content-Length: 5'], 'hello'],
  ['a length and no bytes', ['Content-Length: 5'], ''],
  ['a length that looks like a frame', ['Content-Length: 7'], '\x81\x81\0\0\0\0x'],
  ['chunks', ['Transfer-Encoding: chunked'], '5\r\nhello\r\n0\r\n\r\n'],
  ['no chunk', ['Transfer-Encoding: chunked'], '0\r\n\r\n'],
  ['chunks in upper case', ['TRANSFER-ENCODING: CHUNKED'], '0\r\n\r\n'],
  ['identity', ['Transfer-Encoding: identity'], ''],
  ['a coding nobody knows', ['Transfer-Encoding: xchunked'], ''],
  ['an empty coding', ['Transfer-Encoding:'], ''],
  ['codings in two lines', ['Transfer-Encoding: gzip', 'Transfer-Encoding: chunked'], '0\r\n\r\n'],
  ['a length and chunks', ['Content-Length: 5', 'Transfer-Encoding: chunked'], '0\r\n\r\n'],
  ['two lengths', ['Content-Length: 0', 'Content-Length: 5'], 'hello'],
  ['a list of lengths', ['Content-Length: 0, 5'], 'hello'],
  ['a negative length', ['Content-Length: -1'], ''],
  ['a signed length', ['Content-Length: +5'], 'hello'],
  ['a length in hex', ['Content-Length: 0x5'], 'hello'],
  ['a length beyond any', ['Content-Length: 99999999999999999999'], ''],
  ['an empty length', ['Content-Length:'], ''],
  ['a space before the colon', ['Content-Length : 5'], 'hello']
]

test('T3: a body, however it is announced, is 400, and none of it is a frame', async (t) => {
  const { app, logs } = await guarded(t, { guard: { auth: false } })
  const messages: string[] = []
  app.wsRoute('/ws', {
    handler: ({ socket }) => {
      socket.on('message', (data) => messages.push(String(data)))
    }
  })
  const port = await listen(app)
  for (const [name, rawHeaders, body] of bodies) {
    const client = await rawClient(t, port)
    const answer = await client.handshake({
      path: '/ws',
      headers: { Origin: origin },
      rawHeaders,
      body: Buffer.from(body, 'latin1')
    })
    assert.equal(answer.statusCode, 400, name)
    await ended(client)
    assert.equal(client.unparsed.length, 0, name)
  }
  assert.equal(logs.filter('ws.open').length, 0)
  assert.deepEqual(messages, [])
  await assertNothingHeld(app)
})

const offers: readonly (readonly string[])[] = [
  ['Sec-WebSocket-Extensions: permessage-deflate'],
  ['Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits'],
  ['Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover'],
  ['Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8, permessage-deflate'],
  ['Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits="15"'],
  ['SEC-WEBSOCKET-EXTENSIONS: PerMessage-Deflate'],
  ['Sec-WebSocket-Extensions: permessage-deflate', 'Sec-WebSocket-Extensions: permessage-deflate'],
  ['Sec-WebSocket-Extensions: x-webkit-deflate-frame'],
  ['Sec-WebSocket-Extensions: deflate-frame, permessage-bzip2, permessage-deflate'],
  ['X-WebKit-Deflate-Frame: 1', 'Sec-WebSocket-Extensions: x-webkit-deflate-frame; no_context_takeover'],
  ['Sec-WebSocket-Extensions: constructor; __proto__=1, permessage-deflate']
]

for (const rawHeaders of offers) {
  test(`T6: ${rawHeaders.join(' | ')}: nothing is negotiated, and a compressed frame is 1002`, async (t) => {
    const { app } = await guarded(t, { guard: { auth: false } })
    const messages: unknown[] = []
    app.wsRoute('/ws', { handler: ({ socket }) => void socket.on('message', (data) => messages.push(data)) })
    const port = await listen(app)
    for (const frame of [{ rsv: 4 }, { rsv: 4, opcode: opcodes.binary }, { rsv: 4, fin: false }, { rsv: 2 }]) {
      const client = await rawClient(t, port)
      const answer = await client.handshake({ path: '/ws', headers: { Origin: origin }, rawHeaders })
      assert.equal(answer.statusCode, 101)
      assert.equal(answer.headers['sec-websocket-extensions'], undefined)
      // "Hello", as permessage-deflate would send it (RFC 7692 section 7.2.3.1).
      await client.sendFrame({ ...frame, payload: Buffer.from('f248cdc9c90700', 'hex') })
      assert.equal(closeOf(await client.nextFrame({ opcode: opcodes.close })).code, 1002)
      client.reset()
    }
    assert.deepEqual(messages, [])
    await assertNothingHeld(app)
  })
}
