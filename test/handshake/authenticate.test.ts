import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import jwt from '@fastify/jwt'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { type AuthSettings, checkAlgorithms, createAuthenticator } from '../../lib/handshake/authenticate.ts'
import wsGuard from '../../lib/index.ts'
import type { AuthOptions, WsGuardOptions } from '../../lib/route/options.ts'
import { injectWs } from '../../lib/testing.ts'
import { origin, secret, tokenFor } from '../support/app.ts'
import { captureLogs, type LogCapture } from '../support/log-capture.ts'
import { type Claims, claims, keyPair, signJwt, tamper } from '../support/tokens.ts'
import { assertNothingHeld, assertRefused, guarded } from './harness.ts'

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

/** Tokens that nobody honest sends; each must look like any other bad one. */
const hostile: Readonly<Record<string, () => string>> = {
  'A2 alg none': () => signJwt(claims(), '', { alg: 'none' }),
  'A2 alg none with the signature kept': () => `${signJwt(claims(), '', { alg: 'none' })}c2ln`,
  'A2 alg None': () => hs(claims(), { header: { alg: 'None' } }),
  'A2 HS512, not pinned': () => hs(claims(), { alg: 'HS512' }),
  'A2 RS256 with a key of its own': () => signJwt(claims(), rsa.privateKey, { alg: 'RS256' }),
  'A2 alg missing': () => hs(claims(), { header: { alg: undefined } }),
  'A2 alg is a list': () => hs(claims(), { header: { alg: ['HS256'] } }),
  'A2 unknown crit': () => hs(claims(), { header: { crit: ['exp2'], exp2: 1 } }),
  'A2 crit is no list': () => hs(claims(), { header: { crit: 'b64' } }),
  'A2 another secret': () => signJwt(claims(), 'another secret that is long enough, too'),
  'A2 empty secret': () => signJwt(claims(), ''),
  'A2 another payload': () => tamper(hs(claims()), claims({ sub: 'root' })),
  'A3 no exp': () => hs(claims({ exp: undefined })),
  'A3 exp in the far past': () => hs(claims({ exp: 1 })),
  'A3 exp now': () => hs(claims({ exp: seconds() })),
  'A3 exp as a string': () => hs(claims({ exp: String(seconds() + 3600) })),
  'A3 exp null': () => hs(claims({ exp: null })),
  'A3 exp 1e999': () => hs(`{"sub":"alice","exp":1e999}`),
  'A3 payload is a list': () => hs(JSON.stringify([claims()])),
  'A3 payload is a text': () => hs('"alice"'),
  'A3 payload is no JSON': () => hs('{'),
  'A3 no sub': () => hs(claims({ sub: undefined })),
  'A3 sub is a number': () => hs(claims({ sub: 1 })),
  'A3 sub is empty': () => hs(claims({ sub: '' })),
  'A3 sub is an object': () => hs(claims({ sub: { toString: 'x' } })),
  'A5 nbf in the future': () => hs(claims({ nbf: seconds() + 3600 })),
  'A5 nbf as a string': () => hs(claims({ nbf: 'soon' })),
  'A9 9 KB': () => hs(claims({ filler: 'x'.repeat(7_000) })),
  'A10 __proto__': () => hs(`{"sub":"alice","exp":${seconds() + 60},"__proto__":{"admin":true}}`),
  'A10 nested __proto__': () => hs(`{"sub":"alice","exp":${seconds() + 60},"a":{"__proto__":{}}}`),
  'A10 constructor.prototype': () => hs(`{"sub":"alice","exp":${seconds() + 60},"constructor":{"prototype":{}}}`),
  'A5 not a token': () => 'nonsense',
  'A5 two parts': () => hs(claims()).split('.').slice(0, 2).join('.'),
  'A5 five parts': () => `${hs(claims())}.a.b`,
  'A5 dots': () => '..',
  'A5 not base64url': () => `${hs(claims())}=`,
  'A5 empty': () => ''
}

test('A2, A3, A5, A9, A10: every hostile token is the same 401, and no error of ours', async (t) => {
  const { app, logs, users } = await jwtApp(t, { secret }, {}, { logSamplePerSecond: 1000 })
  for (const [name, make] of Object.entries(hostile)) {
    const token = make()
    await using ws = await injectWs(app, '/ws', { headers: { authorization: `Bearer ${token}` } })
    assert.equal(ws.statusCode, 401, name)
    assertRefused(ws, 401)
    if (token.length > 10) assert.equal(logs.text().includes(token), false, name)
  }
  assert.deepEqual(users, [])
  const lines = logs.filter('ws.auth_failed')
  assert.equal(lines.length, Object.keys(hostile).length)
  for (const { errorCode } of lines) assert.match(String(errorCode), /^[A-Z_]+$/)
  assert.deepEqual(
    logs.lines.filter(({ level }) => level > 40),
    []
  )
  assert.doesNotMatch(logs.text(), /stack|\.ts:\d|\.js:\d/)
  assert.equal(({} as { admin?: boolean }).admin, undefined)
  await assertNothingHeld(app)
  assert.equal(await statusOf(app, hs(claims())), 101)
})

test('A2: a public key is no HMAC secret', async (t) => {
  const { app, users } = await jwtApp(
    t,
    { secret: { private: rsa.privateKey, public: rsa.publicKey } },
    {
      algorithms: ['RS256']
    }
  )
  const confused = [rsa.publicKey, rsa.publicKey.trim(), `\n${rsa.publicKey}`]
  for (const key of confused) assert.equal(await statusOf(app, signJwt(claims(), key)), 401)
  assert.equal(await statusOf(app, signJwt(claims(), rsa.privateKey, { alg: 'PS256' })), 401)
  assert.equal(await statusOf(app, signJwt(claims(), keyPair('rsa').privateKey, { alg: 'RS256' })), 401)
  assert.deepEqual(users, [])
  assert.equal(await statusOf(app, signJwt(claims(), rsa.privateKey, { alg: 'RS256' })), 101)
})

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

test('A12: a secret that is fetched is asked for, by kid; one that cannot be had is 503', async (t) => {
  const keys = new Map([['one', secret]])
  let isDown = false
  const fetchSecret = async (_request: unknown, token: { header?: { kid?: string } }): Promise<string> => {
    if (isDown) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
    const key = keys.get(String(token.header?.kid))
    if (key === undefined) throw Object.assign(new Error('no such key'), { statusCode: 401 })
    return key
  }
  const jwtOptions = { secret: fetchSecret, decode: { complete: true } }
  const { app, logs } = await jwtApp(t, jwtOptions, { algorithms: ['HS256'] })
  assert.equal(await statusOf(app, hs(claims(), { header: { kid: 'one' } })), 101)
  for (const kid of ['two', '__proto__', 'constructor', '../../dev/null']) {
    assert.equal(await statusOf(app, hs(claims(), { header: { kid } })), 401, kid)
  }
  isDown = true
  await using ws = await injectWs(app, '/ws', { token: hs(claims(), { header: { kid: 'one' } }) })
  assertRefused(ws, 503)
  const line = logs.filter('ws.refused').at(-1)
  assert.deepEqual([line?.reason, line?.errorCode], ['unavailable', 'ECONNREFUSED'])
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
    const jwtDecorator = {
      options: {},
      sign: () => 'signed',
      decode: () => ({ header: { alg: 'HS256' }, payload })
    }
    const app = { jwt: jwtDecorator, hasRequestDecorator: () => true } as unknown as FastifyInstance
    const auth = { requiredClaims: [], from: ['header'] } as unknown as AuthSettings
    const authenticator = createAuthenticator(auth, app, Date.now)
    authenticator.prepare()
    const request = { jwtVerify: async () => ({ sub: 'alice' }) } as unknown as FastifyRequest
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

test('an identity that limits or expiry could not go by lets nobody in', async (t) => {
  const identities: unknown[] = [
    { subject: '' },
    { subject: 7 },
    {},
    null,
    { subject: 'a', expiresAt: Number.NaN },
    { subject: 'a', issuedAt: Number.NaN }
  ]
  for (const identity of identities) {
    const { app } = await guarded(t, { jwt: false })
    app.wsRoute('/ws', { auth: { verify: () => ({ id: 1 }), identity: () => identity as never }, handler() {} })
    assert.equal(await statusOf(app, 'any'), 503, JSON.stringify(identity))
  }
  const { app } = await guarded(t, { jwt: false })
  app.wsRoute('/ws', { auth: { verify: () => ({ sub: 7 }) }, handler() {} })
  assert.equal(await statusOf(app, 'any'), 503)
  for (const user of [{ id: 1 }, true, { sub: null }]) {
    const { app, logs } = await guarded(t, { jwt: false })
    app.wsRoute('/ws', { auth: { verify: () => user }, handler() {} })
    assert.equal(await statusOf(app, 'any'), 401, JSON.stringify(user))
    assert.equal(logs.find('ws.auth_failed')?.errorCode, 'NO_SUBJECT')
  }
})

test('A5: what throws when it is looked at is an error like any other', async (t) => {
  const { app, logs } = await guarded(t, { jwt: false })
  const trap = new Proxy(new Error('x'), {
    get(): never {
      throw new Error('canary')
    }
  })
  app.wsRoute('/ws', { auth: { verify: () => Promise.reject(trap) }, handler() {} })
  assert.equal(await statusOf(app, 'any'), 503)
  assert.equal(logs.find('ws.refused')?.errorCode, 'UNKNOWN')
})

test('A3: an identity that has expired is refused', async (t) => {
  const { app, logs } = await guarded(t, { jwt: false })
  const identity = (): { subject: string; expiresAt: number } => ({ subject: 'a', expiresAt: Date.now() })
  app.wsRoute('/ws', { auth: { verify: () => ({ id: 1 }), identity }, handler() {} })
  assert.equal(await statusOf(app, 'any'), 401)
  assert.equal(logs.find('ws.auth_failed')?.errorCode, 'EXPIRED')
})

const verdicts: ReadonlyArray<readonly [string, () => unknown, number, string | undefined]> = [
  ['null', () => null, 401, 'NO_USER'],
  ['undefined', () => undefined, 401, 'NO_USER'],
  ['false', () => false, 401, 'NO_USER'],
  ['a promise of null', async () => null, 401, 'NO_USER'],
  ['a token error of fast-jwt', () => fail({ code: 'FAST_JWT_EXPIRED' }), 401, 'FAST_JWT_EXPIRED'],
  ['a token error of jose', () => fail({ code: 'ERR_JWT_EXPIRED' }), 401, 'ERR_JWT_EXPIRED'],
  ['a bad signature of jose', () => fail({ code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED' }), 401, undefined],
  ['an encrypted token of jose', () => fail({ code: 'ERR_JWE_DECRYPTION_FAILED' }), 401, undefined],
  ['an unknown kid of jose', () => fail({ code: 'ERR_JWKS_NO_MATCHING_KEY' }), 401, undefined],
  ['two keys of jose', () => fail({ code: 'ERR_JWKS_MULTIPLE_MATCHING_KEYS' }), 401, undefined],
  ['a token error of jsonwebtoken', () => fail({ name: 'TokenExpiredError' }), 401, 'TokenExpiredError'],
  ['a 401', () => fail({ statusCode: 401 }), 401, 'Error'],
  ['jose without its keys', () => fail({ code: 'ERR_JWKS_TIMEOUT' }), 503, 'ERR_JWKS_TIMEOUT'],
  ['fast-jwt without its key', () => fail({ code: 'FAST_JWT_KEY_FETCHING_ERROR' }), 503, undefined],
  ['wrong options of fast-jwt', () => fail({ code: 'FAST_JWT_INVALID_OPTION' }), 503, undefined],
  ['a back end that is down', () => fail({ code: 'ECONNREFUSED' }), 503, 'ECONNREFUSED'],
  ['another error', () => fail({}), 503, 'Error'],
  ['a rejection with nothing', () => Promise.reject(), 503, 'UNKNOWN'],
  ['a rejection with null', () => Promise.reject(null), 503, 'UNKNOWN'],
  ['a thrown text', () => Promise.reject('canary'), 503, 'UNKNOWN']
]

function fail(properties: object): never {
  throw Object.assign(new Error('canary'), properties)
}

for (const [name, verify, status, errorCode] of verdicts) {
  test(`A5, A12: a verifier of one's own that answers ${name} is ${status}`, async (t) => {
    const { app, logs } = await guarded(t, { jwt: false })
    app.wsRoute('/ws', { auth: { verify }, handler: () => assert.fail('nobody may come in') })
    await using ws = await injectWs(app, '/ws', { token: 'any' })
    assertRefused(ws, status)
    const line = logs.find('ws.refused')
    assert.equal(line?.reason, status === 401 ? 'invalid_credential' : 'unavailable')
    if (errorCode !== undefined) assert.equal(line?.errorCode, errorCode)
    assert.doesNotMatch(logs.text(), /canary/)
    assert.equal(
      logs.lines.some(({ level }) => level > 40),
      false
    )
  })
}

test("A5: a verifier's error code that quotes the token is cut", async (t) => {
  const { app, logs } = await guarded(t, { jwt: false })
  app.wsRoute('/ws', { auth: { verify: () => fail({ code: 'X'.repeat(500) }) }, handler() {} })
  assert.equal(await statusOf(app, 'any'), 503)
  assert.equal(logs.find('ws.refused')?.errorCode, 'X'.repeat(64))
})

test("a verifier of one's own gets the token and the request, and what it returns is the user", async (t) => {
  const { app } = await guarded(t, { jwt: false })
  const calls: unknown[] = []
  const users: unknown[] = []
  app.wsRoute('/ws', {
    auth: {
      verify: (token, request) => {
        calls.push([token, request.headers['x-tenant']])
        return { sub: 'alice', admin: true }
      }
    },
    handler: ({ user }) => void users.push(user)
  })
  await using ws = await injectWs(app, '/ws', { token: 'opaque', headers: { 'X-Tenant': 'a' } })
  assert.equal(ws.statusCode, 101)
  assert.deepEqual(calls, [['opaque', 'a']])
  assert.deepEqual(users, [{ sub: 'alice', admin: true }])
})

test('A9: a token above 8 KiB, or an empty one, is not verified', async (t) => {
  let calls = 0
  const { app } = await guarded(t, { jwt: false })
  app.wsRoute('/ws', {
    auth: {
      verify: () => {
        calls++
        return { sub: 'a' }
      }
    },
    handler() {}
  })
  assert.equal(await statusOf(app, 'x'.repeat(8_193)), 401)
  assert.equal(await statusOf(app, ''), 401)
  assert.equal(calls, 0)
  assert.equal(await statusOf(app, 'x'.repeat(8_192)), 101)
})
