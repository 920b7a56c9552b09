/** Messages of one turn leave in one write: in order, counted until they have left, told before the end. */
import assert from 'node:assert/strict'
import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Connection } from '../../lib/connection/connection.ts'
import { maxJoinedBytes } from '../../lib/connection/guarded-socket.ts'
import { closeFrame, opcodes, textFrame } from '../support/frames.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, deferred, frames, Guard, say, texts } from './harness.ts'

/** Counts what reaches the system, and lets it through. */
function countWrites({ rawSocket }: Connection): { count: number } {
  const seen = { count: 0 }
  const write = rawSocket.write.bind(rawSocket) as (...values: unknown[]) => boolean
  rawSocket.write = (...values: unknown[]) => {
    seen.count++
    return write(...values)
  }
  return seen
}

const saidAll = (...all: string[]): unknown[] => all.map((text) => ({ type: 'said', text }))

test('what is sent in one turn leaves at its end, in one write and in order', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  const writes = countWrites(connection)
  const sent = ['a', 'é', '', '😀', 'x'.repeat(200), 'z']
  for (const text of sent) assert.equal(connection.send('said', { text }), true)
  assert.equal(writes.count, 0)
  await nextTurn()
  assert.equal(writes.count, 1)
  await until(() => texts(client).length === sent.length)
  assert.deepEqual(texts(client), saidAll(...sent))
})

test('the answers to the messages of one chunk leave in one write', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  const writes = countWrites(connection)
  const asked = Array.from({ length: 50 }, (_, at) => String(at))
  await client.write(frames(...asked.map((text) => say(text))))
  await until(() => texts(client).length === asked.length)
  assert.deepEqual(texts(client), saidAll(...asked))
  assert.equal(writes.count, 1)
})

test('a broadcast and what is sent around it keep their order, in one write for each subscriber', async (t) => {
  const guard = await Guard.start(t)
  const first = await guard.connect()
  const second = await guard.connect()
  for (const { connection } of [first, second]) await connection.subscribe('room')
  const counted = [first, second].map(({ connection }) => countWrites(connection))
  const publish = (text: string): number =>
    guard.runtime.topics.publish('house', 'room', JSON.stringify({ type: 'said', text }))
  first.connection.send('said', { text: 'before' })
  publish('one')
  publish('zwei ü')
  second.connection.send('said', { text: 'after' })
  await until(() => texts(first.client).length === 3 && texts(second.client).length === 3)
  assert.deepEqual(texts(first.client), saidAll('before', 'one', 'zwei ü'))
  assert.deepEqual(texts(second.client), saidAll('one', 'zwei ü', 'after'))
  assert.deepEqual(counted, [{ count: 1 }, { count: 1 }])
})

test('what the developer writes past the connection, and a ping, come after what was sent before', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  connection.send('said', { text: 'a' })
  connection.socket.send('{"type":"said","text":"b"}')
  connection.send('said', { text: 'c' })
  connection.socket.ping('now')
  connection.send('said', { text: 'd' })
  await until(() => client.frames.length === 5)
  assert.deepEqual(texts(client), saidAll('a', 'b', 'c', 'd'))
  assert.equal(client.frames[3]?.opcode, opcodes.ping)
})

test('O2: what waits for the end of the turn is in bufferedAmount, and then in the account of the node', async (t) => {
  const guard = await Guard.start(t, { limits: { sendBuffer: { softBytes: 50_000_000, hardBytes: 50_000_000 } } })
  const { client, connection } = await guard.connect()
  connection.send('said', { text: 'é'.repeat(1_000) })
  const size = 4 + Buffer.byteLength(JSON.stringify({ type: 'said', text: 'é'.repeat(1_000) }))
  assert.equal(connection.socket.bufferedAmount, size)
  await until(() => texts(client).length === 1)
  assert.equal(connection.socket.bufferedAmount, 0)
  client.pause()
  // More than the buffers of the system hold.
  for (let count = 0; count < 400; count++) connection.send('said', { text: 'x'.repeat(100_000) })
  await nextTurn()
  assert.ok(connection.socket.bufferedAmount > 1_000_000)
  assert.equal(guard.runtime.sendBuffers.countedBytes, connection.socket.bufferedAmount)
  client.resume()
  await until(() => connection.socket.bufferedAmount === 0, { timeoutMs: 10_000 })
  guard.tick()
  assert.equal(guard.runtime.sendBuffers.countedBytes, 0)
})

test('O1: the hard bound counts what waits for the end of the turn', async (t) => {
  const guard = await Guard.start(t, { limits: { sendBuffer: { softBytes: 10_000, hardBytes: 10_000 } } })
  const { connection } = await guard.connect()
  const text = 'x'.repeat(1_000)
  let sent = 0
  while (sent < 100 && connection.send('said', { text })) sent++
  assert.equal(sent, 10)
  assert.equal(connection.dropped, 1)
})

test('M2: what was sent before the end arrives before the close frame, whoever closes', async (t) => {
  for (const end of [
    (connection: Connection) => connection.close(4000, 'bye'),
    (connection: Connection) => connection.end('revoked'),
    (connection: Connection) => connection.socket.close(4000),
    (connection: Connection) => void connection.drain()
  ]) {
    const guard = await Guard.start(t)
    const { client, connection } = await guard.connect()
    connection.send('said', { text: 'last words' })
    end(connection)
    assert.equal(connection.send('said', { text: 'too late' }), false)
    await closeFrameOf(client)
    assert.deepEqual(texts(client), saidAll('last words'))
  }
})

test('M2: the answer to a message arrives before the answer to the close frame behind it', async (t) => {
  const guard = await Guard.start(t)
  const { client } = await guard.connect()
  await client.write(Buffer.concat([frames(say('a'), say('b')), closeFrame(1000)]))
  assert.equal((await closeFrameOf(client)).code, 1000)
  assert.deepEqual(texts(client), saidAll('a', 'b'))
})

test('M3: so does the answer to a message before one that ends the connection', async (t) => {
  const guard = await Guard.start(t)
  const { client } = await guard.connect()
  await client.write(Buffer.concat([frames(say('a')), textFrame('not JSON')]))
  assert.equal((await closeFrameOf(client)).code, 1007)
  assert.deepEqual(texts(client), saidAll('a'))
})

test('an end without a close frame discards what was sent in the same turn, and writes nothing', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  const writes = countWrites(connection)
  connection.send('said', { text: 'never' })
  connection.end('slow_consumer')
  assert.equal(connection.socket.bufferedAmount, 0)
  await client.serverEnd()
  assert.deepEqual(texts(client), [])
  assert.equal(writes.count, 0)
  assert.equal(guard.runtime.sendBuffers.countedBytes, 0)
})

test('what is large leaves at once, and what is small goes with it', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  const writes = countWrites(connection)
  connection.send('said', { text: 'small' })
  assert.equal(writes.count, 0)
  connection.send('said', { text: 'x'.repeat(maxJoinedBytes) })
  assert.equal(writes.count, 1)
  connection.send('said', { text: 'last' })
  await nextTurn()
  assert.equal(writes.count, 2)
  await until(() => texts(client).length === 3)
})

test('O1: what the turn before has written is no backlog, and one turn later it is', async (t) => {
  const guard = await Guard.start(t, { limits: { sendBuffer: { softBytes: 10_000, hardBytes: 100_000_000 } } })
  const { client, connection } = await guard.connect()
  client.pause()
  const huge = { text: 'x'.repeat(20_000_000) }
  assert.equal(connection.send('said', huge), true)
  await nextTurn()
  assert.ok(connection.socket.bufferedAmount > 1_000_000)
  assert.equal(connection.send('said', { text: 'next turn' }), true)
  await nextTurn()
  await nextTurn()
  assert.equal(connection.send('said', { text: 'too late' }), false)
})

test('H10: a socket whose write throws ends, and the others of that turn get what they were sent', async (t) => {
  const guard = await Guard.start(t)
  const broken = await guard.connect()
  const second = await guard.connect()
  broken.connection.rawSocket.write = () => {
    throw new Error('of a duplex of its own')
  }
  for (const { connection } of [broken, second]) connection.send('said', { text: 'a' })
  await until(() => texts(second.client).length === 1)
  await until(() => broken.connection.state === 'closed')
  second.connection.send('said', { text: 'b' })
  await until(() => texts(second.client).length === 2)
})

test('L1: a socket that is gone before the end of the turn is written to no more, and is no error', async (t) => {
  const guard = await Guard.start(t)
  const { connection } = await guard.connect()
  const writes = countWrites(connection)
  const gone = deferred()
  ;(connection.rawSocket as Socket).once('close', () => {
    // Its own close event may come before that of ws.
    connection.send('said', { text: 'to nobody' })
    gone.resolve()
  })
  connection.rawSocket.destroy()
  await gone.promise
  await until(() => connection.state === 'closed')
  await nextTurn()
  assert.equal(writes.count, 0)
  assert.deepEqual(guard.errors, [])
})

test('events of the developer’s own, and pings, reach the listeners that they put on the socket', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  const heard: unknown[] = []
  const socket: EventEmitter = connection.socket
  socket.on('mine', (...values) => heard.push(values))
  socket.on('ping', (data) => heard.push(String(data)))
  socket.emit('mine', 1, 2)
  await client.sendFrame({ opcode: opcodes.ping, payload: 'p' })
  await until(() => heard.length === 2)
  assert.deepEqual(heard, [[1, 2], 'p'])
})
