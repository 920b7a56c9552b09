import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import jwt from '@fastify/jwt'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { type AuthSettings, createAuthenticator } from '../../lib/handshake/authenticate.ts'
import { checkAlgorithms } from '../../lib/handshake/jwt-keys.ts'
import wsGuard from '../../lib/index.ts'
import type { AuthOptions, WsGuardOptions } from '../../lib/route/options.ts'
import { injectWs } from '../../lib/testing.ts'
import { origin, secret, tokenFor } from '../support/app.ts'
import { captureLogs, type LogCapture } from '../support/log-capture.ts'
import { type Claims, claims, keyPair, signJwt } from '../support/tokens.ts'

interface JwtApp {
  readonly app: FastifyInstance
  readonly logs: LogCapture
  readonly users: unknown[]
}

/** An app whose @fastify/jwt and `auth` a test chooses; `users` are those that came in. */
async function jwtApp(
  t: TestContext,
  jwtOptions: object,
  auth: AuthOptions,
  guard: WsGuardOptions = {}
): Promise<JwtApp> {
  const logs = captureLogs()
  const app = Fastify({ logger: logs.logger }) as unknown as FastifyInstance
  t.after(() => app.close())
  await app.register(jwt, jwtOptions as { secret: string })
  await app.register(wsGuard, { origins: [origin], auth, ...guard })
  const users: unknown[] = []
  app.wsRoute('/ws', { handler: ({ user }) => void users.push(user) })
  return { app, logs, users }
}

async function statusOf(app: FastifyInstance, token: string): Promise<number> {
  await using ws = await injectWs(app, '/ws', { token })
  return ws.statusCode
}

/** Boots an app that must not boot. */
async function bootError(t: TestContext, jwtOptions: object | undefined, auth: AuthOptions): Promise<string> {
  const app = Fastify() as unknown as FastifyInstance
  t.after(() => app.close())
  if (jwtOptions !== undefined) await app.register(jwt, jwtOptions as { secret: string })
  try {
    await app.register(wsGuard, { origins: [origin], auth })
    app.wsRoute('/ws', { handler() {} })
    await app.ready()
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'WSG_ERR_OPTION')
    return (error as Error).message
  }
  throw new Error('it booted')
}

const rsa = keyPair('rsa')
const seconds = (): number => Math.floor(Date.now() / 1000)
const hs = (payload: Claims | string, options?: Parameters<typeof signJwt>[2]): string =>
  signJwt(payload, secret, options)

test("A2: @fastify/jwt's own algorithms hold, and what the app signs with tells its own", async (t) => {
  const own = await jwtApp(t, { secret, verify: { algorithms: ['HS384', 'HS512'] } }, {})
  assert.equal(await statusOf(own.app, hs(claims())), 401)
  assert.equal(await statusOf(own.app, hs(claims(), { alg: 'HS512' })), 101)

  const signing = await jwtApp(t, { secret, sign: { algorithm: 'HS512' } }, {})
  assert.equal(await statusOf(signing.app, hs(claims())), 401)
  assert.equal(await statusOf(signing.app, tokenFor(signing.app)), 101)
})

test('A2: where the algorithm cannot be told, the app does not boot', async (t) => {
  const asymmetric = { secret: { private: rsa.privateKey, public: rsa.publicKey }, sign: { algorithm: 'RS256' } }
  assert.match(await bootError(t, asymmetric, {}), /"auth.algorithms" is needed: .*\['RS256'\]/)
  assert.match(await bootError(t, { secret: { public: rsa.publicKey } }, {}), /"auth.algorithms" is needed/)
  const fetched = { secret: async () => Promise.reject(new Error('not at boot')) }
  assert.match(await bootError(t, fetched, {}), /"auth.algorithms" is needed/)
  const two = { secret, verify: { algorithms: ['HS256', 'RS256'] } }
  assert.match(await bootError(t, two, {}), /"@fastify\/jwt verify.algorithms" must list algorithms of one family/)
})

test('A2: algorithms are of one family and none of them is none', async (t) => {
  for (const algorithms of [['none'], ['HS256', 'RS256'], ['HS256', 'none'], ['hs256'], ['RS256', 'ES256']]) {
    assert.match(await bootError(t, { secret }, { algorithms }), /"auth.algorithms" must list algorithms of one family/)
  }
  assert.throws(() => checkAlgorithms([], 'auth.algorithms'), { code: 'WSG_ERR_OPTION' })
  for (const algorithms of [['HS256', 'HS512'], ['RS256', 'PS256'], ['ES256'], ['EdDSA']]) {
    assert.doesNotThrow(() => checkAlgorithms(algorithms, 'auth.algorithms'))
  }
})

test('without @fastify/jwt, its namespace or its method the app does not boot', async (t) => {
  assert.match(await bootError(t, undefined, {}), /"auth" needs @fastify\/jwt/)
  assert.match(await bootError(t, { secret }, { namespace: 'x' }), /@fastify\/jwt has no namespace "x"/)
  const renamed = { secret, namespace: 'x', jwtVerify: 'checkX' }
  assert.match(await bootError(t, renamed, { namespace: 'x' }), /there is no request.xJwtVerify/)
})

test('a namespace of @fastify/jwt is used', async (t) => {
  const { app, users } = await jwtApp(t, { secret, namespace: 'device' }, { namespace: 'device' })
  assert.equal(await statusOf(app, signJwt(claims(), 'another secret that is long enough, too')), 401)
  assert.equal(await statusOf(app, hs(claims({ sub: 'sensor' }))), 101)
  assert.deepEqual(
    (users as Claims[]).map(({ sub }) => sub),
    ['sensor']
  )
})

test('trusted and formatUser of @fastify/jwt hold; limits go by the claims', async (t) => {
  const options = {
    secret,
    trusted: (_request: FastifyRequest, { jti }: { jti?: string }) => jti !== 'stolen',
    formatUser: ({ sub }: { sub: string }) => ({ name: `user ${sub}` })
  }
  const { app, users } = await jwtApp(t, options, {})
  assert.equal(await statusOf(app, hs(claims({ jti: 'stolen' }))), 401)
  await using ws = await injectWs(app, '/ws', { token: hs(claims({ sub: 'alice', jti: 'own' })) })
  assert.equal(ws.statusCode, 101)
  assert.deepEqual(users, [{ name: 'user alice' }])
  assert.equal(await app.wsGuard.disconnect({ sub: 'alice', jti: 'own' }), 1)
})

test('limits go by the claims, whatever formatUser makes of them, and ask it for nothing', async (t) => {
  const made = [
    { sub: 'someone else', sid: 7, jti: null },
    Object.defineProperty({}, 'sub', { get: () => assert.fail('it was asked for') }),
    'only a name',
    ['alice']
  ]
  for (const user of made) {
    const { app } = await jwtApp(t, { secret, formatUser: () => user }, {})
    await using ws = await injectWs(app, '/ws', { token: hs(claims({ sub: 'alice', sid: 's1', jti: 'j1' })) })
    assert.equal(ws.statusCode, 101)
    assert.equal(await app.wsGuard.disconnect({ sub: 'alice', sid: 's1', jti: 'j1' }), 1)
  }
})

test('A4: a token for another audience or of another issuer, or of none, is refused', async (t) => {
  const { app } = await jwtApp(t, { secret }, { audience: ['chat', 'game'], issuer: 'https://id.example.com' })
  const iss = 'https://id.example.com'
  for (const bad of [
    {},
    { aud: 'chat' },
    { iss },
    { aud: 'mail', iss },
    { aud: 'chat', iss: `${iss}/` },
    { aud: 1, iss }
  ]) {
    assert.equal(await statusOf(app, hs(claims(bad))), 401, JSON.stringify(bad))
  }
  assert.equal(await statusOf(app, hs(claims({ aud: 'chat', iss }))), 101)
  assert.equal(await statusOf(app, hs(claims({ aud: ['mail', 'game'], iss }))), 101)
})

test('A3: a @fastify/jwt whose fast-jwt lets a payload through that is no object changes nothing', async () => {
  for (const payload of [['alice'], 'alice', null, { sub: 'alice' }]) {
    const jwtDecorator = { options: {}, decode: () => ({ header: { alg: 'HS256' }, payload }) }
    const app = { jwt: jwtDecorator, hasRequestDecorator: () => true } as unknown as FastifyInstance
    const auth = { requiredClaims: [], from: ['header'], algorithms: ['HS256'] } as unknown as AuthSettings
    const authenticator = createAuthenticator(auth, app, Date.now)
    authenticator.prepare()
    const request = { headers: {}, jwtVerify: async () => ({ sub: 'alice' }) } as unknown as FastifyRequest
    const outcome = await authenticator.verify('token', request)
    if (payload !== null && typeof payload === 'object' && 'sub' in payload) assert.equal(outcome.ok, true)
    else assert.deepEqual(outcome, { ok: false, cause: 'unauthorized', errorCode: 'CLAIMS' })
  }
})

test('A3: maxTokenAgeMs counts from iat, which the token then needs', async (t) => {
  const { app } = await jwtApp(t, { secret }, { maxTokenAgeMs: 600_000 })
  for (const iat of [undefined, seconds() - 700, 'now', null]) {
    assert.equal(await statusOf(app, hs(claims({ iat }))), 401, String(iat))
  }
  assert.equal(await statusOf(app, hs(claims({ iat: seconds() - 300 }))), 101)
})

test('requiredClaims are what a route says, and who has no subject needs another identity', async (t) => {
  const auth = { requiredClaims: ['tenant'], identity: () => ({ subject: 'one' }) }
  const { app, users } = await jwtApp(t, { secret }, auth)
  assert.equal(await statusOf(app, hs(claims())), 401)
  assert.equal(await statusOf(app, hs({ tenant: 'b' })), 101)
  assert.deepEqual(users, [{ tenant: 'b' }])
})

test('identity is what limits go by: from the usual claims, or from auth.identity', async (t) => {
  const usual = await jwtApp(t, { secret }, {})
  await using ws = await injectWs(usual.app, '/ws', { token: hs(claims({ sub: 'a', sid: 's', jti: 'j' })) })
  assert.equal(ws.statusCode, 101)
  for (const query of [{ sub: 'b' }, { sid: 'j' }, { jti: 's' }]) {
    assert.equal(await usual.app.wsGuard.disconnect(query), 0)
  }
  assert.equal(await usual.app.wsGuard.disconnect({ sub: 'a', sid: 's', jti: 'j' }), 1)

  const own = await jwtApp(
    t,
    { secret },
    {
      identity: (user) => ({ subject: `tenant:${(user as { tenant: number }).tenant}` })
    }
  )
  await using other = await injectWs(own.app, '/ws', { token: hs(claims({ sub: 7, tenant: 1 })) })
  assert.equal(other.statusCode, 101)
  assert.equal(await own.app.wsGuard.disconnect({ sub: 'tenant:1' }), 1)
})

test('A3: an exp is a time up to the last one there is, with or without a fraction', async (t) => {
  const { app, users } = await jwtApp(t, { secret }, {})
  const ends = [seconds() + 1.5, 8.64e12]
  for (const exp of ends) assert.equal(await statusOf(app, hs(claims({ exp }))), 101, String(exp))
  assert.equal(await statusOf(app, hs(claims({ exp: 8.64e12 + 1 }))), 401)
  assert.deepEqual(
    (users as Claims[]).map(({ exp }) => exp),
    ends
  )
})

test('A3: clockTolerance and ignoreExpiration of @fastify/jwt admit nobody whose exp is over', async (t) => {
  for (const verify of [{ clockTolerance: 3600 }, { ignoreExpiration: true }]) {
    const { app, logs } = await jwtApp(t, { secret, verify }, {})
    assert.equal(await statusOf(app, hs(claims({ exp: seconds() - 1 }))), 401)
    assert.equal(logs.find('ws.auth_failed')?.errorCode, 'EXPIRED')
    assert.equal(await statusOf(app, hs(claims({ exp: seconds() + 60 }))), 101)

    const own = await jwtApp(t, { secret, verify }, { identity: () => ({ subject: 'without an end' }) })
    assert.equal(await statusOf(own.app, hs(claims({ exp: seconds() - 1 }))), 401)
    assert.equal(await statusOf(own.app, hs(claims({ exp: seconds() + 60 }))), 101)
  }
})

test('A3: of a claim that is there twice everybody reads the same one', async (t) => {
  const { app, users } = await jwtApp(t, { secret }, {})
  const exp = seconds() + 60
  await using ws = await injectWs(app, '/ws', { token: hs(`{"sub":"eve","exp":1,"sub":"alice","exp":${exp}}`) })
  assert.equal(ws.statusCode, 101)
  assert.deepEqual(users, [{ sub: 'alice', exp }])
  assert.equal(await app.wsGuard.disconnect({ sub: 'eve' }), 0)
  assert.equal(await app.wsGuard.disconnect({ sub: 'alice' }), 1)
})

test('A10: a subject is a name like any other, whatever objects call their own', async (t) => {
  const { app } = await jwtApp(t, { secret }, {}, { limits: { connections: { perUser: 1 } } })
  const subjects = ['__proto__', 'constructor', 'toString', 'x'.repeat(5_000), 'ip:127.0.0.1', '\u0000']
  for (const sub of subjects) {
    const token = hs(claims({ sub }))
    await using ws = await injectWs(app, '/ws', { token })
    assert.equal(ws.statusCode, 101, sub)
    assert.equal(await statusOf(app, token), 429, 'one slot each')
    assert.equal(await app.wsGuard.revoke({ sub }), 1)
    assert.equal(await statusOf(app, token), 401)
  }
})

test('A2, A11: @fastify/jwt is asked without a cache, and with what the route demands', async () => {
  const app = {
    jwt: { options: {}, decode: () => ({ header: { alg: 'HS256' }, payload: claims() }) },
    hasRequestDecorator: () => true
  } as unknown as FastifyInstance
  const auth = { algorithms: ['HS256'], requiredClaims: ['exp'], audience: 'chat' } as unknown as AuthSettings
  const authenticator = createAuthenticator(auth, app, Date.now)
  authenticator.prepare()
  const asked: unknown[] = []
  const jwtVerify = async ({ verify: { extractToken, ...demands } }: { verify: { extractToken: () => string } }) => {
    asked.push(extractToken(), demands)
  }
  await authenticator.verify('the token', { headers: {}, jwtVerify } as unknown as FastifyRequest)
  assert.deepEqual(asked, [
    'the token',
    { algorithms: [], requiredClaims: ['exp', 'aud'], allowedAud: 'chat', cache: false, key: null }
  ])
})

test("A11: the app's own cache of verified tokens is not asked: not who, not until when", async (t) => {
  const cached = { cache: true, cacheTTL: 3_600_000, cacheKeyBuilder: () => 'the same for all' }
  const { app, users } = await jwtApp(t, { secret, verify: cached }, {})
  app.get('/me', async (request) => request.jwtVerify())
  const me = async (token: string): Promise<unknown> =>
    (await app.inject({ url: '/me', headers: { authorization: `Bearer ${token}` } })).json().sub
  const [alice, bob] = [hs(claims({ sub: 'alice' })), hs(claims({ sub: 'bob' }))] as const
  assert.equal(await me(alice), 'alice')
  assert.equal(await me(bob), 'alice', 'the cache takes one for the other')
  for (const token of [alice, bob, alice]) assert.equal(await statusOf(app, token), 101)
  assert.deepEqual(
    (users as Claims[]).map(({ sub }) => sub),
    ['alice', 'bob', 'alice']
  )
  assert.equal(await statusOf(app, 'rubbish'), 401)
  assert.equal(await statusOf(app, hs(claims({ exp: seconds() - 1 }))), 401)
  await app.wsGuard.revoke({ sub: 'bob' })
  assert.deepEqual([await statusOf(app, bob), await statusOf(app, alice)], [401, 101])
})
