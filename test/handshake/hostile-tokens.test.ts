import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import cookie from '@fastify/cookie'
import jwt from '@fastify/jwt'
import type { AuthOptions } from '../../lib/route/options.ts'
import { echo, origin, secret } from '../support/app.ts'
import { claims, signJwt } from '../support/tokens.ts'
import { assertNothingHeld, assertRefused, ended, type GuardedApp, guarded, listen, rawClient } from './harness.ts'
import {
  bytesOf,
  confusedTokens,
  firstMessage,
  hostileTokens,
  partsOf,
  rsa,
  tokensWithKeysOfTheirOwn,
  ways
} from './hostile-tokens.ts'

interface Target extends GuardedApp {
  readonly port: number
  /** Those that came in. */
  readonly users: unknown[]
}

/** A listening app with one route that reads a token from wherever one can be. */
async function target(t: TestContext, jwtOptions: object, auth: AuthOptions = {}): Promise<Target> {
  const all = await guarded(t, { jwt: false, guard: { limits: { attempts: { max: 10_000 } } } })
  await all.app.register(jwt, jwtOptions as { secret: string })
  await all.app.register(cookie)
  const users: unknown[] = []
  all.app.wsRoute('/ws', {
    auth: { from: ['header', 'subprotocol', 'cookie', 'query', 'message'], ...auth },
    contract: echo,
    onOpen: ({ user }) => void users.push(user),
    handlers: { say: () => assert.fail('nobody is there'), ask: () => ({ items: [] }) }
  })
  return { ...all, users, port: await listen(all.app) }
}

/** Sends a token in every way. @returns what came back, by way */
async function answersTo(t: TestContext, { port }: Target, token: string): Promise<Record<string, string>> {
  const answers: Record<string, string> = {}
  for (const [way, request] of Object.entries(ways)) {
    const client = await rawClient(t, port)
    const answer = await client.handshake(request(token))
    if (answer.statusCode !== 101) assertRefused(answer, answer.statusCode)
    answers[way] = bytesOf(answer)
    if (answer.statusCode === 101) client.reset()
    else await ended(client)
  }
  const client = await rawClient(t, port)
  answers.message = await firstMessage(client, token)
  client.reset()
  return answers
}

/** Every token gets, whole answers compared, what no token at all would get; nothing of any is in the log. */
async function assertAllAlike(t: TestContext, all: Target, tokens: Readonly<Record<string, () => string>>) {
  const { app, logs, users } = all
  const expected = await answersTo(t, all, 'x')
  assert.match(String(expected.header), /^\[401,"Unauthorized",/)
  for (const way of Object.keys(ways)) assert.equal(expected[way], expected.header)
  assert.equal(expected.message, JSON.stringify({ code: 4001, reason: 'unauthorized' }))
  for (const [name, make] of Object.entries(tokens)) {
    const token = make()
    logs.clear()
    assert.deepEqual(await answersTo(t, all, token), expected, name)
    for (const part of [token, ...partsOf(token)]) {
      if (part.length > 6) assert.equal(logs.text().includes(part), false, `${name} is in the log`)
    }
    const failed = logs.filter('ws.auth_failed')
    assert.equal(failed.length, Object.keys(expected).length, `${name} is reported each time`)
    for (const { errorCode } of failed) assert.match(String(errorCode), /^[A-Z_]+$/, name)
    assert.deepEqual(
      logs.lines.filter(({ level }) => level > 40),
      [],
      name
    )
    assert.doesNotMatch(logs.text(), /stack|\.[cm]?[jt]s:\d/, name)
  }
  assert.deepEqual(users, [])
  assert.equal(({} as { admin?: boolean }).admin, undefined)
  await assertNothingHeld(app)
}

/** The same route is open to a token that is what it should be. */
async function assertOpenTo(t: TestContext, { port }: Target, token: string): Promise<void> {
  for (const [way, request] of Object.entries(ways)) {
    const client = await rawClient(t, port)
    assert.equal((await client.handshake(request(token))).statusCode, 101, way)
    client.reset()
  }
  const client = await rawClient(t, port)
  await client.handshake({ path: '/ws', headers: { Origin: origin } })
  await client.sendJson({ type: 'auth', token })
  assert.equal((await client.nextJson<{ type: string }>()).type, 'auth_ok')
  client.reset()
}

test('A2, A3, A5, A9, A10: every hostile token gets the bytes of any other bad one, in whichever way it comes', async (t) => {
  const all = await target(t, { secret })
  await assertAllAlike(t, all, hostileTokens)
  await assertOpenTo(t, all, signJwt(claims(), secret))
})

test('A2: a public key is no HMAC secret, and no other algorithm stands in for the pinned one', async (t) => {
  const all = await target(t, { secret: { private: rsa.privateKey, public: rsa.publicKey } }, { algorithms: ['RS256'] })
  await assertAllAlike(t, all, confusedTokens)
  await assertOpenTo(t, all, signJwt(claims(), rsa.privateKey, { alg: 'RS256' }))
})

test('A2: a key that a token brings along, or points to, is neither believed nor fetched', async (t) => {
  let connections = 0
  const server = createServer((socket) => {
    connections++
    socket.destroy()
  }).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  for (const [jwtOptions, auth] of [
    [{ secret }, {}],
    [{ secret: { public: rsa.publicKey } }, { algorithms: ['RS384'] }]
  ] as const) {
    await assertAllAlike(t, await target(t, jwtOptions, auth as AuthOptions), tokensWithKeysOfTheirOwn(port))
  }
  assert.equal(connections, 0)
})
