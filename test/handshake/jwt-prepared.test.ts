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

const routeDemands = { requiredClaims: ['exp'], from: ['header'] }
const good = { sub: 'alice', exp: Math.floor(Date.now() / 1_000) + 600, aud: 'chat', iss: 'me' }

interface Asked {
  /** What `request.jwtVerify` was given, and which header it would read. */
  readonly options: unknown
  readonly authorization: unknown
}

/** Verifies by an @fastify/jwt that writes down how it is asked. */
async function ask(auth: object, verify: object | undefined, payload: object, header = 'Bearer token'): Promise<Asked> {
  const decorator = {
    options: { verify: { algorithms: ['HS256'], ...verify }, decoratorName: 'user' },
    decode: () => ({ header: { alg: 'HS256' }, payload })
  }
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
    assert.deepEqual(await ask(auth, undefined, good), { options: undefined, authorization: 'Bearer token' })
  }
  // Where the credential came another way, too.
  const byOther = await ask({}, undefined, good, 'Basic other')
  assert.deepEqual(byOther, { options: undefined, authorization: 'Bearer token' })
})

test('A2, A4: one that does not is verified with all demands', async () => {
  const cases: [auth: object, payload: object][] = [
    [{ algorithms: ['HS512'] }, good],
    [{ requiredClaims: ['tenant'] }, good],
    [{ audience: 'other' }, good],
    [{ audience: ['other'] }, good],
    [{ audience: 'chat' }, { ...good, aud: ['chat'] }],
    [{ issuer: 'other' }, good],
    [{ issuer: 'me' }, { sub: 'alice', exp: good.exp }]
  ]
  for (const [auth, payload] of cases) {
    const { options } = await ask(auth, undefined, payload)
    const { verify } = options as { verify: Record<string, unknown> }
    assert.equal((verify.extractToken as () => string)(), 'token')
    assert.equal(verify.cache, false)
    assert.deepEqual(verify.requiredClaims?.toString().includes('exp'), !('requiredClaims' in auth))
  }
})

test('A11: demands of the app’s own, a cache among them, are never put in the place of the route’s', async () => {
  const own = [{ cache: true }, { cache: 100 }, { requiredClaims: ['x'] }, { allowedAud: 'x' }, { allowedIss: 'x' }]
  for (const verify of [...own, { extractToken: () => 'x' }, { onlyCookie: true }, { key: 'x' }, { complete: true }]) {
    assert.notEqual((await ask({}, verify, good)).options, undefined, JSON.stringify(verify))
  }
  assert.notEqual((await ask({ algorithms: ['HS256'] }, {}, good)).options, undefined)
  assert.equal((await ask({ algorithms: ['HS256'] }, { algorithms: undefined }, good)).options, undefined)
})

test('the user is on the request, as formatUser made it, however the token came', async (t) => {
  const app = Fastify() as unknown as FastifyInstance
  t.after(() => app.close())
  const trustedBy: unknown[] = []
  await app.register(jwt, {
    secret,
    formatUser: ({ sub }: { sub: string }) => ({ sub, name: sub.toUpperCase() }),
    trusted: (request: FastifyRequest) => {
      trustedBy.push(request.id)
      return true
    }
  } as never)
  await app.register(wsGuard, { origins: [origin], auth: { from: ['header', 'query'] } })
  const seen: unknown[] = []
  app.wsRoute('/ws', {
    authorize: (_user, request) => seen.push([request.id, request.user]) > 0,
    handler() {}
  })
  const token = signJwt(claims({ sub: 'alice' }), secret)
  for (const way of [{ token }, { token: undefined, query: { token } }]) {
    const query = 'query' in way ? `?token=${token}` : ''
    await using ws = await injectWs(app, `/ws${query}`, 'query' in way ? {} : { token })
    assert.equal(ws.statusCode, 101)
  }
  assert.deepEqual(
    seen,
    trustedBy.map((id) => [id, { sub: 'alice', name: 'ALICE' }])
  )
  assert.equal(seen.length, 2)
})
