/** From the instant on in which a credential ends, nothing is dispatched, and nothing but the close frame leaves. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { WsConnection } from '../../lib/connection/types.ts'
import type { WsGuard } from '../../lib/route/ws-guard.ts'
import {
  assertNothingHeld,
  type GuardedApp,
  gate,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from '../handshake/harness.ts'
import { echo } from '../support/app.ts'
import { defaultStore } from '../support/default-store.ts'
import { closeOf, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, deferred, FakeClock, frames, Guard, say } from './harness.ts'

const startsAt = new FakeClock().wall()
const day = 86_400_000

interface OpenApp extends GuardedApp {
  readonly port: number
  /** A handshake as a user whose credential ends then. */
  readonly open: (user?: object) => Promise<{ client: RawClient; statusCode: number }>
}

/** An app whose tokens are the JSON of their user. */
async function appWith(t: TestContext, route: object, guard: object = {}): Promise<OpenApp> {
  const verify = (token: string): object => JSON.parse(Buffer.from(token, 'base64url').toString())
  const all = await guarded(t, { guard: { auth: { from: ['header', 'message'], verify }, ...guard } })
  all.app.wsRoute('/ws', { contract: echo, handlers: { say() {}, ask: () => ({ items: [] }) }, ...route })
  const port = await listen(all.app)
  const open: OpenApp['open'] = async (user = { sub: 'alice' }) => {
    const client = await rawClient(t, port)
    const headers = goodHeaders(Buffer.from(JSON.stringify(user)).toString('base64url'))
    return { client, statusCode: (await client.handshake({ path: '/ws', headers })).statusCode }
  }
  return { ...all, port, open }
}

test('Z2: a message whose own authorize outlasts the credential is not run', async (t) => {
  const allowed = deferred<boolean>()
  let asked = 0
  const guard = await Guard.start(t, {
    admitted: { identity: { subject: 'alice', expiresAt: startsAt + 1000 } },
    handlers: { say: { authorize: () => ++asked > 0 && allowed.promise, run: () => assert.fail('not run') } }
  })
  const { client } = await guard.connect(frames(say('a')))
  await until(() => asked === 1)
  guard.clock.ms += 1000
  allowed.resolve(true)
  assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'session_expired' })
  assert.deepEqual(guard.errors, [])
})

for (const inMessage of [false, true]) {
  test(`Z2: who expires while authorize thinks is not opened, ${inMessage ? 'by message' : 'by header'}`, async (t) => {
    const user = { sub: 'alice', exp: 0 }
    const { app, port, open } = await appWith(t, {
      authorize: () => until(() => Date.now() >= user.exp * 1000),
      onOpen: () => assert.fail('not opened')
    })
    user.exp = (Date.now() + 400) / 1000
    let client: RawClient
    if (inMessage) {
      client = await rawClient(t, port)
      await client.handshake({ path: '/ws', headers: goodHeaders() })
      await client.sendJson({ type: 'auth', token: Buffer.from(JSON.stringify(user)).toString('base64url') })
    } else {
      client = (await open(user)).client
    }
    const { code, reason } = await closeFrameOf(client)
    assert.deepEqual({ code, reason }, { code: 4001, reason: 'session_expired' })
    client.destroy()
    await assertNothingHeld(app)
  })
}

test('Z2: in real time no message is handled at or after exp, and the connection is closed soon after it', async (t) => {
  const handledAt: number[] = []
  const { app } = await guarded(t)
  app.wsRoute('/ws', {
    contract: echo,
    handlers: { say: () => void handledAt.push(Date.now()), ask: () => ({ items: [] }) },
    limits: { messages: { perSecond: 1000, burst: 1000, onExceeded: 'error' } }
  })
  const port = await listen(app)
  const exp = (Math.floor(Date.now() / 1000) + 2) * 1000
  const token = app.jwt.sign({ sub: 'alice', exp: exp / 1000 } as never)
  const [speaker, silent] = [await rawClient(t, port), await rawClient(t, port)]
  for (const client of [speaker, silent]) {
    assert.equal((await client.handshake({ path: '/ws', headers: goodHeaders(token) })).statusCode, 101)
  }
  const closedAt = new Map<RawClient, number>()
  let tickedAt = Date.now()
  let worstGapMs = 0
  const timer = setInterval(() => {
    worstGapMs = Math.max(worstGapMs, Date.now() - tickedAt)
    tickedAt = Date.now()
    // Also after the close frame: a client that does not care.
    for (let count = 0; count < 3; count++) void speaker.sendJson(say('still here'))
  }, 20)
  t.after(() => clearInterval(timer))
  const closes = [speaker, silent].map(async (client) => {
    const close = await client.nextFrame({ opcode: opcodes.close, timeoutMs: 10_000 })
    closedAt.set(client, Date.now())
    assert.deepEqual(closeOf(close), { code: 4001, reason: 'session_expired' })
  })
  await Promise.all(closes)
  assert.ok(handledAt.length > 10, `${handledAt.length} messages were handled`)
  assert.ok(Math.max(...handledAt) < exp, `one was handled ${Math.max(...handledAt) - exp} ms after exp`)
  // A busy machine is late with everything: with the timer of this test, too.
  for (const [name, client, bound] of [
    ['speaker', speaker, 200],
    ['silent', silent, 300]
  ] as const) {
    const lateMs = (closedAt.get(client) as number) - exp
    t.diagnostic(`${name}: closed ${lateMs} ms after exp; the timer was up to ${worstGapMs} ms late`)
    assert.ok(lateMs >= 0 && lateMs <= bound + worstGapMs, `closed ${lateMs} ms after exp`)
  }
})

const kicks: Readonly<Record<string, (guard: WsGuard) => Promise<number>>> = {
  revoke: (guard) => guard.revoke({ sub: 'alice' }),
  block: (guard) => guard.block({ sub: 'alice' }, { untilMs: Date.now() + 60_000 }),
  disconnect: (guard) => guard.disconnect({ sub: 'alice' })
}

for (const [name, kick] of Object.entries(kicks)) {
  test(`Z4, Z8: ${name} while a handler runs: nothing more is dispatched, nothing but the close frame leaves`, async (t) => {
    const result = gate(t)
    const handled: string[] = []
    let connection: WsConnection | undefined
    const { app, open } = await appWith(t, {
      onOpen: (opened: WsConnection) => opened.subscribe('all'),
      handlers: {
        say: ({ text }: { text: string }) => void handled.push(text),
        ask: async (_message: unknown, asking: WsConnection) => {
          connection = asking
          await result.promise
          handled.push(`sent: ${asking.send('said' as never, { text: 'late' } as never)}`)
          return { items: ['late'] }
        }
      },
      limits: { queue: { messages: 4 } }
    })
    const { client } = await open()
    // One runs and two wait, so that reading pauses: the next one stays in the socket's own buffer.
    await client.write(frames({ type: 'ask', count: 1, ref: 1 }, say('queued 1'), say('queued 2')))
    const { rawSocket, paused } = await until(
      () => connection as unknown as { rawSocket: { readableLength: number }; paused: boolean }
    )
    assert.equal(paused, true)
    await client.write(frames(say('buffered')))
    await until(() => rawSocket.readableLength > 0)
    const { signal } = connection as WsConnection
    assert.equal(signal.aborted, false)

    assert.equal(await kick(app.wsGuard), 1)
    assert.equal(signal.aborted, true)
    assert.equal(app.wsGuard.publish(echo, 'all', 'said', { text: 'published' }), 0)
    await client.write(frames(say('later')))
    result.open()
    assert.deepEqual(await closeFrameOf(client), { code: 4003, reason: 'revoked' })
    await until(() => handled.length > 0)
    await client.write(frames(say('after the close frame')))
    await client.sendClose(4003)
    await client.serverEnd()
    client.halfClose()
    assert.deepEqual(handled, ['sent: false'])
    assert.deepEqual([client.frames.length, client.unparsed.length], [1, 0])
    await assertNothingHeld(app)
  })
}

test('Z8: an authorize that answers after the end changes nothing and says no more', async (t) => {
  const answer = deferred<boolean>()
  const guard = await Guard.start(t, { reauthorizeMs: 100, session: { authorize: () => answer.promise } })
  const { client, connection } = await guard.connect()
  guard.tick(100)
  connection.end('revoked')
  answer.resolve(false)
  assert.deepEqual(await closeFrameOf(client), { code: 4003, reason: 'revoked' })
  assert.equal(guard.log.find('ws.forbidden'), undefined)
})

for (const years of [10, 30]) {
  test(`Z3: an exp ${years} years ahead stays open until then`, async (t) => {
    const expiresAt = startsAt + years * 365 * day
    const guard = await Guard.start(t, {
      admitted: { identity: { subject: 'alice', expiresAt } },
      heartbeat: { intervalMs: years * 366 * day, timeoutMs: 1 }
    })
    const { client, connection } = await guard.connect()
    guard.tick(years * 365 * day - 1)
    assert.equal(connection.state, 'open')
    guard.tick(1)
    assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'session_expired' })
  })
}

test('Z3, Z6: a lifetime beyond the reach of a timer ends within 10 % of it', async (t) => {
  const maxLifetimeMs = 400 * day
  const guard = await Guard.start(t, { maxLifetimeMs, heartbeat: { intervalMs: 1000 * day, timeoutMs: 1 } })
  const { client, connection } = await guard.connect()
  guard.tick(0.9 * maxLifetimeMs - 1)
  assert.equal(connection.state, 'open')
  guard.tick(0.2 * maxLifetimeMs + 1)
  assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'session_expired' })
})

test('Z3: expiry goes by the wall clock and deadlines by the other one, whichever way the wall clock jumps', async (t) => {
  const guard = await Guard.start(t, {
    admitted: { identity: { subject: 'alice', expiresAt: startsAt + 10_000 } },
    idleTimeoutMs: 5_000
  })
  let wall = startsAt
  Object.assign(guard.clock, { wall: () => wall })
  const [back, idle, forward] = [await guard.connect(), await guard.connect(), await guard.connect()]
  wall -= 365 * day
  guard.tick(4_999)
  for (const { connection } of [back, idle, forward]) assert.equal(connection.state, 'open')
  // Idle for 5 s, although the wall says that it is a year ago.
  for (const { client, connection } of [back, forward]) {
    await client.sendJson(say('a'))
    await until(() => connection.received === 1)
  }
  guard.tick(1)
  assert.deepEqual(await closeFrameOf(idle.client), { code: 4008, reason: 'idle' })
  wall = startsAt + 9_999
  guard.tick()
  assert.equal(back.connection.state, 'open')
  wall += 1
  guard.tick()
  for (const { client } of [back, forward]) {
    assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'session_expired' })
  }
})

test('Z6: of 200 connections each gets a lifetime of its own, all within 10 %', async (t) => {
  const guard = await Guard.start(t, { maxLifetimeMs: 100_000 })
  const ends: number[] = []
  for (let count = 0; count < 200; count++) {
    const { connection } = await guard.connect()
    ends.push((connection.lifetimeEndsAt as number) - guard.clock.ms)
  }
  for (const end of ends) assert.ok(end >= 90_000 && end <= 110_000, String(end))
  assert.ok(new Set(ends).size > 190, 'they are not all equal')
  assert.ok(Math.max(...ends) - Math.min(...ends) > 15_000, 'they use the room there is')
})

test('Z10: the 11th connection of a user is 429, and a slot is back after a reset, a kick and an expiry', async (t) => {
  const store = defaultStore()
  const ids: string[] = []
  const { app, open } = await appWith(t, { onOpen: ({ id }: WsConnection) => void ids.push(id) }, { store })
  const exp = (Date.now() + 1500) / 1000
  const clients: RawClient[] = []
  for (let count = 0; count < 10; count++) {
    const { client, statusCode } = await open({ sub: 'alice', ...(count === 0 && { exp }) })
    assert.equal(statusCode, 101)
    clients.push(client)
  }
  const [expiring, kicked, reset] = clients as [RawClient, RawClient, RawClient]
  const assertFull = async (): Promise<void> => assert.equal((await open()).statusCode, 429)
  /** The slot is back when the socket is gone, and then exactly one more comes in. */
  const assertOneFree = async (): Promise<void> => {
    await until(() => app.wsGuard.connections === 9, { timeoutMs: 5000 })
    const { client, statusCode } = await open()
    assert.equal(statusCode, 101)
    clients.push(client)
    await assertFull()
  }
  await assertFull()
  reset.reset()
  await assertOneFree()

  assert.equal(await app.wsGuard.disconnect({ id: ids[1] as string }), 1)
  assert.equal((await closeFrameOf(kicked)).code, 4003)
  await kicked.sendClose(4003)
  kicked.halfClose()
  await assertOneFree()

  assert.equal(closeOf(await expiring.nextFrame({ opcode: opcodes.close, timeoutMs: 5000 })).code, 4001)
  await expiring.sendClose(4001)
  expiring.halfClose()
  await assertOneFree()

  for (const client of clients) client.destroy()
  await assertNothingHeld(app, store)
})
