/** The algorithms of a route and the keys of @fastify/jwt: what does not fit does not boot, or lets nobody in. */
import assert from 'node:assert/strict'
import { createPublicKey, createSecretKey } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import jwt from '@fastify/jwt'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import wsGuard from '../../lib/index.ts'
import type { AuthOptions } from '../../lib/route/options.ts'
import { injectWs } from '../../lib/testing.ts'
import { origin, secret } from '../support/app.ts'
import { claims, type JwtAlgorithm, keyPair, signJwt } from '../support/tokens.ts'

const pairs = { RS256: keyPair('rsa'), ES256: keyPair('ec'), EdDSA: keyPair('ed25519') }
const rsa = { private: pairs.RS256.privateKey, public: pairs.RS256.publicKey }
/** The key as people keep it in a variable: without the lines that say what it is. */
const bare = rsa.public.replaceAll(/-----[^-]+-----|\n/g, '')
const jwk = JSON.stringify(createPublicKey(rsa.public).export({ format: 'jwk' }))

async function boot(t: TestContext, jwtOptions: object, auth: AuthOptions = {}): Promise<FastifyInstance> {
  const app = Fastify() as unknown as FastifyInstance
  t.after(() => app.close())
  await app.register(jwt, jwtOptions as { secret: string })
  await app.register(wsGuard, { origins: [origin], auth: { from: ['header', 'query'], ...auth } })
  app.wsRoute('/ws', { handler() {} })
  await app.ready()
  return app
}

async function refuses(t: TestContext, jwtOptions: object, auth: AuthOptions, message: RegExp): Promise<void> {
  await assert.rejects(boot(t, jwtOptions, auth), { code: 'WSG_ERR_OPTION', message })
}

/** What a token gets: by the prepared verifier, in a header that @fastify/jwt would read itself, and elsewhere. */
async function statusesOf(app: FastifyInstance, token: string): Promise<number[]> {
  const statuses: number[] = []
  for (const authorization of [`Bearer ${token}`, `bearer ${token}`, undefined]) {
    const headers = authorization === undefined ? {} : { authorization }
    await using ws = await injectWs(app, authorization === undefined ? `/ws?token=${token}` : '/ws', { headers })
    statuses.push(ws.statusCode)
  }
  return statuses
}

const confusion = (option: string, example: string): RegExp =>
  new RegExp(`option "${option}" lists HS\\d+, but .* whoever has its public key could sign .*\\['${example}'\\]`)

for (const [fit, { privateKey, publicKey }] of Object.entries(pairs)) {
  test(`A2: HMAC over a public key for ${fit} does not boot: it would be the secret`, async (t) => {
    const both = { private: privateKey, public: publicKey }
    const message = confusion('auth.algorithms', fit)
    const failing = { cache: true, cacheKeyBuilder: () => assert.fail('it is asked for nothing') }
    for (const verify of [undefined, { cache: true }, failing, { algorithms: ['HS256'] }, { key: publicKey }]) {
      await refuses(t, { secret: both, ...(verify && { verify }) }, { algorithms: ['HS256'] }, message)
    }
    for (const key of [publicKey, Buffer.from(publicKey), `\n${publicKey}`, publicKey.replaceAll('\n', '\r\n')]) {
      await refuses(t, { secret: { public: key } }, { algorithms: ['HS512'] }, message)
    }
    const named = { secret: both, namespace: 'device' }
    await refuses(t, named, { namespace: 'device', algorithms: ['HS256'] }, message)
    const own = { secret: both, verify: { algorithms: ['HS256', 'HS384', 'HS512'] } }
    await assert.rejects(boot(t, own), { message: /"@fastify\/jwt verify.algorithms" lists HS256, HS384, HS512, but/ })
    // What the app signs with is no proof of a secret: a private key can be taken for one, too.
    await refuses(t, { secret: both, sign: { algorithm: 'HS256' } }, {}, /"auth.algorithms" is needed/)
  })
}

test('A2: HMAC over a public key that does not look like one does not boot', async (t) => {
  const message = confusion('auth.algorithms', 'RS256')
  await refuses(t, { secret: { private: rsa.private, public: bare } }, { algorithms: ['HS256'] }, message)
  await refuses(t, { secret: { private: rsa.private, public: bare } }, {}, /"auth.algorithms" is needed.*\['RS256'\]/)
  const ownMessage = confusion('@fastify/jwt verify.algorithms', 'RS256')
  for (const key of [jwk, `[${jwk}]`, '-----BEGIN PUBLIC KEY-----\nrubbish\n-----END PUBLIC KEY-----']) {
    await refuses(t, { secret: { public: key }, verify: { algorithms: ['HS256'] } }, {}, ownMessage)
  }
})

test('A2: algorithms of which the key can verify none do not boot: every token would be refused', async (t) => {
  const message = (example: string): RegExp =>
    new RegExp(`"auth.algorithms" lists .*, but the key .* every token would be refused; .*\\['${example}'\\]`)
  for (const algorithms of [['RS256', 'PS256'], ['ES256'], ['EdDSA']]) {
    await refuses(t, { secret }, { algorithms }, message('HS256'))
    await refuses(t, { secret: Buffer.from(secret) }, { algorithms }, message('HS256'))
  }
  await refuses(t, { secret: rsa }, { algorithms: ['ES256'] }, message('RS256'))
  await refuses(t, { secret: { public: pairs.ES256.publicKey } }, { algorithms: ['ES384'] }, message('ES256'))
})

test('A2: algorithms of which the key can verify one boot, and only they come in', async (t) => {
  for (const [alg, { privateKey, publicKey }] of Object.entries(pairs) as [JwtAlgorithm, typeof pairs.RS256][]) {
    const more = { RS256: ['PS256', 'RS256'], ES256: ['ES384', 'ES256'], EdDSA: ['EdDSA'] }[alg as keyof typeof pairs]
    for (const key of [{ private: privateKey, public: publicKey }, { public: publicKey }]) {
      const app = await boot(t, { secret: key }, { algorithms: more })
      assert.deepEqual(await statusesOf(app, signJwt(claims(), privateKey, { alg })), [101, 101, 101], alg)
      assert.deepEqual(await statusesOf(app, signJwt(claims(), publicKey)), [401, 401, 401], alg)
    }
  }
  for (const key of [secret, Buffer.from(secret), { private: secret, public: secret }, { public: secret }]) {
    const app = await boot(t, { secret: key }, { algorithms: ['HS384', 'HS512'] })
    assert.deepEqual(await statusesOf(app, signJwt(claims(), secret, { alg: 'HS384' })), [101, 101, 101])
    assert.deepEqual(await statusesOf(app, signJwt(claims(), secret)), [401, 401, 401])
  }
})

test('A2: without algorithms only those of a plain secret with which the app signs come in', async (t) => {
  for (const alg of ['HS256', 'HS384', 'HS512'] as const) {
    for (const verify of [{}, { cache: true }, { algorithms: [] }]) {
      const app = await boot(t, { secret, verify, sign: { algorithm: alg } })
      for (const other of ['HS256', 'HS384', 'HS512'] as const) {
        const status = other === alg ? 101 : 401
        assert.deepEqual(await statusesOf(app, signJwt(claims(), secret, { alg: other })), [status, status, status])
      }
    }
  }
  await refuses(t, { secret: { public: secret } }, {}, /"auth.algorithms" is needed.*\['HS256'\]/)
  await refuses(t, { secret: async () => secret }, {}, /"auth.algorithms" is needed.*\['RS256'\]/)
})

test('A2: a function is not asked for a key at boot, and any algorithms boot with it', async (t) => {
  let asked = 0
  const give = async (): Promise<string> => {
    asked++
    return secret
  }
  for (const algorithms of [['HS256'], ['RS256'], ['ES256'], ['EdDSA']]) {
    for (const key of [give, { private: rsa.private, public: give }]) await boot(t, { secret: key }, { algorithms })
    await boot(t, { secret, verify: { key: give } }, { algorithms })
  }
  assert.equal(asked, 0)
  await boot(t, { secret: { private: give, public: rsa.public } }, { algorithms: ['RS256'] })
  await refuses(t, { secret: { private: give, public: secret } }, {}, /"auth.algorithms" is needed/)
})

test('A2: a public key that a function gives is no HMAC secret, whatever it looks like', async (t) => {
  const { publicKey, privateKey } = pairs.ES256
  const keys = [rsa.public, publicKey, pairs.EdDSA.publicKey, `\n${rsa.public}`, Buffer.from(publicKey), jwk]
  let key: string | Buffer = secret
  const app = await boot(t, { secret: async () => key }, { algorithms: ['HS256', 'HS512'] })
  assert.deepEqual(await statusesOf(app, signJwt(claims(), secret)), [101, 101, 101])
  assert.deepEqual(await statusesOf(app, signJwt(claims(), secret, { alg: 'HS384' })), [401, 401, 401])
  for (key of keys) {
    const forged = signJwt(claims(), createSecretKey(Buffer.from(key)), { alg: 'HS512' })
    assert.deepEqual(await statusesOf(app, forged), [401, 401, 401], String(key))
  }
  key = publicKey
  assert.deepEqual(await statusesOf(app, signJwt(claims(), privateKey, { alg: 'ES256' })), [401, 401, 401])
})

type Done = (error: unknown, key?: string) => void

test('A2, A12: a secret function that knows no key, at once or later, is asked once and refuses with 401', async (t) => {
  const asked: number[] = []
  const ways: Readonly<Record<string, (...asking: [FastifyRequest, object, Done]) => unknown>> = {
    'at once': (_request, _token, done) => done(null),
    later: (_request, _token, done) => void setImmediate(() => done(null)),
    'later, by a promise': (_request, _token, done) => void Promise.resolve().then(() => done(null)),
    'with a promise': async () => undefined
  }
  for (const algorithms of [['HS256'], ['RS256']]) {
    const alg = algorithms[0] as JwtAlgorithm
    const key = alg === 'RS256' ? rsa.private : secret
    const tokens = [signJwt(claims(), key, { alg }), `${signJwt(claims(), key, { alg }).split('.', 2).join('.')}.`]
    for (const [way, give] of Object.entries(ways)) {
      const app = await boot(
        t,
        {
          secret: (...asking: [FastifyRequest, object, Done]) => {
            asked.push(asking.length)
            return give(...asking)
          }
        },
        { algorithms }
      )
      for (const token of tokens) assert.deepEqual(await statusesOf(app, token), [401, 401, 401], way)
      assert.deepEqual(asked.splice(0), Array(6).fill(3), way)
    }
  }
})

test('A12: a verify.key that is a function and knows no key refuses with 401, one that fails with 503', async (t) => {
  let give: () => unknown = () => secret
  const app = await boot(t, { secret, verify: { key: async () => give() } }, { algorithms: ['HS256'] })
  const token = signJwt(claims(), secret)
  assert.deepEqual(await statusesOf(app, token), [101, 101, 101])
  for (const nothing of [() => undefined, () => null, () => '', () => Promise.reject()]) {
    give = nothing
    assert.deepEqual(await statusesOf(app, token), [401, 401, 401])
  }
  give = () => Promise.reject(new Error('the key server is down'))
  assert.deepEqual(await statusesOf(app, token), [503, 503, 503])
})
