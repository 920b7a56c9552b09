import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import cookie from '@fastify/cookie'
import type { FastifyInstance } from 'fastify'
import type { CredentialSource } from '../../lib/handshake/credentials.ts'
import { type InjectWsOptions, injectWs } from '../../lib/testing.ts'
import { tokenFor } from '../support/app.ts'
import { assertRefused, type GuardedApp, goodHeaders, guarded, listen, rawClient } from './harness.ts'

/** A route that takes credentials from the sources given. */
async function from(t: TestContext, ...sources: CredentialSource[]): Promise<GuardedApp> {
  const all = await guarded(t)
  if (sources.includes('cookie')) await all.app.register(cookie)
  all.app.wsRoute('/ws', { auth: { from: sources }, handler() {} })
  return all
}

async function answerTo(app: FastifyInstance, options: InjectWsOptions, path = '/ws') {
  await using ws = await injectWs(app, path, options)
  return { statusCode: ws.statusCode, headers: ws.headers, body: ws.body, protocol: ws.protocol }
}

async function statusOf(app: FastifyInstance, options: InjectWsOptions, path = '/ws'): Promise<number> {
  return (await answerTo(app, options, path)).statusCode
}

const base64url = (text: string): string => Buffer.from(text).toString('base64url')

test('A1: no credential is 401', async (t) => {
  const { app, reasons } = await from(t, 'header', 'subprotocol')
  assertRefused(await answerTo(app, {}), 401)
  assertRefused(await answerTo(app, { protocols: 'ws-guard.v1' }), 401)
  assert.deepEqual(reasons(), ['no_credential', 'no_credential'])
  assert.equal(app.wsGuard.connections, 0)
})

test('A8: Authorization is Bearer and one token, in any case', async (t) => {
  const { app } = await from(t, 'header')
  const token = tokenFor(app)
  for (const authorization of [
    `Basic ${token}`,
    token,
    `Bearer${token}`,
    'Bearer',
    `Bearer ${token} x`,
    `Bearer  ${token}`
  ]) {
    assertRefused(await answerTo(app, { headers: { authorization } }), 401)
  }
  assert.equal(await statusOf(app, { headers: { authorization: `bEaReR ${token}` } }), 101)
})

test('A8: a source that a route does not name is not looked at', async (t) => {
  const { app } = await from(t, 'header')
  await app.register(cookie)
  const token = tokenFor(app)
  assert.equal(await statusOf(app, { cookies: { token } }), 401)
  assert.equal(await statusOf(app, { headers: { authorization: 'Basic x' }, cookies: { token } }), 401)
  assert.equal(await statusOf(app, {}, `/ws?token=${token}`), 401)
  assert.equal(await statusOf(app, { protocols: ['ws-guard.v1', `bearer.${token}`] }), 401)
  assert.equal(await statusOf(app, { token, cookies: { token }, protocols: ['ws-guard.v1', `bearer.${token}`] }), 101)
})

test('H12: a token among the subprotocols is taken, never answered, and needs a real one beside it', async (t) => {
  const { app } = await from(t, 'subprotocol')
  const token = tokenFor(app)
  for (const offered of [`bearer.${token}`, `base64url.bearer.${base64url(token)}`]) {
    for (const protocols of [
      [offered, 'ws-guard.v1'],
      ['ws-guard.v1', offered]
    ]) {
      const answer = await answerTo(app, { protocols })
      assert.equal(answer.statusCode, 101)
      assert.equal(answer.headers['sec-websocket-protocol'], 'ws-guard.v1')
    }
    assertRefused(await answerTo(app, { protocols: [offered] }), 400)
    assertRefused(await answerTo(app, { protocols: [offered, 'other'] }), 400)
  }
  assertRefused(await answerTo(app, { protocols: ['ws-guard.v1', `ticket.${token}`] }), 401)
})

test('H12: base64url.bearer. carries what is no token character, in its one spelling', async (t) => {
  const seen: string[] = []
  const { app } = await guarded(t, { jwt: false })
  const verify = (token: string): object => {
    seen.push(token)
    return { sub: 'a' }
  }
  app.wsRoute('/ws', { auth: { from: ['subprotocol'], verify }, handler() {} })
  const status = (value: string): Promise<number> =>
    statusOf(app, { protocols: ['ws-guard.v1', `base64url.bearer.${value}`] })
  assert.equal(await status(base64url('a/b=c ä')), 101)
  assert.deepEqual(seen, ['a/b=c ä'])
  for (const spelling of ['', 'YQ~', 'YR', 'Y', 'YWI*', `${base64url('x').slice(0, -1)}`]) {
    assert.equal(await status(spelling), 401, spelling)
  }
  assert.equal(seen.length, 1)
})

test('A8: a cookie is taken where the route names it, percent-decoded, and once', async (t) => {
  const { app, reasons } = await from(t, 'cookie')
  const token = tokenFor(app)
  assert.equal(await statusOf(app, { cookies: { token } }), 101)
  assert.equal(await statusOf(app, { cookies: { other: token } }), 401)
  assert.equal(await statusOf(app, { headers: { cookie: `a=1; token=${token};b=2` } }), 101)
  for (const twice of [`token=${token}; token=${token}`, `token =x; token=${token}`, `token=x;token=y`]) {
    assertRefused(await answerTo(app, { headers: { cookie: twice } }), 400)
  }
  assert.equal(reasons().at(-1), 'ambiguous_credentials')
  assertRefused(await answerTo(app, { cookies: { token: '' } }), 401)
})

test('A8: a cookie without @fastify/cookie does not boot; without a cookie header there is none', async (t) => {
  const { app } = await guarded(t)
  app.wsRoute('/ws', { auth: { from: ['cookie'], cookieName: 'session' }, handler() {} })
  await assert.rejects(async () => app.ready(), /register @fastify\/cookie/)

  const named = await guarded(t)
  await named.app.register(cookie)
  // A hook of the app that fills cookies itself, from nowhere we could count them.
  named.app.addHook('onRequest', async (request) => {
    Object.assign(request, { cookies: { session: tokenFor(named.app) } })
  })
  named.app.wsRoute('/ws', { auth: { from: ['cookie'], cookieName: 'session' }, handler() {} })
  assert.equal(await statusOf(named.app, {}), 101)
})

test('A6: a query token is taken out of the URL that everybody else sees', async (t) => {
  const { app, logs } = await guarded(t)
  const seen: unknown[] = []
  app.wsRoute('/ws', {
    auth: { from: ['query'] },
    preHandler: async ({ url, query, raw }) => void seen.push([url, { ...(query as object) }, raw.url]),
    handler: ({ query }) => void seen.push({ ...query })
  })
  const token = tokenFor(app)
  assert.equal(await statusOf(app, {}, `/ws?a=1&token=${token}&b=2`), 101)
  const query = { a: '1', b: '2' }
  assert.deepEqual(seen, [['/ws?a=1&b=2', query, '/ws?a=1&b=2'], query])
  assert.equal(logs.text().includes(token), false)
  assertRefused(await answerTo(app, {}, `/ws?token=${token}&token=${token}`), 400)
  assertRefused(await answerTo(app, {}, '/ws?token='), 401)
})

test('A6: a query parameter of another name is one', async (t) => {
  const { app, logs } = await guarded(t)
  app.wsRoute('/ws', { auth: { from: ['query'], queryParam: 'key' }, handler() {} })
  const token = tokenFor(app)
  assert.equal(await statusOf(app, {}, `/ws?key=${token}`), 101)
  assert.equal(await statusOf(app, {}, `/ws?token=${token}`), 401)
  assert.equal(logs.text().includes(token), false)
})

test('A7: two credentials at once are refused, whatever they are worth', async (t) => {
  const { app, reasons } = await from(t, 'header', 'subprotocol', 'cookie', 'query', 'ticket')
  const token = tokenFor(app)
  const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'a' }, route: '/ws' })
  const offers = [{ token }, { protocols: ['ws-guard.v1', `bearer.${token}`] }, { cookies: { token } }]
  const paths = [`/ws?token=${token}`, `/ws?ticket=${ticket}`, '/ws']
  let refused = 0
  for (const [index, one] of offers.entries()) {
    for (const other of [...offers.slice(index + 1), ...paths.slice(0, 2)]) {
      const path = typeof other === 'string' ? other : '/ws'
      const options = typeof other === 'string' ? one : { ...one, ...other }
      assertRefused(await answerTo(app, options, path), 400)
      refused++
    }
  }
  assertRefused(await answerTo(app, { protocols: ['ws-guard.v1', `bearer.${token}`, 'bearer.x'] }), 400)
  assertRefused(await answerTo(app, {}, `/ws?token=${token}&ticket=${ticket}`), 400)
  assert.deepEqual(reasons(), Array(refused + 2).fill('ambiguous_credentials'))
  assert.equal(await statusOf(app, {}, `/ws?ticket=${ticket}`), 101, 'no attempt has used the ticket up')
})

test('A8: a bad credential of one kind never falls through to a good one of another', async (t) => {
  const { app } = await from(t, 'header', 'cookie', 'query')
  const token = tokenFor(app)
  assert.notEqual(await statusOf(app, { headers: { authorization: 'Basic x' }, cookies: { token } }), 101)
  assert.notEqual(await statusOf(app, { token: 'bad', cookies: { token } }), 101)
  assert.notEqual(await statusOf(app, { cookies: { token: 'bad' } }, `/ws?token=${token}`), 101)
  assert.notEqual(await statusOf(app, { headers: { authorization: 'Bearer' } }, `/ws?token=${token}`), 101)
})

test('A7: two Authorization headers on the wire are refused', async (t) => {
  const { app } = await from(t, 'header')
  const client = await rawClient(t, await listen(app))
  const token = `Bearer ${tokenFor(app)}`
  const headers = { ...goodHeaders(), Authorization: [token, 'Bearer other'] }
  assertRefused(await client.handshake({ path: '/ws', headers }), 400)
})
