/** What a connection keeps while its peer is silent, and that nobody notices that the rest was let go of. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Inflow, inflowOf } from '../../lib/connection/inflow.ts'
import { systemClock } from '../../lib/connection/runtime.ts'
import { frame, jsonFrame, opcodes } from '../support/frames.ts'
import { until } from '../support/wait.ts'
import { deferred, Guard, type Opened, say, settled, texts } from './harness.ts'

const messages = { perSecond: 10, burst: 3 }

async function open(guard: Guard): Promise<Opened> {
  const opened = await guard.connect()
  assert.equal(opened.connection.inflow, undefined, 'nothing was sent yet')
  return opened
}

test('R3, L1: what a peer has sent is forgotten once its buckets are full again, and not before', async (t) => {
  const guard = await Guard.start(t, { limits: { messages, bytes: { perSecond: 1e6, burst: 1e6 } } })
  const { client, connection } = await open(guard)
  await client.sendJson(say('one'))
  await until(() => texts(client).length === 1)
  guard.tick(99)
  assert.equal(inflowOf(connection).messages.available(guard.clock.now()), 2.99)
  guard.tick(1)
  assert.equal(connection.inflow, undefined)
  assert.equal(inflowOf(connection).messages.available(guard.clock.now()), 3)
})

test('R6, L1: a pong leaves nothing behind', async (t) => {
  const guard = await Guard.start(t, { limits: { controlFrames: { perSecond: 10, burst: 2 } } })
  const { client, connection } = await open(guard)
  await client.write(frame({ opcode: opcodes.pong }))
  await until(() => connection.inflow !== undefined)
  guard.tick(99)
  assert.notEqual(connection.inflow, undefined)
  guard.tick(1)
  assert.equal(connection.inflow, undefined)
})

test('M6: a strike is kept for as long as its window, however silent the peer is', async (t) => {
  const guard = await Guard.start(t, { limits: { strikes: { max: 1, windowMs: 20_000 } } })
  const { client, connection } = await open(guard)
  await client.sendJson({ type: 'nonsense' })
  await until(() => texts(client).length === 1)
  guard.tick(19_999)
  assert.equal(inflowOf(connection).strikes, 1)
  guard.tick(1)
  assert.equal(connection.inflow, undefined)
  await client.sendJson({ type: 'nonsense' })
  await until(() => texts(client).length === 2)
  assert.equal(connection.state, 'open', 'it is the first one of a new window')
})

test('M11: a message that waits for a slow handler is not forgotten', async (t) => {
  const slow = deferred()
  const ran: unknown[] = []
  const guard = await Guard.start(t, {
    limits: { messages },
    handlers: {
      say: ({ text }) => {
        ran.push(text)
        return text === 'first' ? slow.promise : undefined
      }
    }
  })
  const { client, connection } = await open(guard)
  await client.write(Buffer.concat([jsonFrame(say('first')), jsonFrame(say('second'))]))
  await until(() => connection.inflow?.queue.length === 1)
  guard.tick(5_000)
  slow.resolve()
  await settled(client)
  assert.deepEqual(ran, ['first', 'second'])
})

test('R3, M6, M11: what a new connection would not have keeps the rest', async (t) => {
  const { settings } = await Guard.start(t)
  const { limits } = settings
  const reasons: Record<string, (inflow: Inflow) => unknown> = {
    queue: (inflow) => inflow.queue.push({} as never),
    spell: (inflow) => (inflow.spell = { dropped: 0, refs: [], delayed: [], delayedBytes: 0, timer: undefined }),
    waiting: (inflow) => (inflow.waiting = { frames: [], bytes: 0, deadline: 0 }),
    strikes: (inflow) => inflow.strikes++,
    messages: (inflow) => inflow.messages.charge(1, 0),
    bytes: (inflow) => inflow.bytes.charge(1, 0),
    controlFrames: (inflow) => inflow.controlFrames.charge(1, 0)
  }
  assert.equal(new Inflow(limits, 0).isAtRest(limits, 0), true)
  for (const [reason, set] of Object.entries(reasons)) {
    const inflow = new Inflow(limits, 0)
    set(inflow)
    assert.equal(inflow.isAtRest(limits, 0), false, reason)
  }
})

test('a connection without a query has an empty one of its own; any other is as the handshake had it', async (t) => {
  const given: unknown[] = [{}, {}, { room: 'a' }, new URLSearchParams('room=a'), [], null]
  const guard = await Guard.start(t, { admitted: () => ({ query: given[guard.held().connections as number] }) })
  const connections = []
  for (let count = 0; count < given.length; count++) connections.push((await open(guard)).connection)
  const [first, second, ...others] = connections.map(({ query }) => query)
  assert.deepEqual([first, second], [{}, {}])
  assert.notEqual(first, second)
  assert.equal(connections[0]?.query, first, 'the same one each time')
  for (const [at, query] of others.entries()) assert.equal(query, given[at + 2])
})

test('no event of a socket has a listener that nobody added', async (t) => {
  const guard = await Guard.start(t, { raw: true })
  const { connection } = await open(guard)
  const { socket } = connection
  for (const name of ['constructor', 'toString', '__proto__']) {
    assert.equal(socket.listenerCount(name), 0, name)
    assert.equal(socket.emit(name), false, name)
    let heard = 0
    socket.once(name, () => heard++)
    assert.equal(socket.emit(name), true, name)
    assert.equal(heard, 1, name)
    assert.equal(socket.listenerCount(name), 0, name)
  }
})

test('the clock of the limits counts whole ms', async () => {
  const before = performance.now()
  const now = systemClock.now()
  assert.ok(Number.isInteger(now) && now <= performance.now() && now > before - 1, `${now}, after ${before}`)
})
