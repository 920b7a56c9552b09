/** What stands in the head of a 101: the route's own words only (threats H12 and H14). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { secret, tokenFor } from '../support/app.ts'
import type { HttpAnswer } from '../support/http-message.ts'
import { claims, signJwt } from '../support/tokens.ts'
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
  readonly token: string
}

async function served(t: TestContext, protocols = ['chat.v2', 'chat.v1']): Promise<Served> {
  const guard = { auth: { from: ['subprotocol', 'ticket'] }, protocols, limits: { attempts: { max: 1_000 } } } as const
  const all = await guarded(t, { guard })
  all.app.wsRoute('/ws', { handler() {} })
  return { ...all, token: tokenFor(all.app), port: await listen(all.app) }
}

async function offer(t: TestContext, app: Served, value: string | readonly string[]): Promise<HttpAnswer> {
  const client = await rawClient(t, app.port)
  const headers = { ...goodHeaders(), 'Sec-WebSocket-Protocol': value }
  const answer = await client.handshake({ path: '/ws', headers })
  if (answer.statusCode === 101) client.reset()
  else {
    assertRefused(answer, answer.statusCode)
    await ended(client)
  }
  return answer
}

const b64 = (token: string): string => Buffer.from(token).toString('base64url')

const offers: readonly [name: string, value: (token: string) => string | readonly string[], answer: string | number][] =
  [
    ['the token first', (token) => `bearer.${token}, chat.v1`, 'chat.v1'],
    ['the token last', (token) => `chat.v1, bearer.${token}`, 'chat.v1'],
    ['the token between', (token) => `chat.v1, bearer.${token}, chat.v2`, 'chat.v2'],
    ['in base64url', (token) => `base64url.bearer.${b64(token)}, chat.v1`, 'chat.v1'],
    ['spaces and tabs', (token) => ` \tbearer.${token} \t,\t chat.v1 `, 'chat.v1'],
    ['no spaces', (token) => `bearer.${token},chat.v1`, 'chat.v1'],
    ['an unknown one beside', (token) => `bearer.${token}, other, chat.v1`, 'chat.v1'],
    ['the token only', (token) => `bearer.${token}`, 400],
    ['the token and an unknown one', (token) => `bearer.${token}, other`, 400],
    ['the token and another case', (token) => `bearer.${token}, CHAT.V1`, 400],
    ['the prefix in another case', (token) => `Bearer.${token}, chat.v1`, 401],
    ['a ticket that is none', () => 'ticket.x, chat.v1', 401],
    ['no token', () => 'chat.v1', 401],
    ['an empty token', () => 'bearer., chat.v1', 401],
    ['two tokens', (token) => `bearer.${token}, bearer.x, chat.v1`, 400],
    ['the token twice', (token) => `bearer.${token}, bearer.${token}, chat.v1`, 400],
    ['in both spellings', (token) => `bearer.${token}, base64url.bearer.${b64(token)}, chat.v1`, 400],
    ['a token and a ticket', (token) => `bearer.${token}, ticket.x, chat.v1`, 400],
    ['a protocol twice', (token) => `bearer.${token}, chat.v1, chat.v1`, 400],
    ['two headers', (token) => [`bearer.${token}`, 'chat.v1'], 400],
    ['an empty entry', (token) => `bearer.${token},, chat.v1`, 400],
    ['a comma first', (token) => `,bearer.${token}, chat.v1`, 400],
    ['a comma last', (token) => `bearer.${token}, chat.v1,`, 400],
    ['a space within', (token) => `bearer. ${token}, chat.v1`, 400],
    ['quotes', (token) => `"bearer.${token}", chat.v1`, 400],
    ['a semicolon', (token) => `bearer.${token}; chat.v1`, 400],
    ['a token above 8 KiB', () => `bearer.${signJwt(claims({ pad: 'x'.repeat(6_500) }), secret)}, chat.v1`, 401]
  ]

test('H12: the 101 names a protocol of the route, a refusal names none, and neither the token', async (t) => {
  const app = await served(t)
  for (const [name, value, expected] of offers) {
    const { statusCode, headers, rawHeaders, body } = await offer(t, app, value(app.token))
    const answer = statusCode === 101 ? headers['sec-websocket-protocol'] : statusCode
    assert.equal(answer, expected, name)
    if (statusCode !== 101) assert.equal(headers['sec-websocket-protocol'], undefined, name)
    const everything = JSON.stringify([rawHeaders, body])
    assert.equal(everything.includes(app.token) || everything.includes('bearer.'), false, name)
  }
  assert.equal(app.logs.text().includes(app.token), false)
  await assertNothingHeld(app.app)
})

test('H12: which of its protocols a route chooses is its own order, not the client’s', async (t) => {
  for (const [protocols, chosen] of [
    [['chat.v1', 'chat.v2'], 'chat.v1'],
    [['chat.v2', 'chat.v1'], 'chat.v2']
  ] as const) {
    const app = await served(t, [...protocols])
    for (const order of ['chat.v1, chat.v2', 'chat.v2, chat.v1']) {
      const { headers } = await offer(t, app, `bearer.${app.token}, ${order}`)
      assert.equal(headers['sec-websocket-protocol'], chosen)
    }
  }
})

test('H14: a 101 has these headers and no others, whatever the client sent', async (t) => {
  const app = await served(t)
  const { rawHeaders } = await offer(t, app, `bearer.${app.token}, chat.v1`)
  assert.deepEqual(
    rawHeaders.map(([name]) => name.toLowerCase()),
    ['upgrade', 'connection', 'sec-websocket-accept', 'sec-websocket-protocol', 'x-content-type-options']
  )
})

const splits: Record<string, WsGuardOptions> = {
  'CR LF in a value': { upgradeHeaders: { 'x-a': 'a\r\nSet-Cookie: b=c' } },
  'LF in a value': { upgradeHeaders: { 'x-a': 'a\nb' } },
  'CR in a value': { upgradeHeaders: { 'x-a': 'a\rb' } },
  'NUL in a value': { upgradeHeaders: { 'x-a': 'a\0b' } },
  'what is no Latin-1 in a value': { upgradeHeaders: { 'x-a': '\u0d0a' } },
  'CR LF in a name': { upgradeHeaders: { 'x-a: b\r\nSet-Cookie': 'c' } },
  'a colon in a name': { upgradeHeaders: { 'x-a:': 'b' } },
  'a space in a name': { upgradeHeaders: { 'x a': 'b' } },
  'an empty name': { upgradeHeaders: { '': 'b' } },
  'a list': { upgradeHeaders: { 'x-a': ['b', 'c\r\nd'] } as never },
  'a header of the handshake': { upgradeHeaders: { 'Sec-WebSocket-Accept': 'x' } },
  'an extension': { upgradeHeaders: { 'sec-websocket-extensions': 'permessage-deflate' } },
  'a length': { upgradeHeaders: { 'Content-Length': '0' } },
  'a coding': { upgradeHeaders: { 'transfer-encoding': 'chunked' } },
  'CR LF in a protocol': { protocols: ['chat.v1\r\nSet-Cookie: a=b'] },
  'LF in a protocol': { protocols: ['chat\n'] },
  'a comma in a protocol': { protocols: ['a,b'] },
  'a space in a protocol': { protocols: ['a b'] },
  'an empty protocol': { protocols: [''] },
  'a protocol that is a credential': { protocols: ['bearer.x'] }
}

for (const [name, guard] of Object.entries(splits)) {
  test(`H14: ${name} does not boot, in the plugin and in a route`, async (t) => {
    const message = /"(upgradeHeaders|protocols)"/
    await assert.rejects(guarded(t, { guard }), { code: 'WSG_ERR_OPTION', message })
    const { app } = await guarded(t)
    assert.throws(() => app.wsRoute('/ws', { ...guard, handler() {} } as never), { code: 'WSG_ERR_OPTION', message })
  })
}
