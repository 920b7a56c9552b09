/** What leaves with a refusal: the fixed body of its status, whatever the developer's own code does (threat H13). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import wsGuard from '../../lib/index.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { origin, secret, tokenFor } from '../support/app.ts'
import type { HttpAnswer } from '../support/http-message.ts'
import { claims, keyPair, signJwt, tamper } from '../support/tokens.ts'
import { within } from '../support/wait.ts'
import {
  assertNoSockets,
  assertNothingHeld,
  assertRefused,
  bodyOf,
  ended,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from './harness.ts'

const canary = 'canary-of-the-database'

/** An answer with every byte the server sent. */
async function answerTo(t: TestContext, port: number, headers: object, path = '/ws'): Promise<HttpAnswer> {
  const client = await rawClient(t, port)
  const answer = await client.handshake({ path, headers: headers as Record<string, string> })
  await ended(client)
  assert.equal(client.unparsed.length, 0)
  assert.doesNotMatch(JSON.stringify(answer), /canary/)
  return answer
}

const fails = (): never => {
  throw new Error(canary)
}
const rejects = async (): Promise<never> => fails()

const inHooks = ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const
const everywhere: Record<string, (app: FastifyInstance, error: () => never) => object> = {
  authorize: (_app, error) => ({ authorize: error }),
  data: (_app, error) => ({ data: error }),
  ...Object.fromEntries(
    inHooks.map((name) => [`route ${name}`, (_app: FastifyInstance, error) => ({ [name]: error })])
  ),
  ...Object.fromEntries(
    inHooks.map((name) => [
      `instance ${name}`,
      (app: FastifyInstance, error: () => never) => {
        app.addHook(name as 'onRequest', error)
        return {}
      }
    ])
  ),
  'two of them': (app, error) => {
    app.addHook('onError', error)
    return { preHandler: error }
  }
}

for (const [place, declare] of Object.entries(everywhere)) {
  test(`H13: ${place}: what it throws is 500, and none of it leaves`, async (t) => {
    for (const error of [rejects as () => never, place.includes('instance') ? (rejects as () => never) : fails]) {
      const { app, logs } = await guarded(t)
      app.wsRoute('/ws', { ...declare(app, error), handler: () => assert.fail('nobody may come in') } as never)
      const answer = await answerTo(t, await listen(app), goodHeaders(tokenFor(app)))
      assertRefused(answer, 500)
      assert.match(logs.text(), new RegExp(canary))
      await assertNothingHeld(app)
    }
  })
}

const backEnds: Record<string, { guard: WsGuardOptions; jwt?: false }> = {
  'auth.verify': { guard: { auth: { verify: rejects } }, jwt: false },
  'auth.identity': { guard: { auth: { identity: fails } } },
  'limits.attempts.keyGenerator': { guard: { limits: { attempts: { keyGenerator: fails } } } },
  'limits.attempts.allowList': { guard: { limits: { attempts: { allowList: fails } } } }
}

for (const [place, options] of Object.entries(backEnds)) {
  test(`H13: ${place}: what it throws is 503, and none of it leaves`, async (t) => {
    const { app } = await guarded(t, options)
    app.wsRoute('/ws', { handler: () => assert.fail('nobody may come in') })
    const token = options.jwt === false ? 'any' : tokenFor(app)
    assertRefused(await answerTo(t, await listen(app), goodHeaders(token)), 503)
    await assertNothingHeld(app)
  })
}

test('H13: an onSend hook that throws gets the fixed body of 500 and nothing else', async (t) => {
  const { app, logs } = await guarded(t)
  app.addHook('onSend', rejects)
  const upgradeHeaders = { 'x-content-type-options': 'nosniff', 'x-own': 'yes' }
  app.wsRoute('/ws', { upgradeHeaders, handler() {} })
  const port = await listen(app)
  for (const headers of [goodHeaders(), { Origin: 'https://evil.example' }, { Upgrade: null, Connection: 'close' }]) {
    const answer = await answerTo(t, port, headers)
    assertRefused(answer, 500)
    assert.equal(answer.headers['x-own'], 'yes')
  }
  assert.match(logs.text(), new RegExp(canary))
  await assertNothingHeld(app)
  await assertNoSockets(app)
})

test('H13: a header of a hook that cannot be sent ends nothing but its own handshake', async (t) => {
  const { app, logs } = await guarded(t)
  app.wsRoute('/ws/:room', {
    onRequest: async (request: FastifyRequest<{ Params: { room: string } }>, reply: FastifyReply) => {
      reply.header('x-room', request.params.room)
    },
    handler() {}
  } as never)
  const port = await listen(app)
  for (const room of ['%0d%0aSet-Cookie:%20a=b', '%c4%80', '%00']) {
    const answer = await answerTo(t, port, goodHeaders(), `/ws/${room}`)
    assertRefused(answer, 401)
    assert.equal(answer.headers['set-cookie'], undefined)
  }
  assert.ok(logs.find('a refusal could not be sent with the headers that hooks have set'))
  await assertNothingHeld(app)
  await assertNoSockets(app)
})

test('H13: nor does one of a hook that was there before the guard, on paths that are not ours', async (t) => {
  const app = Fastify() as unknown as FastifyInstance
  t.after(() => app.close())
  app.addHook('onRequest', async (request, reply) => void reply.header('x-path', decodeURIComponent(request.url)))
  await app.register(wsGuard, { origins: [origin], auth: false })
  app.get('/plain/:room', () => 'plain')
  const port = await listen(app)
  assertRefused(await answerTo(t, port, goodHeaders(), '/plain/%0a'), 400)
  assertRefused(await answerTo(t, port, goodHeaders(), '/nope/%0a'), 404)
  await assertNothingHeld(app)
})

const meddlers: Record<string, (app: FastifyInstance) => void> = {
  'a content type of a hook': (app) => app.addHook('onRequest', async (_, reply) => void reply.type('text/html')),
  'a status of a hook': (app) => app.addHook('onRequest', async (_, reply) => void reply.code(200)),
  'a serializer of the app': (app) => void app.setReplySerializer(() => canary),
  'a serializer of a hook': (app) => app.addHook('onRequest', async (_, reply) => void reply.serializer(() => canary)),
  preSerialization: (app) => app.addHook('preSerialization', async () => ({ canary })),
  'a preSerialization that throws': (app) => app.addHook('preSerialization', rejects)
}

for (const [name, meddle] of Object.entries(meddlers)) {
  test(`H13: ${name} changes no refusal`, async (t) => {
    const { app } = await guarded(t)
    meddle(app)
    app.wsRoute('/ws', { handler() {} })
    const port = await listen(app)
    assertRefused(await answerTo(t, port, goodHeaders()), 401)
    assertRefused(await answerTo(t, port, { Origin: 'https://evil.example' }), 403)
  })
}

test('H13: whatever is wrong with a token, the whole answer is the same to the byte', async (t) => {
  const { app, reasons } = await guarded(t, { guard: { auth: { audience: 'chat' } } })
  app.wsRoute('/ws', { handler() {} })
  const port = await listen(app)
  const good = claims({ aud: 'chat' })
  const signed = signJwt(good, secret)
  const now = Math.floor(Date.now() / 1000)
  const { privateKey } = keyPair('rsa')
  const bad = {
    none: undefined,
    empty: 'Bearer ',
    'another scheme': `Basic ${signed}`,
    'two words': `Bearer ${signed} ${signed}`,
    'no token': 'Bearer x',
    'three parts of nothing': 'Bearer ..',
    'another key': `Bearer ${signJwt(good, 'another secret of more than 32 bytes, too')}`,
    'no signature': `Bearer ${signed.slice(0, signed.lastIndexOf('.') + 1)}`,
    'another payload': `Bearer ${tamper(signed, claims({ sub: 'root', aud: 'chat' }))}`,
    'alg none': `Bearer ${signJwt(good, '', { alg: 'none' })}`,
    'alg HS512': `Bearer ${signJwt(good, secret, { alg: 'HS512' })}`,
    'alg RS256': `Bearer ${signJwt(good, privateKey, { alg: 'RS256' })}`,
    'an unknown crit': `Bearer ${signJwt(good, secret, { header: { crit: ['x'], x: 1 } })}`,
    expired: `Bearer ${signJwt({ ...good, exp: now - 1 }, secret)}`,
    'no exp': `Bearer ${signJwt({ ...good, exp: undefined }, secret)}`,
    'exp as a string': `Bearer ${signJwt({ ...good, exp: String(now + 60) }, secret)}`,
    'not yet': `Bearer ${signJwt({ ...good, nbf: now + 600 }, secret)}`,
    'no sub': `Bearer ${signJwt({ ...good, sub: undefined }, secret)}`,
    'sub as a number': `Bearer ${signJwt({ ...good, sub: 7 }, secret)}`,
    'another audience': `Bearer ${signJwt({ ...good, aud: 'admin' }, secret)}`,
    'an array': `Bearer ${signJwt(JSON.stringify([good]), secret)}`,
    'no JSON': `Bearer ${signJwt('{', secret)}`,
    'above 8 KiB': `Bearer ${signJwt({ ...good, pad: 'x'.repeat(8_192) }, secret)}`
  }
  const answers = new Map<string, string>()
  for (const [name, authorization] of Object.entries(bad)) {
    const client = await rawClient(t, port)
    const headers = { Origin: origin, ...(authorization !== undefined && { Authorization: authorization }) }
    let bytes = ''
    client.socket.on('data', (chunk: Buffer) => {
      bytes += chunk.toString('latin1')
    })
    assertRefused(await client.handshake({ path: '/ws', headers }), 401)
    await ended(client)
    answers.set(name, bytes.replace(/^date: .*$/im, 'date:'))
  }
  const [first] = answers.values()
  assert.ok(first?.endsWith(bodyOf(401)))
  for (const [name, bytes] of answers) assert.equal(bytes, first, name)
  // The log tells them apart, by codes.
  assert.deepEqual(new Set(reasons()), new Set(['no_credential', 'invalid_credential']))
  await within(assertNothingHeld(app))
})
