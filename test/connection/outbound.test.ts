import assert from 'node:assert/strict'
import { test } from 'node:test'
import { closedGraceMs } from '../../lib/connection/heartbeat.ts'
import { maxTopicLength } from '../../lib/connection/topics.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, Guard, settled, texts } from './harness.ts'

const kilobytes = 'x'.repeat(100_000)

test('send: true when written, and the peer gets the message', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  assert.equal(connection.send('said', { text: 'hi' }), true)
  assert.deepEqual(await client.nextJson(), { type: 'said', text: 'hi' })
  assert.equal(connection.sent, 1)
})

test('O3: an undeclared property never leaves; a violation is our bug and throws without the value', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  connection.send('said', { text: 'hi', passwordHash: 'canary' })
  assert.deepEqual(await client.nextJson(), { type: 'said', text: 'hi' })
  for (const [type, message] of [
    ['said', { text: 5 }],
    ['unknown', {}],
    ['say', { text: 'wrong way' }]
  ] as const) {
    assert.throws(() => connection.send(type, message), { name: 'EncodeError', code: 'WSG_ERR_ENCODE' })
  }
})

test('send on a raw route throws: it has no messages', async (t) => {
  const guard = await Guard.start(t, { raw: true })
  const { connection } = await guard.connect()
  assert.throws(() => connection.send('said', { text: 'hi' }), { name: 'EncodeError' })
})

test('O2: after the end send() is false, and nothing piles up', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  connection.close()
  const buffered = connection.socket.bufferedAmount
  for (let count = 0; count < 1000; count++) assert.equal(connection.send('said', { text: kilobytes }), false)
  assert.equal(connection.socket.bufferedAmount, buffered)
  await closeFrameOf(client)
  client.halfClose()
  await until(() => connection.state === 'closed')
  assert.equal(connection.send('said', { text: 'late' }), false)
  assert.deepEqual(texts(client), [])
})

test('O2: nor when the peer, or the developer past the connection, has closed the socket', async (t) => {
  const guard = await Guard.start(t)
  const { connection } = await guard.connect()
  connection.socket.close()
  assert.equal(connection.state, 'open')
  assert.equal(connection.send('said', { text: 'late' }), false)
  assert.equal(connection.socket.bufferedAmount < 100, true)
})

test('O1: above the soft bound messages are dropped, and delivered again when the peer reads', async (t) => {
  const guard = await Guard.start(t, { limits: { sendBuffer: { softBytes: 300_000, hardBytes: 100_000_000 } } })
  const { client, connection } = await guard.connect()
  client.pause()
  let written = 0
  await until(() => {
    const isWritten = connection.send('said', { text: kilobytes })
    if (isWritten) written++
    return !isWritten
  })
  assert.equal(connection.state, 'open')
  assert.ok(connection.socket.bufferedAmount < 500_000)
  assert.equal(connection.dropped, 1)
  assert.equal(guard.log.find('ws.slow_consumer')?.reason, 'dropped')
  assert.equal(guard.runtime.sendBuffers.countedBytes > 0, true)
  client.resume()
  await until(() => texts(client).length === written)
  assert.equal(connection.send('said', { text: 'again' }), true)
  guard.tick()
  assert.equal(guard.runtime.sendBuffers.countedBytes, connection.socket.bufferedAmount)
})

test('O1: a peer above the hard bound is ended with a reset, and gets nothing more', async (t) => {
  const guard = await Guard.start(t, { limits: { sendBuffer: { softBytes: 10_000_000, hardBytes: 10_000_000 } } })
  const { client, connection } = await guard.connect()
  client.pause()
  await until(() => !connection.send('said', { text: kilobytes }), { timeoutMs: 5000 })
  assert.equal(guard.log.find('ws.slow_consumer')?.reason, 'dropped')
  await until(() => connection.rawSocket.destroyed)
  await until(() => guard.closes.length === 1)
  assert.deepEqual(guard.closes[0], { code: 1006, reason: '', cause: 'slow_consumer' })
  assert.equal(guard.log.filter('ws.slow_consumer').at(-1)?.reason, 'terminated')
  assert.equal(guard.runtime.sendBuffers.countedBytes, 0)
})

test('O1: what a raw route has written past the bound is found by the sweep', async (t) => {
  const guard = await Guard.start(t, { raw: true, limits: { sendBuffer: { softBytes: 1000, hardBytes: 1_000_000 } } })
  const { client, connection } = await guard.connect()
  client.pause()
  await until(() => {
    connection.socket.send(kilobytes)
    return connection.socket.bufferedAmount > 1_000_000
  })
  guard.tick()
  await until(() => guard.closes.length === 1)
  assert.equal(guard.closes[0]?.cause, 'slow_consumer')
})

test('O1: totalBufferedBytes ends the largest buffers first', async (t) => {
  const guard = await Guard.start(t, {
    totalBufferedBytes: 3_000_000,
    limits: { sendBuffer: { softBytes: 100_000_000, hardBytes: 100_000_000 } }
  })
  const large = await guard.connect()
  const small = await guard.connect()
  const reader = await guard.connect()
  large.client.pause()
  small.client.pause()
  await until(() => large.connection.send('said', { text: kilobytes }) && large.connection.countedBytes > 2_000_000)
  await until(() => {
    small.connection.send('said', { text: kilobytes })
    return guard.runtime.sendBuffers.countedBytes > 3_000_000
  })
  await until(() => large.connection.state !== 'open')
  assert.equal(small.connection.state, 'open')
  assert.ok(small.connection.countedBytes > 0)
  await until(() => guard.closes.length === 1)
  assert.equal(guard.closes[0]?.cause, 'slow_consumer')
  assert.ok(guard.runtime.sendBuffers.countedBytes <= 3_000_000)
  await settled(reader.client)
})

test('O1: buffers that have emptied meanwhile are counted anew before anybody is ended', async (t) => {
  const guard = await Guard.start(t, {
    totalBufferedBytes: 2_000_000,
    limits: { sendBuffer: { softBytes: 100_000_000, hardBytes: 100_000_000 } }
  })
  const first = await guard.connect()
  first.client.pause()
  await until(() => first.connection.send('said', { text: kilobytes }) && first.connection.countedBytes > 1_500_000)
  first.client.resume()
  await until(() => first.connection.socket.bufferedAmount === 0)
  const second = await guard.connect()
  second.client.pause()
  await until(() => second.connection.send('said', { text: kilobytes }) && second.connection.countedBytes > 1_500_000)
  assert.equal(first.connection.state, 'open')
  assert.equal(second.connection.state, 'open')
})

test('O1: the burst of one turn to a peer that reads is neither dropped nor held against it', async (t) => {
  const guard = await Guard.start(t, { limits: { sendBuffer: { softBytes: 100_000, hardBytes: 10_000_000 } } })
  const { client, connection } = await guard.connect()
  for (let count = 0; count < 20; count++) assert.equal(connection.send('said', { text: kilobytes }), true)
  await until(() => texts(client).length === 20)
  guard.tick()
  assert.equal(connection.state, 'open')
  assert.equal(connection.dropped, 0)
})

test('O1: what raw routes have written is in the account of the node', async (t) => {
  const guard = await Guard.start(t, {
    raw: true,
    totalBufferedBytes: 1_000_000,
    limits: { sendBuffer: { softBytes: 100_000_000, hardBytes: 100_000_000 } }
  })
  const opened = [await guard.connect(), await guard.connect()]
  for (const [at, { client, connection }] of opened.entries()) {
    client.pause()
    await until(() => {
      connection.socket.send(kilobytes)
      return connection.socket.bufferedAmount > 500_000 * (at + 1)
    })
  }
  guard.tick()
  await until(() => guard.closes.length === 1)
  assert.equal(guard.closes[0]?.cause, 'slow_consumer')
  assert.deepEqual(
    opened.map(({ connection }) => connection.cause),
    [undefined, 'slow_consumer']
  )
})

test('O1: the one who sends may be the largest: send() says that it was dropped', async (t) => {
  const guard = await Guard.start(t, {
    totalBufferedBytes: 1_000_000,
    limits: { sendBuffer: { softBytes: 100_000_000, hardBytes: 100_000_000 } }
  })
  const { client, connection } = await guard.connect()
  client.pause()
  await until(() => !connection.send('said', { text: kilobytes }))
  assert.equal(connection.state, 'closing')
})

test('O1: close() with a backlog is over when the close frame is not answered in time', async (t) => {
  const guard = await Guard.start(t, { closeTimeoutMs: 500 })
  const { client, connection } = await guard.connect()
  client.pause()
  await until(() => !connection.send('said', { text: kilobytes }))
  connection.close()
  guard.tick(499)
  assert.equal(connection.rawSocket.destroyed, false)
  guard.tick(1)
  await until(() => guard.closes.length === 1)
  assert.deepEqual(guard.closes[0], { code: 1000, reason: '', cause: 'close_timeout' })
})

test('O1: a socket that the developer has closed gets closeTimeoutMs to end, one that the peer has closed less', async (t) => {
  const guard = await Guard.start(t, { closeTimeoutMs: 30_000 })
  const peer = await guard.connect()
  await peer.client.sendClose(1001)
  await closeFrameOf(peer.client)
  const own = await guard.connect()
  own.connection.socket.close(4000)
  await closeFrameOf(own.client)
  guard.tick()
  for (const { connection } of [peer, own]) {
    assert.equal(connection.state, 'closing')
    assert.equal(connection.signal.aborted, true)
  }
  guard.tick(closedGraceMs)
  assert.equal(peer.connection.rawSocket.destroyed, true)
  assert.equal(own.connection.rawSocket.destroyed, false)
  await until(() => guard.closes.length === 1)
  guard.tick(30_000 - closedGraceMs)
  await until(() => guard.closes.length === 2)
  assert.deepEqual(
    guard.closes.map(({ code }) => code),
    [1001, 1006]
  )
})

test('O1: a peer that says close and stays, or a socket closed past the connection, ends too', async (t) => {
  const guard = await Guard.start(t, { closeTimeoutMs: 1 })
  const peer = await guard.connect()
  await peer.client.sendClose(1000)
  await closeFrameOf(peer.client)
  const own = await guard.connect()
  own.connection.socket.close(4000)
  // The default of ws is 30 s.
  await until(() => guard.closes.length === 2, { timeoutMs: 10_000 })
  assert.deepEqual(new Set(guard.closes.map(({ cause }) => cause)), new Set(['client', 'lost']))
})

test('Z9: topics reach their subscribers only, of this contract only', async (t) => {
  const guard = await Guard.start(t)
  const first = await guard.connect()
  const second = await guard.connect()
  assert.equal(await first.connection.subscribe('room'), true)
  assert.equal(await first.connection.subscribe('room'), true)
  assert.equal(await second.connection.subscribe('other'), true)
  const text = JSON.stringify({ type: 'said', text: 'all' })
  const { topics } = guard.runtime
  assert.equal(topics.publish('house', 'room', text), 1)
  assert.equal(topics.publish('another', 'room', text), 0)
  assert.equal(topics.publish('house', 'nobody', text), 0)
  assert.deepEqual(await first.client.nextJson(), { type: 'said', text: 'all' })
  await settled(second.client)
  assert.equal(texts(second.client).length, 1)
  first.connection.unsubscribe('room')
  first.connection.unsubscribe('never')
  assert.equal(topics.publish('house', 'room', text), 0)
  assert.equal(topics.size, 1)
})

test('Z9: two contracts may use the same topic name', async (t) => {
  const guard = await Guard.start(t)
  const other = await Guard.start(t, { contractName: 'other' })
  Object.assign(other.runtime, { topics: guard.runtime.topics })
  const here = await guard.connect()
  const there = await other.connect()
  await here.connection.subscribe('room')
  await there.connection.subscribe('room')
  assert.equal(guard.runtime.topics.publish('other', 'room', '{"type":"said","text":"there"}'), 1)
  assert.deepEqual(await there.client.nextJson(), { type: 'said', text: 'there' })
  await settled(here.client)
  assert.equal(texts(here.client).length, 1)
})

test('O5: a subscriber that reads too slowly is skipped', async (t) => {
  const guard = await Guard.start(t, { limits: { sendBuffer: { softBytes: 1000, hardBytes: 100_000_000 } } })
  const slow = await guard.connect()
  const good = await guard.connect()
  await slow.connection.subscribe('room')
  await good.connection.subscribe('room')
  slow.client.pause()
  await until(() => !slow.connection.send('said', { text: kilobytes }))
  assert.equal(guard.runtime.topics.publish('house', 'room', '{"type":"said","text":"a"}'), 1)
  assert.deepEqual(await good.client.nextJson(), { type: 'said', text: 'a' })
})

test('R9: no more topics than limits.topics; unsubscribing makes room', async (t) => {
  const guard = await Guard.start(t, { limits: { topics: 2 } })
  const { connection } = await guard.connect()
  assert.deepEqual(await Promise.all(['a', 'b', 'c'].map((topic) => connection.subscribe(topic))), [true, true, false])
  assert.equal(await connection.subscribe('a'), true)
  connection.unsubscribe('a')
  assert.equal(await connection.subscribe('c'), true)
})

test('Z9: the route decides who may join; a rule that throws has not said yes', async (t) => {
  const guard = await Guard.start(t, {
    topics: (_, topic) => {
      if (topic === 'broken') throw new Error('a bug')
      return topic === 'odd' ? ('yes' as never) : topic === 'mine'
    }
  })
  const { client, connection } = await guard.connect()
  assert.deepEqual(await Promise.all(['mine', 'theirs', 'broken', 'odd'].map((topic) => connection.subscribe(topic))), [
    true,
    false,
    false,
    false
  ])
  assert.equal(guard.errors.length, 1)
  assert.equal(guard.log.find('ws.handler_error')?.reason, 'topics')
  await settled(client)
})

test('L1: subscriptions end with the connection, also one that its rule has just closed', async (t) => {
  const guard = await Guard.start(t, {
    topics: (connection, topic) => {
      if (topic === 'closing') connection.close()
      return true
    }
  })
  const { connection } = await guard.connect()
  await connection.subscribe('a')
  assert.equal(await connection.subscribe('closing'), false)
  assert.equal(guard.runtime.topics.size, 0)
  assert.equal(await connection.subscribe('late'), false)
})

test('R9: the name of a topic is bounded', async (t) => {
  const guard = await Guard.start(t)
  const { connection } = await guard.connect()
  assert.equal(await connection.subscribe('x'.repeat(maxTopicLength)), true)
  assert.equal(await connection.subscribe('x'.repeat(maxTopicLength + 1)), false)
})

test('topics are for contracts: a raw route has none', async (t) => {
  const guard = await Guard.start(t, { raw: true })
  const { connection } = await guard.connect()
  assert.equal(await connection.subscribe('a'), false)
  connection.unsubscribe('a')
  assert.equal(guard.runtime.topics.size, 0)
})
