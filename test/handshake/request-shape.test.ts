import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { checkUpgrade, chooseProtocol, readOffers } from '../../lib/handshake/request-shape.ts'
import { connectionsOf, eventually } from '../support/wait.ts'
import { assertRefused, type GuardedApp, goodHeaders, guarded, listen, rawClient } from './harness.ts'

interface Served extends GuardedApp {
  readonly port: number
  readonly seen: string[]
}

/** A route that anybody may open, on a port; `seen` are the requests that reached the developer's hooks. */
async function served(t: TestContext): Promise<Served> {
  const all = await guarded(t, { guard: { auth: false } })
  const seen: string[] = []
  all.app.addHook('onRequest', async (request) => void seen.push(request.url))
  all.app.wsRoute('/ws', {
    handler: ({ socket }) => {
      socket.on('message', (data) => socket.send(data))
    }
  })
  all.app.get('/plain', () => 'plain')
  all.app.post('/ws', () => 'posted')
  return { ...all, seen, port: await listen(all.app) }
}

type Request = Parameters<Awaited<ReturnType<typeof rawClient>>['handshake']>[0]

async function refused(t: TestContext, { app, port, reasons, seen }: Served, request: Request, status: number) {
  const client = await rawClient(t, port)
  const answer = await client.handshake({ path: '/ws', ...request })
  assertRefused(answer, status)
  await client.serverEnd()
  client.halfClose()
  await eventually(async () => assert.equal(await connectionsOf(app.server), 0))
  assert.equal(client.unparsed.length, 0)
  assert.deepEqual(seen, [])
  return reasons().at(-1)
}

const good = goodHeaders()

test('the same request without a fault is a 101', async (t) => {
  const { port } = await served(t)
  const client = await rawClient(t, port)
  assert.equal((await client.handshake({ path: '/ws', headers: good })).statusCode, 101)
  await client.sendText('hi')
  assert.equal((await client.nextFrame()).payload.toString(), 'hi')
})

test('T3: a body on an upgrade is refused, whichever way it is announced', async (t) => {
  const app = await served(t)
  const bodies: Request[] = [
    { headers: { ...good, 'Content-Length': '5' }, body: 'hello' },
    { headers: { ...good, 'Content-Length': '5' } },
    { headers: { ...good, 'Transfer-Encoding': 'chunked' }, body: '5\r\nhello\r\n0\r\n\r\n' }
  ]
  for (const request of bodies) assert.equal(await refused(t, app, request, 400), 'body_on_upgrade')
})

test('T3: a length of nothing is no body', async (t) => {
  const { port } = await served(t)
  const client = await rawClient(t, port)
  const answer = await client.handshake({ path: '/ws', headers: { ...good, 'Content-Length': '0' } })
  assert.equal(answer.statusCode, 101)
})

test('H4: only version 13, said once, is served', async (t) => {
  const app = await served(t)
  for (const version of ['8', '7', '', '13, 13', '013', null]) {
    const headers = { ...good, 'Sec-WebSocket-Version': version }
    assert.equal(await refused(t, app, { headers }, 426), 'version', String(version))
  }
  const doubled = { headers: { ...good, 'Sec-WebSocket-Version': ['13', '13'] } }
  assert.equal(await refused(t, app, doubled, 400), 'duplicate_header')
})

test('H4: a key that is no base64 of 16 bytes is refused', async (t) => {
  const app = await served(t)
  for (const key of ['', 'short', 'A'.repeat(24), `${'A'.repeat(22)}=*`, `${'A'.repeat(23)}==`, null]) {
    const headers = { ...good, 'Sec-WebSocket-Key': key }
    assert.equal(await refused(t, app, { headers }, 400), 'malformed_request', String(key))
  }
})

test('H5: HTTP/1.0, a missing or empty Host, the absolute form and a fragment are refused', async (t) => {
  const app = await served(t)
  const requests: Request[] = [
    { version: 'HTTP/1.0', headers: good },
    { headers: { ...good, Host: '' } },
    { path: 'http://localhost/ws', headers: good },
    { path: '/ws#fragment', headers: good },
    { path: '/ws?a=1#fragment', headers: good },
    { path: '/%', headers: good },
    { path: '/%c3%28?x=1', headers: good },
    { path: '*', headers: good }
  ]
  for (const request of requests) {
    assert.equal(await refused(t, app, request, 400), 'malformed_request', JSON.stringify(request))
  }
})

test('H5: without Host node refuses in its own words, and the socket ends', async (t) => {
  const { port, app, seen } = await served(t)
  const client = await rawClient(t, port)
  const answer = await client.handshake({ path: '/ws', headers: { ...good, Host: null } })
  assert.equal(answer.statusCode, 400)
  await client.serverEnd()
  client.halfClose()
  await eventually(async () => assert.equal(await connectionsOf(app.server), 0))
  assert.deepEqual(seen, [])
})

test('H5: a Host that is missing is refused where node lets it through', () => {
  const request = { method: 'GET', httpVersionMajor: 1, httpVersionMinor: 1, url: '/', headers: {} }
  assert.equal(checkUpgrade(request as never), 'malformed_request')
  assert.equal(checkUpgrade({ ...request, url: undefined, headers: { host: 'a' } } as never), 'malformed_request')
  assert.equal(checkUpgrade({ ...request, headers: { host: 'a' } } as never), 'malformed_request')
  assert.equal(checkUpgrade({ ...request, headers: { host: 'a', upgrade: 'WebSocket' } } as never), undefined)
  assert.equal(checkUpgrade({ ...request, httpVersionMajor: 2, headers: { host: 'a' } } as never), 'malformed_request')
})

test('H6: another protocol than websocket is refused everywhere', async (t) => {
  const app = await served(t)
  for (const path of ['/ws', '/plain', '/nope']) {
    for (const upgrade of ['h2c', 'websocket, h2c', 'websocket/13']) {
      const headers = { ...good, Upgrade: upgrade }
      assert.equal(await refused(t, app, { path, headers }, 400), 'malformed_request')
    }
  }
})

test('H6: an upgrade that is no GET is 405 before any hook', async (t) => {
  const app = await served(t)
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
    assert.equal(await refused(t, app, { method, headers: good }, 405), 'method', method)
  }
  const posted = { method: 'POST', headers: { ...good, 'Content-Length': '2' }, body: 'hi' }
  assert.equal(await refused(t, app, posted, 405), 'method')
})

test('H7: an upgrade on a route that is none of ours, or on no route, never reaches the developer', async (t) => {
  const app = await served(t)
  assert.equal(await refused(t, app, { path: '/plain', headers: good }, 400), 'not_a_websocket_route')
  assert.equal(await refused(t, app, { path: '/nope?canary-in-the-url', headers: good }, 404), 'not_found')
  assert.equal(app.logs.text().includes('Route GET'), false)
})

test('H2, A7: a header that may come once and comes twice is refused', async (t) => {
  const app = await served(t)
  const twice: Record<string, string> = {
    Origin: 'https://app.example.com',
    Authorization: 'Bearer a',
    'Sec-WebSocket-Protocol': 'ws-guard.v1',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    Cookie: 'a=1'
  }
  for (const [name, value] of Object.entries(twice)) {
    const headers = { ...good, [name]: [value, value] }
    assert.equal(await refused(t, app, { headers }, 400), 'duplicate_header', name)
    assert.equal(app.logs.filter('ws.refused').at(-1)?.header, name.toLowerCase())
  }
  const mixedCase = { headers: good, rawHeaders: ['oRiGiN: https://evil.example'] }
  assert.equal(await refused(t, app, mixedCase, 400), 'duplicate_header')
})

test('H12: what ws could not read as a list of subprotocols is refused in our words', async (t) => {
  const app = await served(t)
  const lists = ['', ',', 'ws-guard.v1,', ',ws-guard.v1', 'a b', 'a/b', 'ws-guard.v1, ws-guard.v1', 'a;q=1', 'ä']
  for (const offered of lists) {
    const headers = { ...good, 'Sec-WebSocket-Protocol': offered }
    assert.equal(await refused(t, app, { headers }, 400), 'subprotocol', offered)
  }
  const client = await rawClient(t, app.port)
  const headers = { ...good, 'Sec-WebSocket-Protocol': 'other \t,\tws-guard.v1' }
  const answer = await client.handshake({ path: '/ws', headers })
  assert.equal(answer.statusCode, 101)
  assert.equal(answer.headers['sec-websocket-protocol'], 'ws-guard.v1')
})

test('H12: offers with a credential are told apart, and only a name of the route is ever chosen', () => {
  assert.deepEqual(readOffers(undefined), { protocols: [], credentials: [] })
  assert.deepEqual(readOffers('a, bearer.x ,base64url.bearer.y,ticket.z,bearer,Bearer.q'), {
    protocols: ['a', 'bearer', 'Bearer.q'],
    credentials: ['bearer.x', 'base64url.bearer.y', 'ticket.z']
  })
  const choose = (header: string | undefined): unknown => chooseProtocol(readOffers(header), ['b', 'a'])
  assert.deepEqual(choose(undefined), { protocol: '' })
  assert.deepEqual(choose('a, b'), { protocol: 'b' })
  assert.deepEqual(choose('x, a'), { protocol: 'a' })
  assert.deepEqual(choose('x'), { reason: 'subprotocol', detail: { expected: ['b', 'a'] } })
  assert.deepEqual(choose('bearer.x'), { reason: 'subprotocol', detail: { expected: ['b', 'a'] } })
})
