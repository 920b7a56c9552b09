/** Requests that only look like a handshake, as bytes on a socket (threats H4 to H7). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type HandshakeOptions, handshakeRequest } from '../support/http-message.ts'
import { connectionsOf, eventually } from '../support/wait.ts'
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

interface Served extends GuardedApp {
  readonly port: number
  /** What reached the developer's hooks and handlers. */
  readonly seen: string[]
}

async function served(t: TestContext): Promise<Served> {
  const all = await guarded(t, { guard: { auth: false, limits: { attempts: { max: 1_000 } } } })
  const seen: string[] = []
  for (const name of ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const) {
    all.app.addHook(name as 'onRequest', async (request) => void seen.push(`${name} ${request.method} ${request.url}`))
  }
  all.app.wsRoute('/ws', { handler: () => void seen.push('handler') })
  all.app.get('/plain', () => 'plain')
  all.app.post('/plain', () => 'posted')
  return { ...all, seen, port: await listen(all.app) }
}

const good = goodHeaders()

/** Refused in the words of the table, without any code of the developer's, and with nothing left. */
async function refused(t: TestContext, app: Served, request: HandshakeOptions, status: number, reason: string) {
  const client = await rawClient(t, app.port)
  assertRefused(await client.handshake({ path: '/ws', headers: good, ...request }), status)
  await ended(client)
  assert.equal(client.unparsed.length, 0)
  assert.equal(app.reasons().at(-1), reason, JSON.stringify(request))
  assert.deepEqual(app.seen, [])
}

/** Refused by node's parser before there is a request. */
async function unparsable(t: TestContext, app: Served, bytes: string): Promise<void> {
  const client = await rawClient(t, app.port)
  await client.write(Buffer.from(bytes, 'latin1'))
  assert.equal((await client.answer()).statusCode, 400, JSON.stringify(bytes))
  await ended(client)
  assert.deepEqual([app.seen, app.reasons()], [[], []], JSON.stringify(bytes))
}

const versions: readonly [name: string, value: string | readonly string[] | null, status: number, reason: string][] = [
  ['8', '8', 426, 'version'],
  ['7', '7', 426, 'version'],
  ['0', '0', 426, 'version'],
  ['14', '14', 426, 'version'],
  ['255', '255', 426, 'version'],
  ['none', null, 426, 'version'],
  ['empty', '', 426, 'version'],
  ['a list', '13, 8', 426, 'version'],
  ['a list the other way', '8, 13', 426, 'version'],
  ['a leading zero', '013', 426, 'version'],
  ['a sign', '+13', 426, 'version'],
  ['a fraction', '13.0', 426, 'version'],
  ['hex', '0xd', 426, 'version'],
  ['doubled', ['13', '13'], 400, 'duplicate_header'],
  ['13 and 8', ['13', '8'], 400, 'duplicate_header']
]

test('H4: another version than 13, or more than one, is refused before any hook', async (t) => {
  const app = await served(t)
  for (const [name, value, status, reason] of versions) {
    await refused(t, app, { headers: { ...good, 'Sec-WebSocket-Version': value } }, status, reason)
    assert.ok(name)
  }
  await assertNothingHeld(app.app)
})

test('H4: spaces around the version are HTTP’s own, and the header of old drafts changes nothing', async (t) => {
  const app = await served(t)
  const headers = { ...good, 'Sec-WebSocket-Version': ' \t13 \t', 'Sec-WebSocket-Origin': 'https://evil.example' }
  const client = await rawClient(t, app.port)
  assert.equal((await client.handshake({ path: '/ws', headers })).statusCode, 101)
  client.reset()
})

const targets: readonly [name: string, request: HandshakeOptions][] = [
  ['HTTP/1.0', { version: 'HTTP/1.0' }],
  ['HTTP/0.9', { version: 'HTTP/0.9' }],
  ['HTTP/2.0 without HTTP/2', { version: 'HTTP/2.0' }],
  ['an empty Host', { headers: { ...good, Host: '' } }],
  ['a Host of spaces', { headers: { ...good, Host: ' \t ' } }],
  ['the absolute form', { path: 'http://localhost/ws' }],
  ['the absolute form of another host', { path: 'http://evil.example/ws' }],
  ['the absolute form of https', { path: 'https://localhost/ws' }],
  ['the absolute form of ws', { path: 'ws://evil.example/ws' }],
  ['the absolute form with userinfo', { path: 'http://x@localhost/ws' }],
  ['the asterisk', { path: '*' }],
  ['a fragment', { path: '/ws#x' }],
  ['an empty fragment', { path: '/ws#' }],
  ['a fragment behind a query', { path: '/ws?a=1#x' }],
  ['a percent sign', { path: '/ws%' }],
  ['broken UTF-8', { path: '/%c3%28' }],
  ['an encoded surrogate', { path: '/%ed%a0%80' }]
]

for (const [name, request] of targets) {
  test(`H5: ${name} is 400`, async (t) => {
    const app = await served(t)
    await refused(t, app, request, 400, 'malformed_request')
    await assertNothingHeld(app.app)
  })
}

const line = 'GET /ws HTTP/1.1'
const head = handshakeRequest({ path: '/ws', headers: good }).toString('latin1')
const withLine = (one: string): string => head.replace(line, one)
const withHeader = (one: string): string => head.replace('\r\n\r\n', `\r\n${one}\r\n\r\n`)

const unparsables: Record<string, string> = {
  'no Host': head.replace('Host: localhost\r\n', ''),
  'the authority form': withLine('GET localhost:80 HTTP/1.1'),
  'a relative path': withLine('GET ws HTTP/1.1'),
  'an unknown version': withLine('GET /ws HTTP/1.2'),
  'another protocol': withLine('GET /ws WS/1.1'),
  'a lower-case method': withLine('get /ws HTTP/1.1'),
  'a method nobody knows': withLine('UPGRADE /ws HTTP/1.1'),
  'a space in the target': withLine('GET /w s HTTP/1.1'),
  'a NUL in the target': withLine('GET /ws\0 HTTP/1.1'),
  'line feeds only': head.replaceAll('\r\n', '\n'),
  'carriage returns only': head.replaceAll('\r\n', '\r'),
  'a bare line feed between headers': withHeader('X-A: a\nOrigin: https://evil.example'),
  'a bare line feed that ends the head': `${withHeader('X-A: a\n')}GET /plain HTTP/1.1\r\nHost: a\r\n\r\n`,
  'a bare carriage return in a header': withHeader('X-A: a\rOrigin: https://evil.example'),
  'a folded header': withHeader('X-A: a\r\n b'),
  'a folded header that looks like one': withHeader('X-A: a\r\n\tOrigin: https://evil.example'),
  'a folded Upgrade': head.replace('Upgrade: websocket', 'Upgrade:\r\n websocket'),
  'a folded first header': head.replace(`${line}\r\n`, `${line}\r\n X-A: a\r\n`),
  'a space before a colon': withHeader('X-A : a'),
  'a header without a name': withHeader(': a'),
  'a header without a colon': withHeader('X-A'),
  'a NUL in a header': withHeader('X-A: a\0b')
}

for (const [name, bytes] of Object.entries(unparsables)) {
  test(`H5: ${name} is 400 in node's own words, and the socket ends`, async (t) => {
    const app = await served(t)
    assert.notEqual(bytes, head)
    if (name === 'no Host') await refused(t, app, { headers: { ...good, Host: null } }, 400, 'malformed_request')
    else await unparsable(t, app, bytes)
    await eventually(async () => assert.equal(await connectionsOf(app.app.server), 0))
    await assertNothingHeld(app.app)
  })
}

const methods = ['POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'QUERY', 'M-SEARCH']

for (const method of methods) {
  test(`H6: an upgrade by ${method} is 405 on every path, before any hook`, async (t) => {
    const app = await served(t)
    for (const path of ['/ws', '/plain', '/nope', '/%']) {
      await refused(t, app, { method, path }, 405, 'method')
      const headers = { ...good, 'Content-Length': '2' }
      await refused(t, app, { method, path, headers, body: 'hi' }, 405, 'method')
    }
    await assertNothingHeld(app.app)
  })
}

test('H5: a request line that ends before its version is HTTP/0.9 to node, and 400 to us', async (t) => {
  const app = await served(t)
  for (const one of ['GET /ws', 'GET /ws\nX: y HTTP/1.1']) {
    const client = await rawClient(t, app.port)
    await client.write(Buffer.from(withLine(one), 'latin1'))
    assertRefused(await client.answer(), 400)
    await ended(client)
  }
  assert.deepEqual([app.seen, app.reasons()], [[], ['malformed_request', 'malformed_request']])
})

const upgrades = [
  'h2c',
  'websocket, h2c',
  'h2c, websocket',
  'WebSocket/13',
  'websocket/13',
  'websocket;q=1',
  'websockets',
  'TLS/1.0',
  '*'
]

for (const upgrade of upgrades) {
  test(`H6: Upgrade: ${upgrade} opens nothing, on any path`, async (t) => {
    const app = await served(t)
    for (const path of ['/ws', '/plain', '/nope']) {
      await refused(t, app, { path, headers: { ...good, Upgrade: upgrade } }, 400, 'malformed_request')
    }
    const twice = { ...good, Upgrade: ['websocket', upgrade] }
    await refused(t, app, { headers: twice }, 400, 'malformed_request')
  })
}

test('H6: HTTP2-Settings beside an upgrade changes nothing', async (t) => {
  const app = await served(t)
  const headers = { Connection: 'Upgrade, HTTP2-Settings', 'HTTP2-Settings': 'AAMAAABkAAQAAP__' }
  await refused(t, app, { headers: { ...good, ...headers, Upgrade: 'h2c' } }, 400, 'malformed_request')
  const client = await rawClient(t, app.port)
  assert.equal((await client.handshake({ path: '/ws', headers: { ...good, ...headers } })).statusCode, 101)
  client.reset()
})

test('H6: without an upgrade token in Connection it is a plain request', async (t) => {
  const app = await served(t)
  for (const connection of [null, 'keep-alive', 'close', 'websocket', 'xUpgrade', 'Upgrade;x']) {
    await refused(t, app, { headers: { ...good, Connection: connection } }, 426, 'no_upgrade')
  }
  for (const upgrade of [null, '']) {
    await refused(t, app, { headers: { ...good, Upgrade: upgrade } }, 426, 'no_upgrade')
  }
  for (const connection of ['upgrade', 'UPGRADE', 'keep-alive, Upgrade', 'Upgrade,keep-alive']) {
    const client = await rawClient(t, app.port)
    const answer = await client.handshake({ path: '/ws', headers: { ...good, Connection: connection } })
    assert.equal(answer.statusCode, 101, connection)
    client.reset()
  }
})

test('H7: an upgrade to a path that is none of ours is closed, unanswered by the app', async (t) => {
  const app = await served(t)
  app.logs.clear()
  for (const path of [
    '/plain',
    '/plain?token=canary-plain',
    '/plain/',
    '/ws/',
    '//ws',
    '/WS',
    '/nope?token=canary-404'
  ]) {
    const status = path.startsWith('/plain') && path !== '/plain/' ? 400 : 404
    const reason = status === 400 ? 'not_a_websocket_route' : 'not_found'
    await refused(t, app, { path }, status, reason)
  }
  assert.doesNotMatch(app.logs.text(), /canary/)
  await eventually(async () => assert.equal(await connectionsOf(app.app.server), 0))
  await assertNothingHeld(app.app)
})
