import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import cookie from '@fastify/cookie'
import { injectWs } from '../../lib/testing.ts'
import { secret } from '../support/app.ts'
import { findSecrets, recordChannels } from '../support/canary.ts'
import { claims, signJwt } from '../support/tokens.ts'
import { assertRefused, ended, type GuardedApp, goodHeaders, guarded, listen, rawClient } from './harness.ts'

// A word in each place where a credential may be: none may be seen anywhere again.
const canaries = {
  query: 'canary-in-the-query',
  ticket: 'canary-in-the-ticket',
  header: 'canary-in-the-header',
  cookie: 'canary-in-the-cookie',
  offer: 'canary-in-the-offer'
}
const path = (base: string): string => `${base}?a=1&token=${canaries.query}&ticket=${canaries.ticket}`
const headers = {
  Origin: 'https://app.example.com',
  Authorization: `Bearer ${canaries.header}`,
  Cookie: `token=${canaries.cookie}`,
  'Sec-WebSocket-Protocol': `ws-guard.v1, bearer.${canaries.offer}`
}

/** All sources on, so that all are read; what the events' channels carry is kept with the log. */
async function app(t: TestContext): Promise<GuardedApp & { readonly everything: () => string }> {
  const all = await guarded(t, {
    server: { genReqId: () => 'req-1' },
    guard: { auth: { from: ['header', 'subprotocol', 'cookie', 'query', 'ticket'] } }
  })
  await all.app.register(cookie)
  const published = recordChannels(t)
  all.app.wsRoute('/ws', { handler() {} })
  all.app.wsRoute('/one/:id', { auth: { from: ['query'] }, handler() {} })
  all.app.wsRoute('/throws', { auth: false, preHandler: async () => Promise.reject(new Error('x')), handler() {} })
  all.app.get('/plain', () => 'plain')
  return { ...all, everything: () => all.logs.text() + JSON.stringify(published) }
}

test('P1: no credential is in a log, an event or an answer, whatever the handshake is refused for', async (t) => {
  const { app: guardedApp, logs, everything, reasons } = await app(t)
  const port = await listen(guardedApp)
  const requests: ReadonlyArray<readonly [object, number]> = [
    [{ path: path('/ws'), headers }, 400],
    [{ path: path('/nope'), headers }, 404],
    [{ path: path('/plain'), headers }, 400],
    [{ path: path('/throws'), headers }, 500],
    [{ path: path('/one/x'), headers: { Origin: headers.Origin } }, 401],
    [{ path: path('/ws'), headers: { ...headers, Origin: 'https://evil.example' } }, 403],
    [{ path: path('/ws'), headers: { ...headers, 'Sec-WebSocket-Version': '8' } }, 426],
    [{ path: path('/ws'), headers: { ...headers, 'Sec-WebSocket-Key': 'x' } }, 400],
    [{ path: path('/ws'), headers: { ...headers, Upgrade: 'h2c' } }, 400],
    [{ path: path('/%'), headers }, 400],
    [{ path: path('/ws#x'), headers }, 400],
    [{ path: `http://localhost${path('/ws')}`, headers }, 400],
    [{ path: path('/ws'), headers, method: 'POST' }, 405],
    [{ path: path('/ws'), headers: { ...headers, 'Content-Length': '1' }, body: 'x' }, 400],
    [{ path: path('/ws'), headers: { ...headers, Authorization: [headers.Authorization, headers.Authorization] } }, 400]
  ]
  for (const [request, status] of requests) {
    const client = await rawClient(t, port)
    const answer = await client.handshake(request)
    assertRefused(answer, status)
    assert.deepEqual(findSecrets(JSON.stringify(answer), Object.values(canaries)), [])
    await ended(client)
  }
  assert.equal(reasons().length, requests.length)
  assert.deepEqual(findSecrets(everything(), Object.values(canaries)), [])
  assert.ok(logs.lines.some(({ level }) => level === 30))
})

test('P1: nor when each credential comes alone, or is good', async (t) => {
  const { app: guardedApp, everything } = await app(t)
  const port = await listen(guardedApp)
  const good = signJwt(claims({ jti: 'canary-claim' }), secret)
  for (const token of ['canary-token', good]) {
    const status = token === good ? 101 : 401
    const requests = [
      { path: '/ws', headers: goodHeaders(token) },
      { path: '/ws', headers: { ...goodHeaders(), Cookie: `token=${token}` } },
      { path: '/ws', headers: { ...goodHeaders(), 'Sec-WebSocket-Protocol': `bearer.${token}, ws-guard.v1` } },
      { path: `/ws?token=${token}`, headers: goodHeaders() }
    ]
    for (const request of requests) {
      const client = await rawClient(t, port)
      const answer = await client.handshake(request)
      assert.equal(answer.statusCode, status)
      assert.deepEqual(findSecrets(JSON.stringify(answer) + everything(), [token]), [])
    }
  }
  await using ws = await injectWs(guardedApp, '/ws?ticket=canary-ticket')
  assert.equal(ws.statusCode, 401)
  assert.doesNotMatch(everything(), /canary/)
})

test('P1, H11: a plain GET of the same URL shows nothing either', async (t) => {
  const { app: guardedApp, logs } = await app(t)
  const port = await listen(guardedApp)
  const client = await rawClient(t, port)
  const answer = await client.handshake({
    path: path('/ws'),
    headers: { ...headers, Upgrade: null, Connection: 'keep-alive' }
  })
  assertRefused(answer, 426)
  await ended(client)
  assert.doesNotMatch(JSON.stringify(answer), /canary/)
  assert.doesNotMatch(logs.text(), /canary/)
  const { req } = logs.find('incoming request') as unknown as { req: Record<string, unknown> }
  assert.equal(req.url, '/ws')
})

test('P3: what a client sends cannot forge a log line, and is cut', async (t) => {
  const { app: guardedApp, logs } = await app(t)
  const origins = [`https://a\u0085b\u009f${'x'.repeat(500)}`, 'https://\u00e4']
  for (const origin of origins) {
    const client = await rawClient(t, await (guardedApp.server.listening ? portOf(guardedApp) : listen(guardedApp)))
    assertRefused(await client.handshake({ path: '/ws', headers: { Origin: origin } }), 403)
  }
  const [first, second] = logs.filter('ws.refused').map(({ origin }) => String(origin))
  assert.equal(first?.length, 256)
  assert.match(String(first), /^https:\/\/a\?b\?x+$/)
  assert.equal(second, 'https://\u00e4')
})

function portOf(guardedApp: GuardedApp['app']): number {
  return (guardedApp.server.address() as { port: number }).port
}
