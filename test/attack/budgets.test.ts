/** Threats R3, R7 and R9 on a real app: what a client may send, whatever its clock, its sockets and its hurry. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from '@sinclair/typebox'
import { GuardedSocket, maxLateFrames } from '../../lib/connection/guarded-socket.ts'
import { defineContract } from '../../lib/contract.ts'
import { echo } from '../support/app.ts'
import { jsonFrame, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, Target, turns } from './harness.ts'

const timeoutMs = 10_000
/** No token comes back while a test runs. */
const perSecond = 0.001
const day = 24 * 60 * 60 * 1000

function asks(count: number, from = 0): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, n) => jsonFrame({ type: 'ask', count: 0, ref: from + n })))
}

/** Everything that was answered, replies and errors. */
function answersOf({ frames }: RawClient): { type: string; ref?: number }[] {
  return frames
    .filter(({ opcode }) => opcode === opcodes.text)
    .map(({ payload }) => JSON.parse(payload.toString()) as { type: string; ref?: number })
}

function repliesOf(client: RawClient): (number | undefined)[] {
  return answersOf(client)
    .filter(({ type }) => type === 'reply')
    .map(({ ref }) => ref)
}

test('R3: the ten sockets of a user share one budget; another user has one of their own', async (t) => {
  const budget = 25
  const target = await Target.start(t, { guard: { limits: { userMessages: { perSecond, burst: budget } } } })
  const own: RawClient[] = []
  while (own.length < 10) own.push(await target.open('/echo', target.headers('mallory')))
  const bob = await target.open('/echo', target.headers('bob'))
  for (const client of own) await client.write(asks(10))
  const replies = (): number => own.reduce((sum, client) => sum + repliesOf(client).length, 0)
  await until(() => replies() === budget, { timeoutMs })
  await bob.write(asks(10))
  await until(() => repliesOf(bob).length === 10, { timeoutMs })
  assert.equal(replies(), budget)
  assert.ok(answersOf(own[9] as RawClient).some(({ type }) => type === 'error'))
})

test('R3: a wall clock that jumps ahead by a day refills no bucket', async (t) => {
  const target = await Target.start(t, {
    guard: {
      auth: { verify: (token) => ({ sub: token }) },
      limits: { attempts: { max: 3 }, messages: { perSecond, burst: 5 } }
    },
    declare: (app) =>
      app.wsRoute('/shared', {
        contract: echo,
        handlers: { say() {}, ask: () => ({ items: [] }) },
        limits: { userMessages: { perSecond, burst: 5 }, messages: { perSecond: 1_000, burst: 1_000 } }
      })
  })
  const own = await target.open('/echo', target.headers('alice'))
  const shared = await target.open('/shared', target.headers('bob'))
  for (const client of [own, shared]) {
    await client.write(asks(4))
    await until(() => repliesOf(client).length === 4, { timeoutMs })
  }
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + day })
  for (const client of [own, shared]) {
    await client.write(asks(5, 4))
    await until(() => answersOf(client).some(({ type }) => type === 'error'), { timeoutMs })
    assert.deepEqual(repliesOf(client), [0, 1, 2, 3, 4])
  }
  // Handshakes are counted by the same clock.
  assert.equal(await target.knock('/echo', target.headers('carol')), 101)
  assert.equal(await target.knock('/echo', target.headers('carol')), 429)
})

test('R3: a wall clock that is set back by a day stops nothing: tokens come back as before', async (t) => {
  const limits = { messages: { perSecond: 20, burst: 2 } }
  const target = await Target.start(t, { guard: { auth: { verify: (token) => ({ sub: token }) }, limits } })
  const client = await target.open()
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() - day })
  for (let ref = 0; ref < 8; ref++) {
    await client.write(asks(1, ref))
    await until(() => repliesOf(client).includes(ref), { timeoutMs })
  }
  assert.deepEqual(target.closes, [])
})

test('R7: a flood on one connection costs the others no message, and after its end it is not parsed', async (t) => {
  const target = await Target.start(t)
  const good = await target.open('/echo', target.headers('good'))
  const abuser = await target.open('/echo', target.headers('mallory'))
  const flooded = [...target.app.websocketServer.clients].at(-1) as unknown as GuardedSocket
  /** Frames that ws still takes out of what the abuser sends, once its connection has begun to end. */
  let late = 0
  const { emit } = GuardedSocket.prototype
  t.mock.method(GuardedSocket.prototype, 'emit', function (this: GuardedSocket, ...args: Parameters<typeof emit>) {
    if (this === flooded && args[0] === 'message' && this.connection?.state !== 'open') late++
    return emit.apply(this, args)
  })
  const flood = asks(10_000)
  abuser.socket.write(flood)
  for (let ref = 0; ref < 20; ref++) await good.write(asks(1, ref))
  assert.deepEqual(await closeFrameOf(abuser, timeoutMs), { code: 1008, reason: 'rate_limited' })
  // It goes on, for as long as it has a socket.
  let pumps = 0
  while (!abuser.socket.destroyed && target.closes.length === 0) {
    if (abuser.socket.writable && abuser.socket.writableLength < flood.length) abuser.socket.write(flood)
    pumps++
    await turns(1)
  }
  await until(() => target.closes.length === 1, { timeoutMs })
  assert.ok(pumps > 1)
  assert.ok(late < 2 * maxLateFrames, `${late} frames were parsed for nobody`)
  assert.deepEqual(target.closes, [{ code: 1008, reason: 'rate_limited', cause: 'rate_limited' }])
  await until(() => repliesOf(good).length === 20, { timeoutMs })
  assert.deepEqual(
    repliesOf(good),
    Array.from({ length: 20 }, (_, ref) => ref)
  )
})

const rooms = defineContract({
  name: 'rooms',
  clientToServer: {
    join: { message: Type.Object({ room: Type.Integer() }), reply: Type.Object({ joined: Type.Boolean() }) },
    leave: Type.Object({ room: Type.Integer() })
  },
  serverToClient: { said: Type.Object({ text: Type.String() }) }
})

test('R9: the 51st topic is refused, by default and on the wire; leaving one makes room for one', async (t) => {
  const target = await Target.start(t, {
    guard: { limits: { messages: { perSecond: 1_000, burst: 1_000 } } },
    declare: (app) =>
      app.wsRoute('/rooms', {
        contract: rooms,
        handlers: {
          join: async ({ room }, connection) => ({ joined: await connection.subscribe(`room ${room}`) }),
          leave: ({ room }, connection) => connection.unsubscribe(`room ${room}`)
        }
      })
  })
  const client = await target.open('/rooms')
  const join = async (room: number): Promise<boolean> => {
    await client.sendJson({ type: 'join', room, ref: room })
    return (await client.nextJson<{ data: { joined: boolean } }>({ timeoutMs })).data.joined
  }
  for (let room = 1; room <= 50; room++) assert.equal(await join(room), true, `topic ${room}`)
  for (const room of [51, 52]) assert.equal(await join(room), false)
  assert.equal(target.app.wsGuard.stats().topics, 50)
  assert.equal(target.app.wsGuard.publish(rooms, 'room 51', 'said', { text: 'x' }), 0)
  await client.sendJson({ type: 'leave', room: 7 })
  assert.deepEqual([await join(51), await join(7)], [true, false])
  client.reset()
  await until(() => target.app.wsGuard.stats().topics === 0, { timeoutMs })
})
