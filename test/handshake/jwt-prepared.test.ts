/** @fastify/jwt is asked with what it has prepared, where that checks all that the route demands; else with options. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import jwt from '@fastify/jwt'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { type AuthSettings, createAuthenticator } from '../../lib/handshake/authenticate.ts'
import wsGuard from '../../lib/index.ts'
import { injectWs } from '../../lib/testing.ts'
import { origin, secret } from '../support/app.ts'
import { claims, signJwt } from '../support/tokens.ts'

const routeDemands = { requiredClaims: ['exp'], from: ['header'], algorithms: ['HS256'] }
const good = { sub: 'alice', exp: Math.floor(Date.now() / 1_000) + 600, aud: 'chat', iss: 'me' }

interface Asked {
  /** What `request.jwtVerify` was given, and which header it would read. */
  readonly options: unknown
  readonly authorization: unknown
}

/** Verifies by a request that writes down how it is asked. `changed`: of the decorator of @fastify/jwt. */
async function ask(
  auth: object,
  verify: object | undefined | null,
  payload: object,
  header = 'Bearer token',
  changed: object = {}
): Promise<Asked> {
  const own = Fastify()
  await own.register(jwt, { secret, verify } as never)
  const decode = (): unknown => ({ header: { alg: 'HS256' }, payload })
  const decorator = { ...own.jwt, decode, ...changed }
  const app = { jwt: decorator, hasRequestDecorator: () => true } as unknown as FastifyInstance
  const authenticator = createAuthenticator({ ...routeDemands, ...auth } as unknown as AuthSettings, app, Date.now)
  authenticator.prepare()
  let asked: Asked | undefined
  const request = {
    headers: { authorization: header },
    async jwtVerify(this: FastifyRequest, options: unknown) {
      asked = { options, authorization: this.headers.authorization }
      return payload
    }
  } as unknown as FastifyRequest
  assert.equal((await authenticator.verify('token', request)).ok, true)
  return asked as Asked
}

test('A2: a token that meets the demands is verified with the prepared key and nothing of ours', async () => {
  for (const auth of [{}, { audience: 'chat' }, { audience: ['x', 'chat'], issuer: 'me' }, { issuer: ['me'] }]) {
    assert.deepEqual(await ask(auth, null, good), { options: undefined, authorization: 'Bearer token' })
  }
})

test('A1: a token that came another way is verified on the request as it is', async () => {
  for (const header of ['Basic other', 'Bearer other', 'bearer token', 'Bearer  token']) {
    const { options, authorization } = await ask({}, null, good, header)
    assert.notEqual(options, undefined, header)
    assert.equal(authorization, header)
  }
})

test('A2, L2: nothing is prepared for keys that a function gives, which @fastify/jwt would keep', async () => {
  const rejected = (): Promise<never> => Promise.reject(new Error('no key'))
  const throws = (): never => {
    throw new Error('no key')
  }
  for (const verify of [rejected, throws, async () => ({}), () => ({}), undefined]) {
    assert.notEqual((await ask({}, null, good, undefined, { verify })).options, undefined)
  }
  // Nobody signs with the key that tokens are verified with.
  for (const sign of [rejected, throws, () => undefined]) {
    assert.equal((await ask({}, null, good, undefined, { sign })).options, undefined)
  }
})

test('A2, A4: one that does not is verified with all demands', async () => {
  const cases: [auth: object, payload: object][] = [
    [{ requiredClaims: ['tenant'] }, good],
    [{ audience: 'other' }, good],
    [{ audience: ['other'] }, good],
    [{ audience: 'chat' }, { ...good, aud: ['chat'] }],
    [{ issuer: 'other' }, good],
    [{ issuer: 'me' }, { sub: 'alice', exp: good.exp }]
  ]
  for (const [auth, payload] of cases) {
    const { options } = await ask(auth, null, payload)
    const { verify } = options as { verify: Record<string, unknown> }
    assert.equal((verify.extractToken as () => string)(), 'token')
    assert.equal(verify.cache, false)
    assert.deepEqual(verify.requiredClaims?.toString().includes('exp'), !('requiredClaims' in auth))
  }
})

test('A11: demands of the app’s own, a cache among them, are never put in the place of the route’s', async () => {
  const own = [{ cache: true }, { cache: 100 }, { requiredClaims: ['x'] }, { allowedAud: 'x' }, { allowedIss: 'x' }]
  for (const verify of [...own, { extractToken: () => 'x' }, { onlyCookie: true }, { key: 'x' }, { complete: true }]) {
    assert.notEqual((await ask({}, verify, good)).options, undefined)
  }
  assert.notEqual((await ask({}, { algorithms: ['HS256'] }, good)).options, undefined)
  assert.equal((await ask({}, {}, good)).options, undefined)
})

test('A1, A2: trusted and secret functions are asked with the request itself, however the token came', async (t) => {
  const app = Fastify() as unknown as FastifyInstance
  t.after(() => app.close())
  await app.register(jwt, {
    secret,
    formatUser: ({ sub }: { sub: string }) => ({ sub, name: sub.toUpperCase() }),
    trusted: (request: FastifyRequest) => {
      Reflect.set(request, 'seenBy', 'trusted')
      return request.headers['x-blocked'] === undefined
    }
  } as never)
  await app.register(wsGuard, { origins: [origin], auth: { from: ['header', 'query'] } })
  const seen: unknown[] = []
  app.wsRoute('/ws', {
    authorize: (_user, request) => seen.push([Reflect.get(request, 'seenBy'), request.user]) > 0,
    handler() {}
  })
  const token = signJwt(claims({ sub: 'alice' }), secret)
  for (const way of ['header', 'query'] as const) {
    const path = way === 'query' ? `/ws?token=${token}` : '/ws'
    const options = way === 'query' ? {} : { token }
    await using ws = await injectWs(app, path, options)
    assert.equal(ws.statusCode, 101, way)
    await using blocked = await injectWs(app, path, { ...options, headers: { 'x-blocked': '1' } })
    assert.equal(blocked.statusCode, 401, way)
  }
  assert.deepEqual(seen, Array(2).fill(['trusted', { sub: 'alice', name: 'ALICE' }]))
})

test('A2: a secret function sees every header of a handshake whose token is in the query', async (t) => {
  const app = Fastify() as unknown as FastifyInstance
  t.after(() => app.close())
  const secrets: Record<string, string> = { a: `${secret} of a`, b: `${secret} of b` }
  await app.register(jwt, {
    secret: async (request: FastifyRequest) => secrets[String(request.headers['x-tenant'] ?? 'a')] as string
  })
  await app.register(wsGuard, { origins: [origin], auth: { from: ['header', 'query'], algorithms: ['HS256'] } })
  app.wsRoute('/ws', { handler() {} })
  const token = signJwt(claims({ sub: 'alice' }), secrets.a as string)
  for (const [tenant, status] of [
    ['a', 101],
    ['b', 401]
  ] as const) {
    const headers = { 'x-tenant': tenant }
    await using byQuery = await injectWs(app, `/ws?token=${token}`, { headers })
    await using byHeader = await injectWs(app, '/ws', { token, headers })
    assert.deepEqual([byQuery.statusCode, byHeader.statusCode], [status, status], tenant)
  }
})

test('an app that gives no options for verifying boots', async (t) => {
  const app = Fastify() as unknown as FastifyInstance
  t.after(() => app.close())
  await app.register(jwt, { secret, verify: null } as never)
  await app.register(wsGuard, { origins: [origin], auth: {} })
  app.wsRoute('/ws', { handler() {} })
  await using ws = await injectWs(app, '/ws', { token: signJwt(claims({ sub: 'alice' }), secret) })
  assert.equal(ws.statusCode, 101)
})
