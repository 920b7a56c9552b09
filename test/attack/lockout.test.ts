/** Nobody who belongs is kept out or thrown out, nothing waits for who does not answer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VerifyOutcome } from '../../lib/connection/session.ts'
import type { WsConnection } from '../../lib/connection/types.ts'
import { injectWs } from '../../lib/testing.ts'
import { closeFrameOf as closeOfGuard, deferred, Guard, say, settled } from '../connection/harness.ts'
import { guarded } from '../handshake/harness.ts'
import { echo } from '../support/app.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until, within } from '../support/wait.ts'
import { bearer, revoked, tokenWith } from './credentials.ts'
import { closeFrameOf, Target } from './harness.ts'

const never = <T>(): Promise<T> => new Promise(() => {})

for (const hangs of ['verify', 'authorize'] as const) {
  for (const leaves of [true, false]) {
    const who = leaves ? 'who has left' : 'who is told 1012'
    test(`Z5, P5: a refresh whose ${hangs} never answers does not hold the shutdown for ${who}`, async (t) => {
      let isHung = false
      const hang = <T>(): Promise<T> => {
        isHung = true
        return never()
      }
      const target = await Target.start(t, {
        guard: {
          shutdown: { timeoutMs: 6000 },
          auth: { verify: (token) => (hangs === 'verify' && token === 'new' ? hang() : { sub: 'alice', token }) }
        },
        route: {
          authorize: (user) =>
            hangs === 'authorize' && (user as unknown as { token: string }).token === 'new' ? hang() : true
        }
      })
      const client = await target.open('/echo', bearer('old'))
      await client.sendJson({ type: 'auth', token: 'new' })
      await until(() => isHung)
      if (leaves) {
        client.destroy()
        await until(() => target.closes.length === 1)
        await until(() => target.app.wsGuard.stats().closing === 0, { what: 'nothing left that closes' })
      }
      const closed = target.app.close()
      if (!leaves) {
        assert.equal((await closeFrameOf(client)).code, 1012)
        client.destroy()
      }
      await within(closed, { timeoutMs: 3000, what: 'the shutdown' })
      assert.equal(target.app.wsGuard.stats().closing, 0)
    })
  }
}

const ends: Readonly<Record<string, (target: Target, client: RawClient) => Promise<unknown>>> = {
  'says nothing': async () => {},
  'shows a bad token': (_, client) => client.sendJson({ type: 'auth', token: 'bad' }),
  'says something else': (_, client) => client.sendJson({ type: 'say', text: 'x' }),
  'is kicked': ({ app }) => app.wsGuard.disconnect({ ip: '127.0.0.1' })
}

for (const [what, end] of Object.entries(ends)) {
  test(`R2, A1: the slot of who ${what} is free as soon as they are told, not when they hang up`, async (t) => {
    const target = await Target.start(t, {
      guard: {
        closeTimeoutMs: 30_000,
        auth: { from: ['message'], messageTimeoutMs: 400 },
        limits: { connections: { unauthenticated: 1 } }
      }
    })
    const client = await target.open('/echo', bearer())
    assert.equal(target.app.wsGuard.stats().unauthenticated, 1)
    assert.equal(await target.knock('/echo', bearer()), 503)
    await end(target, client)
    await closeFrameOf(client)
    assert.equal(target.app.wsGuard.stats().unauthenticated, 0)
    const next = await target.open('/echo', bearer())
    await next.sendJson({ type: 'auth', token: tokenWith() })
    assert.equal((await next.nextJson<{ type: string }>()).type, 'auth_ok')
    assert.equal(target.app.wsGuard.stats().unauthenticated, 0)
  })
}

interface Question {
  readonly user: unknown
  readonly answer: (yes: boolean) => void
}

for (const answer of ['no', 'nothing'] as const) {
  test(`Z1, Z5: ${answer} in answer to a question about who was there before the refresh ends nobody`, async (t) => {
    const asked: Question[] = []
    const users = (): unknown[] => asked.map(({ user }) => user)
    const outcome: VerifyOutcome = { ok: true, user: { name: 'new' }, identity: { subject: 'alice' } }
    const guard = await Guard.start(t, {
      reauthorizeMs: 10_000,
      handlerTimeoutMs: 2000,
      admitted: { user: { name: 'old' } },
      session: {
        verify: async () => outcome,
        authorize: (user) => new Promise((resolve) => asked.push({ user, answer: resolve }))
      }
    })
    const { client } = await guard.connect()
    guard.tick(10_000)
    assert.deepEqual(users(), [{ name: 'old' }])
    await client.sendJson({ type: 'auth', token: 'new' })
    await until(() => asked.length === 2)
    asked[1]?.answer(true)
    await client.nextJson()
    if (answer === 'no') asked[0]?.answer(false)
    await settled(client)
    guard.tick(9000)
    await settled(client, 'after the time that an answer has')
    guard.tick(1000)
    assert.deepEqual(users().slice(2), [{ name: 'new' }], 'asked about the new one')
    asked[2]?.answer(false)
    assert.deepEqual(await closeOfGuard(client), { code: 4003, reason: 'forbidden' })
  })
}

const later: Readonly<
  Record<
    string,
    { readonly first: 'header' | 'message'; readonly refreshes?: boolean; readonly reauthorizeMs?: number }
  >
> = {
  'the first message': { first: 'message' },
  'a refresh': { first: 'header', refreshes: true },
  reauthorizeMs: { first: 'header', reauthorizeMs: 100 }
}

for (const [what, { first, refreshes, reauthorizeMs }] of Object.entries(later)) {
  for (const own of [true, false]) {
    const by = own ? 'your own verifier' : '@fastify/jwt'
    test(`Z1: in authorize, request.user is the user asked about, in ${what}, with ${by}`, async (t) => {
      const asked: boolean[] = []
      const verify = (token: string): object => ({ sub: 'alice', token })
      const target = await Target.start(t, {
        guard: { auth: { from: [first], ...(own && { verify }) } },
        route: {
          ...(reauthorizeMs !== undefined && { reauthorizeMs }),
          authorize: (user, request) => {
            asked.push(request.user === user)
            return true
          }
        }
      })
      const client = await target.open('/echo', bearer(first === 'header' ? tokenWith() : undefined))
      const before = asked.length
      if (first === 'message' || refreshes) {
        await client.sendJson({ type: 'auth', token: tokenWith({ more: 'rights' }) })
        assert.equal((await client.nextJson<{ type: string }>()).type, 'auth_ok')
      }
      await until(() => asked.length > before)
      assert.deepEqual(new Set(asked.slice(before)), new Set([true]))
    })
  }
}

for (const [shown, asked] of [
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['192.0.2.7', '::ffff:192.0.2.7'],
  ['::ffff:192.0.2.7', '::ffff:192.0.2.7']
] as const) {
  test(`Z4: disconnect({ ip: '${asked}' }) finds who comes from ${shown}`, async (t) => {
    const { app } = await guarded(t)
    app.wsRoute('/ws', { contract: echo, handlers: { say() {}, ask: () => ({ items: [] }) } })
    await app.ready()
    await using ws = await injectWs(app, '/ws', { token: tokenWith(), remoteAddress: shown })
    await using other = await injectWs(app, '/ws', { token: tokenWith(), remoteAddress: '192.0.2.8' })
    assert.deepEqual([ws.statusCode, other.statusCode], [101, 101])
    assert.equal(await app.wsGuard.disconnect({ ip: asked }), 1)
    assert.deepEqual(await within(ws.closed), revoked)
    assert.equal(app.wsGuard.stats().ips, 2)
    ws.terminate()
    await until(() => app.wsGuard.stats().ips === 1)
  })
}

test('Z7: nobody is idle while their own message is being handled, and is afterwards', async (t) => {
  const leave = deferred()
  const entered = deferred()
  const guard = await Guard.start(t, {
    idleTimeoutMs: 1000,
    handlerTimeoutMs: 60_000,
    handlers: {
      say: () => {
        entered.resolve()
        return leave.promise
      }
    }
  })
  const { client } = await guard.connect()
  await client.sendJson(say('x', 1))
  await within(entered.promise)
  guard.tick(1500)
  guard.tick(5000)
  leave.resolve()
  assert.deepEqual(await client.nextJson(), { type: 'reply', ref: 1, data: null })
  guard.tick(999)
  assert.equal(guard.closes.length, 0)
  assert.equal(client.frames.length, 1, 'not told yet')
  guard.tick(1)
  assert.deepEqual(await closeOfGuard(client), { code: 4008, reason: 'idle' })
})

test('Z7: nobody is idle while onOpen runs, and is afterwards', async (t) => {
  const leave = deferred()
  const guard = await Guard.start(t, { idleTimeoutMs: 1000, handlerTimeoutMs: 60_000, onOpen: () => leave.promise })
  const { client, connection } = await guard.connect()
  guard.tick(5000)
  assert.equal(connection.state, 'open')
  leave.resolve()
  await settled(client)
  guard.tick(1000)
  assert.deepEqual(await closeOfGuard(client), { code: 4008, reason: 'idle' })
})

test('Z7, R3: nobody is idle while it is us who do not read, and is afterwards', async (t) => {
  const said: string[] = []
  const target = await Target.start(t, {
    guard: { idleTimeoutMs: 500 },
    route: {
      limits: { messages: { perSecond: 1, burst: 1, onExceeded: 'delay' } },
      handlers: { say: ({ text }) => void said.push(text), ask: () => ({ items: [] }) }
    }
  })
  const client = await target.open('/echo', bearer(tokenWith()))
  for (const text of ['one', 'two', 'three']) await client.sendJson({ type: 'say', text })
  assert.deepEqual(await closeFrameOf(client, 10_000), { code: 4008, reason: 'idle' })
  assert.deepEqual(said, ['one', 'two', 'three'])
})

test('Z7: the handler of a raw route may run as long as its connection: it keeps nobody in', async (t) => {
  const connections: WsConnection[] = []
  const guard = await Guard.start(t, {
    raw: true,
    idleTimeoutMs: 1000,
    onOpen: (connection) => {
      connections.push(connection)
      return never()
    }
  })
  const { client } = await guard.connect()
  guard.tick(1000)
  assert.deepEqual(await closeOfGuard(client), { code: 4008, reason: 'idle' })
  assert.equal(connections.length, 1)
})
