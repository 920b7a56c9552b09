import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Heartbeat, maxSliceMs, slicesPerSweep, tickMs } from '../../lib/connection/heartbeat.ts'
import { opcodes } from '../support/frames.ts'
import { until } from '../support/wait.ts'
import { frames, Guard, type Opened, say } from './harness.ts'

const heartbeat = { intervalMs: 1000, timeoutMs: 500 }

test('R8: a ping after silence; a pong keeps the connection alive', async (t) => {
  const guard = await Guard.start(t, { heartbeat })
  const { client, connection } = await guard.connect()
  for (let round = 0; round < 3; round++) {
    guard.tick(999)
    guard.tick(1)
    const ping = await client.nextFrame({ opcode: opcodes.ping })
    guard.tick(499)
    await client.sendFrame({ opcode: opcodes.pong, payload: ping.payload })
    await until(() => connection.pingSentAt === 0)
  }
  assert.equal(connection.state, 'open')
  assert.equal(client.frames.length, 3)
})

test('R8: a message counts as a sign of life', async (t) => {
  const guard = await Guard.start(t, { heartbeat })
  const { client } = await guard.connect()
  guard.tick(900)
  await client.sendJson(say('a'))
  await client.nextJson()
  guard.tick(999)
  assert.equal(client.frames.length, 1)
})

test('R8: no pong in time ends the connection with a reset, and is told', async (t) => {
  const guard = await Guard.start(t, { heartbeat })
  const { connection } = await guard.connect()
  guard.tick(1000)
  guard.tick(499)
  assert.equal(connection.state, 'open')
  guard.tick(1)
  assert.equal(connection.rawSocket.destroyed, true)
  await until(() => guard.closes.length === 1)
  assert.deepEqual(guard.closes[0], { code: 1006, reason: '', cause: 'heartbeat_timeout' })
  assert.equal(guard.log.find('ws.heartbeat_timeout')?.connectionId, connection.id)
})

test('R8: a frame that dribbles in is no sign of life', async (t) => {
  const guard = await Guard.start(t, { heartbeat })
  const { client, connection } = await guard.connect()
  const [...bytes] = frames(say('slow'))
  for (const byte of bytes.slice(0, 4)) {
    await client.write(Buffer.from([byte]))
    guard.tick(500)
  }
  assert.equal(connection.cause, 'heartbeat_timeout')
})

test('R8: the time that we paused the socket ourselves does not count', async (t) => {
  const guard = await Guard.start(t, { heartbeat, limits: { messages: { perSecond: 0.1, burst: 1 } } })
  const { client, connection } = await guard.connect()
  await client.sendJson(say('a'))
  await until(() => connection.paused)
  guard.tick(1000)
  const ping = await client.nextFrame({ opcode: opcodes.ping })
  await client.sendFrame({ opcode: opcodes.pong, payload: ping.payload })
  for (let round = 0; round < 20; round++) guard.tick(400)
  assert.equal(connection.state, 'open')
})

test('R8: nor the time in which the send buffer shrinks', async (t) => {
  const guard = await Guard.start(t, { heartbeat })
  const { connection } = await guard.connect()
  let buffered = 100_000
  Object.defineProperty(connection.socket, 'bufferedAmount', { get: () => buffered })
  guard.tick(1000)
  for (let round = 0; round < 5; round++) {
    buffered -= 1000
    guard.tick(400)
  }
  assert.equal(connection.state, 'open')
  guard.tick(500)
  assert.equal(connection.state, 'closing')
})

test('the sweep visits every connection, a slice at a time, and its timer is there only as long as they are', async (t) => {
  const guard = await Guard.start(t, { idleTimeoutMs: 1000 })
  const beat = new Heartbeat(guard.runtime)
  t.after(() => beat.stop())
  const opened = await Promise.all(Array.from({ length: 7 }, () => guard.connect()))
  guard.clock.ms += 1000
  await until(() => opened.every(({ connection }) => connection.state !== 'open'), { timeoutMs: 5000 })
  for (const { client } of opened) client.destroy()
  await until(() => guard.runtime.registry.size === 0)
  // The timer ends itself; the next connection starts it again.
  const again = await guard.connect()
  guard.clock.ms += 1000
  await until(() => again.connection.state !== 'open', { timeoutMs: 5000 })
  assert.ok(tickMs * slicesPerSweep <= 1000)
})

test('R8: a slice whose pings take too long stops there, and the next tick goes on; nobody is left out', async (t) => {
  const started = t.mock.method(globalThis, 'setInterval')
  const guard = await Guard.start(t)
  let spentMs = 0
  const clock = { ...guard.clock, now: () => guard.clock.ms + spentMs }
  const beat = new Heartbeat({ ...guard.runtime, clock })
  t.after(() => beat.stop())
  const opened: Opened[] = []
  while (opened.length < 200) opened.push(await guard.connect())
  const tick = started.mock.calls.find(({ arguments: [, ms] }) => ms === tickMs)?.arguments[0] as () => void
  const pinged = (): number => opened.filter(({ connection }) => connection.pingSentAt > 0).length
  for (const { connection } of opened) {
    t.mock.method(connection.socket, 'ping', () => {
      spentMs += maxSliceMs / 10
    })
  }
  guard.clock.ms += 30_000
  let before = 0
  let ticks = 0
  while (before < opened.length && ticks < 100) {
    tick()
    ticks++
    const now = pinged()
    assert.ok(now - before > 0 && now - before <= 30, `${now - before} at once`)
    before = now
  }
  assert.equal(before, opened.length)
  assert.ok(ticks > slicesPerSweep)
})

test('L1: the timer of the sweep is gone after the last connection', async (t) => {
  const started = t.mock.method(globalThis, 'setInterval')
  const stopped = t.mock.method(globalThis, 'clearInterval')
  const guard = await Guard.start(t)
  const beat = new Heartbeat(guard.runtime)
  t.after(() => beat.stop())
  const { client } = await guard.connect()
  const call = started.mock.calls.find(({ arguments: [, ms] }) => ms === tickMs)
  // It is no reason for Node to stay, so it is not among process.getActiveResourcesInfo().
  assert.ok(call?.result)
  const isStopped = (): boolean => stopped.mock.calls.some(({ arguments: [timer] }) => timer === call.result)
  assert.equal(isStopped(), false)
  client.destroy()
  await until(isStopped, { timeoutMs: 5000 })
})
