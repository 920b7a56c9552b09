/** Where a credential may come from, on the wire: one at a time, from nowhere else, and seen by nobody. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import cookie from '@fastify/cookie'
import type { CredentialSource } from '../../lib/handshake/credentials.ts'
import { origin, tokenFor } from '../support/app.ts'
import type { HandshakeOptions, HttpAnswer } from '../support/http-message.ts'
import { assertNothingHeld, assertRefused, ended, type GuardedApp, guarded, listen, rawClient } from './harness.ts'

/** What one credential adds to a handshake. */
interface Carried {
  readonly query?: string
  readonly authorization?: string
  readonly cookie?: string
  readonly offer?: string
}

const base64url = (text: string): string => Buffer.from(text).toString('base64url')

/** Each place in a handshake, with the source it belongs to. */
const places: Readonly<Record<string, readonly [CredentialSource, (value: string) => Carried]>> = {
  Authorization: ['header', (value) => ({ authorization: `Bearer ${value}` })],
  'bearer.': ['subprotocol', (value) => ({ offer: `bearer.${value}` })],
  'base64url.bearer.': ['subprotocol', (value) => ({ offer: `base64url.bearer.${base64url(value)}` })],
  Cookie: ['cookie', (value) => ({ cookie: `token=${value}` })],
  '?token=': ['query', (value) => ({ query: `token=${value}` })],
  '?ticket=': ['ticket', (value) => ({ query: `ticket=${value}` })],
  'ticket.': ['ticket', (value) => ({ offer: `ticket.${value}` })]
}
const sources = ['header', 'subprotocol', 'cookie', 'query', 'ticket'] as const

function requestOf(path: string, carried: readonly Carried[], from: string | null = origin): HandshakeOptions {
  const all = (name: keyof Carried): string[] => carried.flatMap((one) => one[name] ?? [])
  const [query, offers] = [all('query'), all('offer')]
  return {
    path: query.length === 0 ? path : `${path}?${query.join('&')}`,
    headers: {
      Origin: from,
      Authorization: all('authorization'),
      Cookie: all('cookie').length === 0 ? null : all('cookie').join('; '),
      'Sec-WebSocket-Protocol': ['ws-guard.v1', ...offers].join(', ')
    }
  }
}

interface Target extends GuardedApp {
  /** Tokens that a verifier was asked about. */
  readonly verified: string[]
  readonly knock: (request: HandshakeOptions) => Promise<HttpAnswer>
}

/** A listening app with a route for each source alone, at its name, and one for all of them at `/all`. */
async function target(t: TestContext): Promise<Target> {
  const all = await guarded(t, { jwt: false, guard: { limits: { attempts: { max: 10_000 } } } })
  await all.app.register(cookie)
  const verified: string[] = []
  const verify = (token: string): object | null => {
    verified.push(token)
    return token.startsWith('good') ? { sub: 'alice' } : null
  }
  for (const source of sources) all.app.wsRoute(`/${source}`, { auth: { from: [source], verify }, handler() {} })
  all.app.wsRoute('/all', { auth: { from: sources, verify }, handler() {} })
  const port = await listen(all.app)
  const knock = async (request: HandshakeOptions): Promise<HttpAnswer> => {
    const client = await rawClient(t, port)
    const answer = await client.handshake(request)
    if (answer.statusCode === 101) {
      client.reset()
    } else {
      assertRefused(answer, answer.statusCode)
      await ended(client)
    }
    return answer
  }
  return { ...all, verified, knock }
}

test('A7: two credentials are 400, in whichever two places or twice in one, and none of them is looked at', async (t) => {
  const { app, verified, knock, reasons, logs } = await target(t)
  const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'alice' }, route: '/all' })
  const credential = (place: string, twin: string): string => (places[place]?.[0] === 'ticket' ? ticket : `good${twin}`)
  const names = Object.keys(places)
  let pairs = 0
  for (const [index, one] of names.entries()) {
    for (const other of names.slice(index)) {
      const carried = [
        places[one]?.[1](credential(one, '-1')),
        places[other]?.[1](credential(other, '-2'))
      ] as Carried[]
      assert.equal((await knock(requestOf('/all', carried))).statusCode, 400, `${one} and ${other}`)
      pairs++
    }
  }
  assert.equal(pairs, 28)
  const twoHeaders: HandshakeOptions['headers'] = { Origin: origin, Cookie: ['token=good-1', 'token=good-2'] }
  assert.equal((await knock({ path: '/all', headers: twoHeaders })).statusCode, 400)
  const bad = [{ authorization: 'Basic eDp5' }, { cookie: 'token=good' }]
  assert.equal((await knock(requestOf('/all', bad))).statusCode, 400, 'one that is no Bearer counts')
  assert.deepEqual(new Set(reasons()), new Set(['ambiguous_credentials', 'duplicate_header', 'subprotocol']))
  assert.deepEqual(verified, [])
  assert.doesNotMatch(logs.text(), /good/)
  assert.equal((await knock(requestOf('/all', [{ query: `ticket=${ticket}` }]))).statusCode, 101, 'not used up')
  await assertNothingHeld(app)
})

test('A8: each source alone is read, and only it', async (t) => {
  const { app, verified, knock, logs } = await target(t)
  for (const [place, [source, carry]] of Object.entries(places)) {
    const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'alice' }, route: '/ticket' })
    const others = Object.values(places).filter(([other]) => other !== source)
    const ignored = others.map(([, carryOther], n) => carryOther(`good-but-ignored-${n}`))
    const value = source === 'ticket' ? ticket : 'good'
    const alone = await knock(requestOf(`/${source}`, ignored))
    assert.equal(alone.statusCode, 401, `${place}: the others are nothing here`)
    const answer = await knock(requestOf(`/${source}`, [...ignored, carry(value)]))
    assert.equal(answer.statusCode, 101, `${place}: the others take nothing away`)
    assert.equal(answer.headers['sec-websocket-protocol'], 'ws-guard.v1')
    assert.doesNotMatch(JSON.stringify([alone, answer]), /good/)
    assert.equal((await knock(requestOf(`/${source}`, [...ignored, carry('bad')]))).statusCode, 401)
  }
  assert.deepEqual(new Set(verified), new Set(['good', 'bad']))
  assert.doesNotMatch(logs.text(), /good|Z29vZ/)
  await assertNothingHeld(app)
})

test('A8, H3: without an Origin only Authorization lets a client in, beside whatever cookie', async (t) => {
  const { app, verified, knock, reasons } = await target(t)
  for (const [place, [source, carry]] of Object.entries(places)) {
    const { ticket } = await app.wsGuard.issueTicket({ user: { sub: 'alice' }, route: '/ticket' })
    const carried = [carry(source === 'ticket' ? ticket : 'good')]
    const expected = source === 'header' ? 101 : 403
    assert.equal((await knock(requestOf(`/${source}`, carried, null))).statusCode, expected, place)
    if (source === 'header') continue
    // A header that the route does not read vouches for nothing.
    const vouched = [...carried, { authorization: 'Bearer good' }]
    assert.equal((await knock(requestOf(`/${source}`, vouched, null))).statusCode, 403, `${place}, vouched for`)
  }
  const ambient = { cookie: 'token=good' }
  assert.equal((await knock(requestOf('/header', [ambient], null))).statusCode, 403)
  assert.equal((await knock(requestOf('/header', [{ authorization: 'Basic x' }, ambient]))).statusCode, 401)
  assert.equal((await knock(requestOf('/all', [{ authorization: 'Bearer good' }, ambient], null))).statusCode, 400)
  assert.deepEqual(verified, ['good'])
  assert.equal(reasons().filter((reason) => reason === 'origin_missing').length, 13)
})

test('A8: a cookie that @fastify/cookie has signed is 401 until the route takes the signature off itself', async (t) => {
  const { app, logs } = await guarded(t)
  await app.register(cookie, { secret: 'a secret for cookies, of more than 32 bytes' })
  app.wsRoute('/plain', { auth: { from: ['cookie'] }, handler() {} })
  app.wsRoute('/signed', {
    auth: {
      from: ['cookie'],
      verify: (value, request) => {
        const { valid, value: token } = request.unsignCookie(value)
        return valid ? app.jwt.verify<{ sub: string }>(token) : null
      }
    },
    handler() {}
  })
  const token = tokenFor(app)
  const signed = app.signCookie(token)
  const port = await listen(app)
  const status = async (path: string, value: string): Promise<number> => {
    const client = await rawClient(t, port)
    const headers = { Origin: origin, Cookie: `token=${encodeURIComponent(value)}` }
    return (await client.handshake({ path, headers })).statusCode
  }
  assert.deepEqual([await status('/plain', token), await status('/plain', signed)], [101, 401])
  assert.deepEqual([await status('/signed', token), await status('/signed', signed)], [401, 101])
  assert.equal(await status('/signed', `${signed}x`), 401)
  assert.equal(logs.text().includes(token), false)
  assert.deepEqual(
    logs.lines.filter(({ level }) => level > 40),
    []
  )
})
