/** Who was revoked, blocked or kicked is out at once, whatever their credential says of itself and whatever the clocks. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AuthOptions } from '../../lib/route/options.ts'
import type { Claims } from '../support/tokens.ts'
import { bearer, revoked, seconds, tokenWith } from './credentials.ts'
import { closeFrameOf, Target } from './harness.ts'

const keeping = { refresh: { perMinute: 60 } }

/** Shown in the first message: how that ends. */
async function sayWho(target: Target, token: string): Promise<{ code: number; reason: string }> {
  const client = await target.open('/echo', bearer())
  await client.sendJson({ type: 'auth', token })
  return closeFrameOf(client)
}

const ahead: Readonly<Record<string, () => number>> = {
  'some seconds ahead of our clock': () => seconds(10),
  'ten minutes ahead of our clock': () => seconds(600),
  'in milliseconds': () => Date.now()
}

for (const [what, iatOf] of Object.entries(ahead)) {
  test(`Z4: who shows an iat ${what} is closed by revoke(), and not let in with it again`, async (t) => {
    const target = await Target.start(t, { guard: { auth: { from: ['header', 'message'] } } })
    const token = tokenWith({ iat: iatOf() })
    const client = await target.open('/echo', bearer(token))
    const bob = await target.open('/echo', bearer(tokenWith({ sub: 'bob' })))
    assert.equal(await target.app.wsGuard.revoke({ sub: 'alice' }), 1)
    assert.deepEqual(await closeFrameOf(client), revoked)
    assert.equal(await target.knock('/echo', bearer(token)), 401)
    assert.deepEqual(await sayWho(target, token), revoked)
    await bob.sendJson({ type: 'say', text: 'still here' })
    assert.deepEqual(await bob.nextJson(), { type: 'said', text: 'still here' })
  })

  test(`Z4: revoke() with issuedBefore finds who was let in before it with an iat ${what}`, async (t) => {
    const target = await Target.start(t)
    const client = await target.open('/echo', bearer(tokenWith({ iat: iatOf() })))
    assert.equal(await target.app.wsGuard.revoke({ sub: 'alice' }, { issuedBefore: Date.now() }), 1)
    assert.deepEqual(await closeFrameOf(client), revoked)
  })

  // Within a minute it is a clock that is not quite right: only who is connected tells how far it is ahead.
  if (iatOf() < seconds(60)) continue

  test(`Z4: a token with an iat ${what} is refused after a revoke() that found nobody with it`, async (t) => {
    const target = await Target.start(t)
    const token = tokenWith({ iat: iatOf() })
    assert.equal(await target.app.wsGuard.revoke({ sub: 'alice' }), 0)
    assert.equal(await target.knock('/echo', bearer(token)), 401)
    assert.equal(await target.knock('/echo', bearer(tokenWith({ sub: 'bob', iat: iatOf() }))), 101)
  })

  test(`Z4, Z5: an iat ${what} does not take a connection across a revocation by a refresh`, async (t) => {
    const target = await Target.start(t)
    const { wsGuard } = target.app
    const issuedBefore = seconds(-60) * 1000
    await wsGuard.revoke({ sub: 'alice' }, { issuedBefore })
    const client = await target.open('/echo', bearer(tokenWith()))
    await client.sendJson({ type: 'auth', token: tokenWith({ iat: iatOf(), exp: seconds(7200) }) })
    assert.deepEqual(await closeFrameOf(client), revoked)
  })
}

test('Z4: a wall clock that was set back keeps nobody in, and lets nobody in again', async (t) => {
  const target = await Target.start(t)
  const token = tokenWith({ iat: seconds() })
  const client = await target.open('/echo', bearer(token))
  const real = Date.now
  t.mock.method(Date, 'now', () => real() - 60_000)
  assert.equal(await target.app.wsGuard.revoke({ sub: 'alice' }), 1)
  assert.deepEqual(await closeFrameOf(client), revoked)
  assert.equal(await target.knock('/echo', bearer(token)), 401)
})

test('Z2, A3: with maxTokenAgeMs an iat more than a minute ahead is 401, in a message 4001', async (t) => {
  const auth = { from: ['header', 'message'], maxTokenAgeMs: 60_000 } as const
  const target = await Target.start(t, { guard: { auth } })
  assert.equal(await target.knock('/echo', bearer(tokenWith({ iat: seconds(30) }))), 101)
  for (const iat of [seconds(120), seconds(3000), Date.now()]) {
    const token = tokenWith({ iat })
    assert.equal(await target.knock('/echo', bearer(token)), 401)
    assert.equal((await sayWho(target, token)).code, 4001)
  }
})

/** A verifier of the developer's own whose users have whatever session a test says. */
function ownAuth(session: unknown): AuthOptions {
  return {
    from: ['header', 'message'],
    verify: (token) => ({ name: token }),
    identity: (user) => ({
      subject: (user as { name: string }).name,
      sessionId: session as string,
      tokenId: session as string,
      issuedAt: Date.now() - 5000
    })
  }
}

for (const name of ['sid', 'jti'] as const) {
  test(`Z4: revoke() finds a JWT whose ${name} is a number, open and shown again`, async (t) => {
    const target = await Target.start(t, { guard: { auth: { from: ['header', 'message'] } } })
    const token = tokenWith({ [name]: 42 })
    const client = await target.open('/echo', bearer(token))
    assert.equal(await target.app.wsGuard.revoke({ [name]: '42' }), 1)
    assert.deepEqual(await closeFrameOf(client), revoked)
    assert.equal(await target.knock('/echo', bearer(token)), 401)
    assert.deepEqual(await sayWho(target, token), revoked)
  })

  test(`Z4: disconnect() and revoke() find an identity of your own whose ${name} is a number`, async (t) => {
    const target = await Target.start(t, { guard: { auth: ownAuth(42) } })
    const { wsGuard } = target.app
    for (const kick of [() => wsGuard.disconnect({ [name]: '42' }), () => wsGuard.revoke({ [name]: '42' })]) {
      const client = await target.open('/echo', bearer('al'))
      assert.equal(await kick(), 1)
      assert.deepEqual(await closeFrameOf(client), revoked)
    }
    assert.equal(await target.knock('/echo', bearer('al')), 401)
  })

  test(`Z4: a ${name} that could not be revoked is refused in a JWT: 401, and 4001 in the first message`, async (t) => {
    const target = await Target.start(t, { guard: { auth: { from: ['header', 'message'] } } })
    for (const value of [true, false, {}, ['42']]) {
      assert.equal(await target.knock('/echo', bearer(tokenWith({ [name]: value }))), 401, String(value))
    }
    assert.equal((await sayWho(target, tokenWith({ [name]: {} }))).code, 4001)
    assert.equal(target.app.wsGuard.connections, 1, 'only who is told why')
  })

  test(`Z4: a ${name} that is null or empty is none`, async (t) => {
    const target = await Target.start(t, { guard: { auth: keeping } })
    const client = await target.open('/echo', bearer(tokenWith({ [name]: null })))
    for (const value of ['', null]) {
      const token = tokenWith({ [name]: value })
      assert.equal(await target.knock('/echo', bearer(token)), 101)
      await client.sendJson({ type: 'auth', token })
      assert.equal((await client.nextJson<Claims>()).type, 'auth_ok')
    }
    const { connections, sessions, tokens } = target.app.wsGuard.stats()
    assert.deepEqual({ connections, sessions, tokens }, { connections: 3, sessions: 0, tokens: 0 })
  })
}

const wrong: Readonly<Record<string, unknown>> = { true: true, NaN: Number.NaN, '{}': {}, '[]': [], '42n': 42n }

for (const [what, session] of Object.entries(wrong)) {
  test(`Z4, N2: an own identity whose sessionId is ${what} is 503, and 1013 in the first message`, async (t) => {
    const target = await Target.start(t, { guard: { auth: ownAuth(session) } })
    assert.equal(await target.knock('/echo', bearer('al')), 503)
    assert.deepEqual(await sayWho(target, 'al'), { code: 1013, reason: 'unavailable' })
    const codes = target.logs.lines.filter(({ errorCode }) => errorCode !== undefined).map(({ errorCode }) => errorCode)
    assert.deepEqual(new Set(codes), new Set(['WSG_ERR_OPTION']))
  })
}

test('Z4, N2: so is one whose own verifier returns it as sid or jti', async (t) => {
  let user: object = {}
  const target = await Target.start(t, { guard: { auth: { verify: () => user } } })
  for (const claim of [{ sid: {} }, { jti: true }]) {
    user = { sub: 'al', ...claim }
    assert.equal(await target.knock('/echo', bearer('al')), 503)
  }
  user = { sub: 'al', sid: null, jti: undefined }
  assert.equal(await target.knock('/echo', bearer('al')), 101)
})

test('Z4, L4: times that cannot be meant are refused, and nobody is closed by halves', async (t) => {
  const target = await Target.start(t)
  const client = await target.open('/echo', bearer(tokenWith()))
  const { wsGuard } = target.app
  const mistakes: readonly [what: RegExp, mistake: () => Promise<number>][] = [
    [/"untilMs".* ms since the epoch/, () => wsGuard.block({ sub: 'alice' }, { untilMs: seconds(3600) })],
    [/"untilMs".* ms since the epoch/, () => wsGuard.block({ sub: 'alice' }, { untilMs: 60_000 })],
    [/"issuedBefore".* ms since the epoch/, () => wsGuard.revoke({ sub: 'alice' }, { issuedBefore: seconds() })],
    [/"issuedBefore".* ms since the epoch/, () => wsGuard.revoke({ jti: 'j' }, { issuedBefore: 99_999_999_999 })],
    [/"keepMs"/, () => wsGuard.revoke({ sub: 'alice' }, { keepMs: 0 })],
    [/"keepMs"/, () => wsGuard.revoke({ sub: 'alice' }, { keepMs: 0.5 })]
  ]
  for (const [message, mistake] of mistakes) {
    await assert.rejects(mistake, { code: 'WSG_ERR_OPTION', message }, String(mistake))
  }
  await client.sendJson({ type: 'say', text: 'x' })
  assert.deepEqual(await client.nextJson(), { type: 'said', text: 'x' })
  const { 'store.blocks': blocks, 'store.revocations': revocations } = wsGuard.stats()
  assert.deepEqual({ blocks, revocations }, { blocks: 0, revocations: 0 })
  assert.equal(await wsGuard.block({ sub: 'alice' }, { untilMs: Date.now() + 60_000 }), 1)
  assert.deepEqual(await closeFrameOf(client), revoked)
})
