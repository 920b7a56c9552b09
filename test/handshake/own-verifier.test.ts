import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { injectWs } from '../../lib/testing.ts'
import { echo } from '../support/app.ts'
import { assertRefused, guarded } from './harness.ts'

async function statusOf(app: FastifyInstance, token: string): Promise<number> {
  await using ws = await injectWs(app, '/ws', { token })
  return ws.statusCode
}

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

test('A3: a user whose exp nobody can read is not one without an end', async (t) => {
  const later = Math.floor(Date.now() / 1000) + 60
  const users: ReadonlyArray<readonly [object, number]> = [
    [{ sub: 'a', exp: '2999-01-01T00:00:00Z' }, 503],
    [{ sub: 'a', exp: String(later) }, 503],
    [{ sub: 'a', exp: new Date(later * 1000) }, 503],
    [{ sub: 'a', exp: 1e300 }, 503],
    [{ sub: 'a', exp: Number.NaN }, 503],
    [{ sub: 'a', exp: 1 }, 401],
    [{ sub: 'a', exp: later }, 101],
    [{ sub: 'a', exp: null }, 101]
  ]
  for (const [user, status] of users) {
    const { app, logs } = await guarded(t, { jwt: false })
    app.wsRoute('/ws', { auth: { verify: () => user }, handler() {} })
    assert.equal(await statusOf(app, 'any'), status, JSON.stringify(user))
    if (status === 503) assert.equal(logs.find('ws.refused')?.errorCode, 'WSG_ERR_OPTION')
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
  ['a kid that jwks-rsa does not find', () => fail({ name: 'SigningKeyNotFoundError' }), 401, undefined],
  [
    'the same through jsonwebtoken',
    () => fail(keyCallback("Unable to find a signing key that matches 'x'")),
    401,
    undefined
  ],
  ['no kid through jsonwebtoken', () => fail(keyCallback('No KID specified and JWKS endpoint')), 401, undefined],
  ['a kid that get-jwks does not find', () => fail({ code: 'JWK_NOT_FOUND' }), 401, 'JWK_NOT_FOUND'],
  ['an iss that get-jwks may not ask', () => fail({ code: 'DOMAIN_NOT_ALLOWED' }), 401, undefined],
  ['jsonwebtoken without its key', () => fail(keyCallback('connect ECONNREFUSED')), 503, 'JsonWebTokenError'],
  ['get-jwks without its keys', () => fail({ code: 'JWKS_REQUEST_FAILED' }), 503, undefined],
  ['a 401', () => fail({ statusCode: 401 }), 401, 'Error'],
  ['jose without its keys', () => fail({ code: 'ERR_JWKS_TIMEOUT' }), 503, 'ERR_JWKS_TIMEOUT'],
  ['fast-jwt without its key', () => fail({ code: 'FAST_JWT_KEY_FETCHING_ERROR' }), 503, undefined],
  ['wrong options of fast-jwt', () => fail({ code: 'FAST_JWT_INVALID_OPTION' }), 503, undefined],
  ['a back end that is down', () => fail({ code: 'ECONNREFUSED' }), 503, 'ECONNREFUSED'],
  ['another error', () => fail({}), 503, 'Error'],
  ['a rejection with nothing', () => Promise.reject(), 503, 'UNKNOWN'],
  ['a rejection with null', () => Promise.reject(null), 503, 'UNKNOWN'],
  ['a thrown text', () => Promise.reject('canary'), 503, 'UNKNOWN'],
  ['a thrown number', () => Promise.reject(401), 503, 'UNKNOWN'],
  ['a frozen error', () => Promise.reject(Object.freeze(new Error('canary'))), 503, 'Error'],
  ['a frozen object', () => Promise.reject(Object.freeze({ code: 'E_DOWN' })), 503, 'E_DOWN'],
  ['an error at once', () => fail({ code: 'E_AT_ONCE' }), 503, 'E_AT_ONCE'],
  ['an aborted request', () => Promise.reject(AbortSignal.abort().reason), 503, undefined],
  ['a user that fails when it is looked at', () => unreadable, 503, 'UNREADABLE']
]

const unreadable = {
  get sub(): never {
    return fail({ code: 'UNREADABLE' })
  }
}

/** As jsonwebtoken reports what its `getKey` callback was given as an error. */
function keyCallback(message: string): object {
  return { name: 'JsonWebTokenError', message: `error in secret or public key callback: ${message}` }
}

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

test('A3: an identity that says it never expires has no end, on the wire and in the log', async (t) => {
  const { app, logs } = await guarded(t, { jwt: false })
  const ends: unknown[] = []
  const verify = () => ({ name: 'alice' })
  const identity = () => ({ subject: 'alice', expiresAt: Number.POSITIVE_INFINITY })
  app.wsRoute('/ws', {
    contract: echo,
    auth: { verify, identity },
    handlers: { say: (_, connection) => void ends.push(connection.expiresAt), ask: () => ({ items: [] }) }
  })
  await using ws = await injectWs(app, '/ws', { contract: echo, token: 'opaque' })
  ws.send('auth', { token: 'another' })
  assert.deepEqual(await ws.receive('auth_ok'), { type: 'auth_ok' })
  ws.send('say', { text: 'x' }, { ref: 1 })
  await ws.receive('reply')
  assert.deepEqual(ends, [undefined])
  assert.equal('expiresAt' in (logs.find('ws.open') as object), false)
})
