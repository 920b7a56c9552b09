import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { inflowOf } from '../../lib/connection/inflow.ts'
import type { VerifyOutcome } from '../../lib/connection/session.ts'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { Identity, Store } from '../../lib/limits/store.ts'
import { opcodes } from '../support/frames.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, deferred, FakeClock, frames, Guard, say, settled, texts } from './harness.ts'

const startsAt = new FakeClock().wall()

/** A token is the JSON of an identity; `bad` is none, `down` finds nobody to ask. */
async function verify(token: string): Promise<VerifyOutcome> {
  if (token === 'bad') return { ok: false, cause: 'unauthorized', errorCode: 'BAD' }
  if (token === 'down') return { ok: false, cause: 'unavailable', errorCode: 'DOWN' }
  return { ok: true, user: { name: 'from the token' }, identity: JSON.parse(token) }
}

function token(identity: Partial<Identity> = {}): string {
  return JSON.stringify({ subject: 'alice', ...identity })
}

function auth(value: string = token(), ref?: number): Record<string, unknown> {
  return ref === undefined ? { type: 'auth', token: value } : { type: 'auth', token: value, ref }
}

/** A store that answers `isRefused` in its own way. */
function storeWith(isRefused: Store['isRefused']): Store {
  return Object.assign(new MemoryStore(), { isRefused })
}

test('auth message: in time, it opens the connection with its user and its identity', async (t) => {
  const opened: unknown[] = []
  const guard = await Guard.start(t, {
    auth: {},
    session: { verify },
    onOpen: (connection, request) => void opened.push([connection.user, request.url])
  })
  const { client, connection } = await guard.connect()
  assert.equal(connection.opened, false)
  assert.equal(guard.held().subjects, 0)
  await client.sendJson(auth(token({ expiresAt: startsAt + 60_000, tokenId: 'j1' })))
  assert.deepEqual(await client.nextJson(), { type: 'auth_ok', expiresInMs: 60_000 })
  assert.deepEqual(opened, [[{ name: 'from the token' }, '/']])
  assert.equal(guard.held().subjects, 1)
  assert.equal(guard.held().tokens, 1)
  guard.tick(5000)
  await settled(client)
})

test('auth message: a credential that does not expire says nothing of it', async (t) => {
  const guard = await Guard.start(t, { auth: {}, session: { verify } })
  const { client } = await guard.connect(frames(auth()))
  assert.deepEqual(await client.nextJson(), { type: 'auth_ok' })
})

test('auth message: too late is 4001, and onClose is not owed', async (t) => {
  const guard = await Guard.start(t, { auth: { timeoutMs: 100 }, session: { verify } })
  const { client, connection } = await guard.connect()
  guard.tick(99)
  assert.equal(connection.state, 'open')
  guard.tick(1)
  assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'unauthorized' })
  client.destroy()
  await until(() => connection.state === 'closed')
  assert.deepEqual(guard.closes, [])
})

for (const [title, message] of [
  ['another message', say('a')],
  ['no token', { type: 'auth' }],
  ['a token that is no string', { type: 'auth', token: 5 }],
  ['null', null],
  ['a list', []]
] as const) {
  test(`auth message: ${title} in its place is 4001, and no handler runs`, async (t) => {
    let ran = 0
    const guard = await Guard.start(t, { auth: {}, session: { verify }, handlers: { say: () => void ran++ } })
    const { client } = await guard.connect(frames(message, auth(), say('b')))
    assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'unauthorized' })
    assert.equal(ran, 0)
  })
}

test('auth message: not JSON is 4001, binary 1003', async (t) => {
  const guard = await Guard.start(t, { auth: {}, session: { verify } })
  const first = await guard.connect()
  await first.client.sendText('{bad')
  assert.deepEqual(await closeFrameOf(first.client), { code: 4001, reason: 'unauthorized' })
  const second = await guard.connect()
  await second.client.sendFrame({ opcode: opcodes.binary, payload: 'x' })
  assert.equal((await closeFrameOf(second.client)).code, 1003)
})

test('auth message: a bad token is 4001, a verifier that is down 1013; the log says why, not what', async (t) => {
  const guard = await Guard.start(t, { auth: {}, session: { verify } })
  const bad = await guard.connect(frames(auth('bad'), say('a')))
  assert.deepEqual(await closeFrameOf(bad.client), { code: 4001, reason: 'unauthorized' })
  assert.equal(guard.log.find('ws.auth_failed')?.errorCode, 'BAD')
  const down = await guard.connect(frames(auth('down')))
  assert.deepEqual(await closeFrameOf(down.client), { code: 1013, reason: 'unavailable' })
  assert.deepEqual(texts(bad.client), [])
})

test('auth message: a verifier that does not answer is 1013, not the fault of the token', async (t) => {
  const answer = deferred<VerifyOutcome>()
  const guard = await Guard.start(t, { auth: { timeoutMs: 100 }, session: { verify: () => answer.promise } })
  const { client, connection } = await guard.connect(frames(auth()))
  await until(() => connection.received === 1)
  guard.tick(100)
  assert.deepEqual(await closeFrameOf(client), { code: 1013, reason: 'unavailable' })
  answer.resolve(await verify(token()))
  await nextTurn()
  assert.equal(connection.opened, false)
  assert.equal(guard.held().subjects, 0)
})

test('auth message: an answer of the verifier after the end is not reported either', async (t) => {
  const answer = deferred<VerifyOutcome>()
  const guard = await Guard.start(t, { auth: {}, session: { verify: () => answer.promise } })
  const { client, connection } = await guard.connect(frames(auth()))
  await until(() => connection.received === 1)
  client.destroy()
  await until(() => connection.state === 'closed')
  answer.resolve(await verify('bad'))
  await nextTurn()
  assert.equal(guard.log.find('ws.auth_failed'), undefined)
})

for (const [cause, close] of [
  ['too_many_connections', { code: 1008, reason: 'too_many_connections' }],
  ['forbidden', { code: 4003, reason: 'forbidden' }],
  ['unavailable', { code: 1013, reason: 'unavailable' }]
] as const) {
  test(`auth message: what admission refuses as ${cause} is ${close.code}`, async (t) => {
    const guard = await Guard.start(t, { auth: { admit: async () => cause }, session: { verify } })
    const { client, connection } = await guard.connect(frames(auth(), say('a')))
    assert.deepEqual(await closeFrameOf(client), close)
    assert.equal(connection.opened, false)
    assert.deepEqual(texts(client), [])
  })
}

test('auth message: a peer that leaves while admission runs is not let in', async (t) => {
  const admission = deferred<undefined>()
  const guard = await Guard.start(t, { auth: { admit: () => admission.promise }, session: { verify } })
  const { client, connection } = await guard.connect(frames(auth()))
  await until(() => connection.received === 1)
  client.destroy()
  await until(() => connection.state === 'closed')
  admission.resolve(undefined)
  await nextTurn()
  assert.equal(connection.opened, false)
  assert.equal(guard.held().subjects, 0)
})

test('auth message: what is sent right behind it is served in order', async (t) => {
  const seen: unknown[] = []
  const guard = await Guard.start(t, {
    auth: {},
    session: { verify },
    onOpen: () => void seen.push('open'),
    handlers: { say: ({ text }) => void seen.push(text) }
  })
  const { client } = await guard.connect(frames(auth(), say('a'), say('b')))
  await settled(client)
  assert.deepEqual(seen, ['open', 'a', 'b'])
})

test('auth message, M2: what was held is not served when onOpen ends the connection', async (t) => {
  let asked = 0
  const guard = await Guard.start(t, {
    auth: {},
    session: { verify },
    onOpen: (connection) => connection.close(4000),
    handlers: { say: { authorize: () => ++asked > 0, run: () => {} } }
  })
  const { client } = await guard.connect(frames(auth(), say('a'), { type: 'nothing' }))
  assert.equal((await closeFrameOf(client)).code, 4000)
  assert.equal(asked, 0)
  assert.equal(guard.log.find('ws.invalid'), undefined)
})

for (const [title, queue, behind] of [
  ['messages', { messages: 2 }, [say('1'), say('2'), say('3')]],
  ['bytes', { bytes: 150 }, [say('x'.repeat(100)), say('y'.repeat(100))]]
] as const) {
  test(`auth message: too many ${title} while the token is verified are 1008 overflow`, async (t) => {
    const guard = await Guard.start(t, {
      auth: {},
      session: { verify: () => new Promise(() => {}) },
      limits: { queue }
    })
    const { client } = await guard.connect(frames(auth(), ...behind))
    assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'overflow' })
  })
}

test('Z4: a revocation that came during admission closes with 4003 and is never answered', async (t) => {
  const guard = await Guard.start(t, {
    auth: {
      admit: async () => {
        await guard.runtime.store.block('alice', startsAt + 60_000)
        return undefined
      }
    },
    session: { verify }
  })
  const { client, connection } = await guard.connect(frames(auth()))
  assert.deepEqual(await closeFrameOf(client), { code: 4003, reason: 'revoked' })
  assert.equal(connection.opened, false)
  assert.deepEqual(texts(client), [])
})

test('Z4: a revocation that came during the handshake closes before onOpen', async (t) => {
  const guard = await Guard.start(t, { onOpen: () => assert.fail('not opened') })
  await guard.runtime.store.block('alice', startsAt + 60_000)
  const { client, connection } = await guard.connect()
  assert.deepEqual(await closeFrameOf(client), { code: 4003, reason: 'revoked' })
  assert.equal(connection.opened, false)
})

for (const [title, isRefused, close] of [
  ['says yes later', async () => true, { code: 4003, reason: 'revoked' }],
  ['rejects', () => Promise.reject(new Error('down')), { code: 1013, reason: 'unavailable' }],
  ['throws', () => assert.fail('down'), { code: 1013, reason: 'unavailable' }]
] as const) {
  test(`Z4, N2: a store that ${title} when asked once more closes with ${close.code}`, async (t) => {
    const guard = await Guard.start(t, { store: storeWith(isRefused) })
    const { client } = await guard.connect()
    assert.deepEqual(await closeFrameOf(client), close)
  })
}

test('P2, N2: a store that fails after its connection has ended is no news', async (t) => {
  const answer = deferred<boolean>()
  const store = Object.assign(new MemoryStore(), { isRefused: () => answer.promise })
  const guard = await Guard.start(t, { store })
  const { client, connection } = await guard.connect()
  client.reset()
  await until(() => connection.state === 'closed')
  answer.reject(new Error('down'))
  await nextTurn()
  assert.deepEqual(
    guard.log
      .filter('ws.auth_failed')
      .concat(guard.log.filter('ws.close'))
      .map(({ event, cause }) => [event, cause]),
    [['ws.close', 'lost']]
  )
})

test('Z4: a store that says no later lets the connection live', async (t) => {
  const guard = await Guard.start(t, { store: storeWith(async () => false) })
  const { client } = await guard.connect()
  await settled(client)
})

test('Z2: nothing is dispatched from the instant of expiry on, also not what waited', async (t) => {
  const gate = deferred()
  const seen: unknown[] = []
  const guard = await Guard.start(t, {
    admitted: { identity: { subject: 'alice', expiresAt: startsAt + 1000 } },
    handlers: {
      say: ({ text }) => {
        seen.push(text)
        return gate.promise
      }
    }
  })
  const { client, connection } = await guard.connect()
  assert.equal(connection.expiresAt, startsAt + 1000)
  guard.clock.ms += 999
  await client.write(frames(say('in time'), say('waits')))
  await until(() => inflowOf(connection).queue.length === 1)
  guard.clock.ms += 1
  gate.resolve()
  assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'session_expired' })
  assert.deepEqual(seen, ['in time'])
})

test('Z2: a frame at the instant of expiry closes; so does the sweep without one', async (t) => {
  const guard = await Guard.start(t, { admitted: { identity: { subject: 'alice', expiresAt: startsAt + 1000 } } })
  const speaker = await guard.connect()
  const silent = await guard.connect()
  guard.clock.ms += 1000
  await speaker.client.sendJson(say('late'))
  assert.deepEqual(await closeFrameOf(speaker.client), { code: 4001, reason: 'session_expired' })
  assert.deepEqual(texts(speaker.client), [])
  guard.tick()
  assert.deepEqual(await closeFrameOf(silent.client), { code: 4001, reason: 'session_expired' })
})

test('Z3: an exp 40 days ahead stays open until then', async (t) => {
  const days = 86_400_000
  const guard = await Guard.start(t, {
    admitted: { identity: { subject: 'alice', expiresAt: startsAt + 40 * days } },
    heartbeat: { intervalMs: 90 * days, timeoutMs: 1 }
  })
  const { client, connection } = await guard.connect()
  for (let day = 1; day < 40; day++) guard.tick(days)
  assert.equal(connection.state, 'open')
  await settled(client)
  guard.tick(days)
  assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'session_expired' })
})

test('Z6: max lifetime closes with 4001, within 10 % of what was said', async (t) => {
  const guard = await Guard.start(t, { maxLifetimeMs: 1_000_000 })
  const opened = [await guard.connect(), await guard.connect(), await guard.connect()]
  const ends = opened.map(({ connection }) => (connection.lifetimeEndsAt as number) - guard.clock.ms)
  for (const end of ends) assert.ok(Number.isInteger(end) && end >= 900_000 && end <= 1_100_000, String(end))
  assert.equal(new Set(ends).size, 3)
  guard.tick(899_999)
  for (const { connection } of opened) assert.equal(connection.state, 'open')
  guard.tick(200_002)
  for (const { client } of opened) {
    assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'session_expired' })
  }
})

test('Z7: without a message the connection is idle: 4008, pongs do not count', async (t) => {
  const guard = await Guard.start(t, { idleTimeoutMs: 1000 })
  const { client } = await guard.connect()
  guard.clock.ms += 900
  await client.sendJson(say('a'))
  await client.nextJson()
  guard.tick(999)
  await client.sendFrame({ opcode: opcodes.pong })
  await client.sendFrame({ opcode: opcodes.ping })
  await client.nextFrame({ opcode: opcodes.pong })
  guard.tick(1)
  assert.deepEqual(await closeFrameOf(client), { code: 4008, reason: 'idle' })
})

test('Z5: a refresh takes the place of the credential, and is found under its new names', async (t) => {
  const identity = { subject: 'alice', tokenId: 'old', sessionId: 's', expiresAt: startsAt + 1000 }
  const guard = await Guard.start(t, { admitted: { identity }, session: { verify } })
  const { client, connection } = await guard.connect()
  await client.sendJson(auth(token({ tokenId: 'new', sessionId: 's', expiresAt: startsAt + 60_000 })))
  assert.deepEqual(await client.nextJson(), { type: 'auth_ok', expiresInMs: 60_000 })
  assert.deepEqual(connection.user, { name: 'from the token' })
  const { registry } = guard.runtime
  assert.deepEqual(registry.find({ jti: 'old' }), [])
  assert.deepEqual(registry.find({ jti: 'new' }), [connection])
  assert.deepEqual(registry.find({ sid: 's', sub: 'alice' }), [connection])
  assert.equal(guard.log.find('ws.refreshed')?.sub, 'alice')
  guard.tick(1000)
  await settled(client)
})

test('Z5: another subject is 4003, a bad token 4001, a verifier that is down 1013', async (t) => {
  const guard = await Guard.start(t, { session: { verify } })
  for (const [value, close] of [
    [token({ subject: 'mallory' }), { code: 4003, reason: 'forbidden' }],
    ['bad', { code: 4001, reason: 'unauthorized' }],
    ['down', { code: 1013, reason: 'unavailable' }]
  ] as const) {
    const { client, connection } = await guard.connect()
    await client.sendJson(auth(value))
    assert.deepEqual(await closeFrameOf(client), close)
    assert.deepEqual(connection.user, { name: 'alice' })
  }
  assert.equal(guard.log.find('ws.forbidden')?.reason, 'refresh_subject')
})

test('Z5: an earlier exp is refused, the old credential goes on', async (t) => {
  const identity = { subject: 'alice', expiresAt: startsAt + 60_000 }
  const guard = await Guard.start(t, { admitted: { identity }, session: { verify } })
  const { client, connection } = await guard.connect()
  await client.sendJson(auth(token({ expiresAt: startsAt + 59_999 }), 1))
  const error = await client.nextJson<Record<string, unknown>>()
  assert.equal(error.code, 'forbidden')
  assert.equal(error.ref, 1)
  assert.equal(connection.expiresAt, startsAt + 60_000)
  await client.sendJson(auth(token()))
  assert.deepEqual(await client.nextJson(), { type: 'auth_ok' })
})

test('Z5: a credential that was revoked extends nothing: 4003', async (t) => {
  const guard = await Guard.start(t, { session: { verify } })
  const { client } = await guard.connect()
  await guard.runtime.store.revoke({
    kind: 'jti',
    value: 'stolen',
    issuedBefore: Number.POSITIVE_INFINITY,
    keepMs: 60_000
  })
  await client.sendJson(auth(token({ tokenId: 'stolen', expiresAt: startsAt + 60_000 })))
  assert.deepEqual(await closeFrameOf(client), { code: 4003, reason: 'revoked' })
  assert.deepEqual(texts(client), [])
})

test('Z5: refreshes are limited per minute', async (t) => {
  const guard = await Guard.start(t, { session: { verify, refresh: { perMinute: 2 } } })
  const { client } = await guard.connect()
  await client.write(frames(auth(), auth(), auth(token(), 3)))
  for (let count = 0; count < 2; count++) assert.equal((await client.nextJson<{ type: string }>()).type, 'auth_ok')
  const error = await client.nextJson<Record<string, unknown>>()
  assert.equal(error.code, 'rate_limited')
  assert.equal(error.ref, 3)
  guard.clock.ms += 60_000
  await client.sendJson(auth())
  assert.equal((await client.nextJson<{ type: string }>()).type, 'auth_ok')
})

test('Z5: a route that does not refresh says forbidden', async (t) => {
  const guard = await Guard.start(t, { session: { verify, refresh: false } })
  const { client } = await guard.connect()
  await client.sendJson(auth())
  assert.equal((await client.nextJson<{ code: string }>()).code, 'forbidden')
})

test('Z8: a connection that ends while a refresh is verified changes nothing', async (t) => {
  const answer = deferred<VerifyOutcome>()
  const guard = await Guard.start(t, { session: { verify: () => answer.promise } })
  const { client, connection } = await guard.connect()
  await client.sendJson(auth())
  await until(() => connection.busy)
  connection.close()
  answer.resolve(await verify(token({ tokenId: 'new' })))
  await until(() => !connection.busy)
  assert.deepEqual(connection.user, { name: 'alice' })
  assert.equal(guard.held().tokens, 0)
})

test('Z1: authorize is asked again on the live connection', async (t) => {
  let answers: unknown[] = [true, Promise.resolve(true)]
  const guard = await Guard.start(t, { reauthorizeMs: 100, session: { authorize: () => answers.shift() as boolean } })
  const { client, connection } = await guard.connect()
  guard.tick(99)
  assert.equal(answers.length, 2)
  for (const left of [1, 0]) {
    guard.tick(100)
    assert.equal(answers.length, left)
    await until(() => connection.reauthorizeAt !== undefined)
  }
  answers = ['yes']
  guard.tick(100)
  assert.deepEqual(await closeFrameOf(client), { code: 4003, reason: 'forbidden' })
  assert.equal(guard.log.find('ws.forbidden')?.reason, 'reauthorize')
})

for (const [title, authorize] of [
  ['throws', () => assert.fail('a bug')],
  ['rejects', () => Promise.reject(new Error('a bug'))]
] as const) {
  test(`Z1: an authorize that ${title} on the live connection closes with 1013 and is told`, async (t) => {
    const guard = await Guard.start(t, { reauthorizeMs: 100, session: { authorize } })
    const { client } = await guard.connect()
    guard.tick(100)
    assert.deepEqual(await closeFrameOf(client), { code: 1013, reason: 'unavailable' })
    assert.equal(guard.errors.length, 1)
  })
}

test('Z1: authorize is not asked again while it thinks, nor before there is a user', async (t) => {
  let asked = 0
  const guard = await Guard.start(t, {
    auth: { timeoutMs: 60_000 },
    reauthorizeMs: 100,
    session: {
      verify,
      authorize: () => {
        asked++
        return new Promise(() => {})
      }
    }
  })
  const { client } = await guard.connect()
  guard.tick(1000)
  assert.equal(asked, 0)
  await client.sendJson(auth())
  await client.nextJson()
  guard.tick(1000)
  guard.tick(1000)
  assert.equal(asked, 1)
})
