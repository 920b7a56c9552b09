import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { test } from 'node:test'
import Fastify from 'fastify'
import { type EventName, Events, eventLevels, printable } from '../../lib/connection/events.ts'
import { captureLogs } from '../support/log-capture.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, Guard, say } from './harness.ts'

test('P2: ws.open and ws.close on the log and on the channel: these fields and no others', async (t) => {
  const guard = await Guard.start(t)
  const published: unknown[] = []
  const onMessage = (message: unknown): void => void published.push(message)
  subscribe('fastify-ws-guard:ws.close', onMessage)
  t.after(() => unsubscribe('fastify-ws-guard:ws.close', onMessage))
  const { client, connection } = await guard.connect()
  await client.sendJson(say('hello canary'))
  await client.nextJson()
  guard.clock.ms += 1500
  connection.close(4000, 'done')
  await closeFrameOf(client)
  client.halfClose()
  await until(() => published.length === 1)
  const fields = {
    event: 'ws.close',
    connectionId: connection.id,
    route: '/house',
    ip: '203.0.113.7',
    sub: 'alice',
    code: 4000,
    reason: 'done',
    cause: 'server',
    ms: 1500,
    received: 1,
    sent: 1,
    dropped: 0
  }
  assert.deepEqual(published, [fields])
  const logged: Record<string, unknown> = { ...guard.log.find('ws.close') }
  const { level, time: _time, pid: _pid, hostname: _hostname, msg, ...line } = logged
  assert.equal(level, 30)
  assert.equal(msg, 'ws.close')
  assert.deepEqual(line, fields)
  assert.ok(!guard.log.text().includes('canary'))
})

test('P2: every event has its level and its channel; the error stays in the log', async (t) => {
  const levels = { info: 30, warn: 40, error: 50 }
  const log = captureLogs()
  const events = new Events(10, () => 0)
  const logger = Fastify({ logger: log.logger }).log
  for (const [event, level] of Object.entries(eventLevels)) {
    const published: unknown[] = []
    const onMessage = (message: unknown): void => void published.push(message)
    subscribe(`fastify-ws-guard:${event}`, onMessage)
    t.after(() => unsubscribe(`fastify-ws-guard:${event}`, onMessage))
    events.emit(event as EventName, logger, { reason: 'test' }, new Error('in the log only'))
    assert.deepEqual(published, [{ event, reason: 'test' }])
    const line = log.find(event)
    assert.equal(line?.level, levels[level])
    assert.match(JSON.stringify(line?.err), /in the log only/)
  }
})

test('P3: a flood writes a few lines per reason and second, and the next line tells how many were left out', () => {
  const log = captureLogs()
  const logger = Fastify({ logger: log.logger }).log
  let now = 0
  const events = new Events(10, () => now)
  for (let count = 0; count < 1000; count++) events.emit('ws.invalid', logger, { reason: 'unknown_type' })
  events.emit('ws.invalid', logger, { reason: 'another' })
  events.emit('ws.refused', logger, {})
  assert.equal(log.filter('ws.invalid').length, 11)
  assert.equal(log.filter('ws.refused').length, 1)
  now = 1000
  events.emit('ws.invalid', logger, { reason: 'unknown_type' })
  assert.equal(log.filter('ws.invalid').at(-1)?.suppressed, 990)
  events.emit('ws.invalid', logger, { reason: 'unknown_type' })
  assert.equal(log.filter('ws.invalid').at(-1)?.suppressed, undefined)
})

test('P2: a logger that fails ends nothing', () => {
  const events = new Events(10, () => 0)
  const logger = Object.assign(Fastify().log, { info: () => assert.fail('the disk is full') })
  events.emit('ws.invalid', logger, { reason: 'test' })
})

test('P2: the audit trail is not sampled', () => {
  const log = captureLogs()
  const logger = Fastify({ logger: log.logger }).log
  const events = new Events(1, () => 0)
  for (const event of ['ws.open', 'ws.close', 'ws.refreshed', 'ws.drain'] as const) {
    for (let count = 0; count < 5; count++) events.emit(event, logger, { reason: 'same' })
    assert.equal(log.filter(event).length, 5)
  }
})

test('P3: printable cuts and takes control characters out', () => {
  assert.equal(printable('https://a\n{"level":60}\u0000\u007f\u0085\u2028'), 'https://a?{"level":60}????')
  assert.equal(printable('x'.repeat(1000)).length, 256)
  assert.equal(printable('plain ünïcödé'), 'plain ünïcödé')
})

test('P3: a thousand bad frames are some twenty lines', async (t) => {
  const guard = await Guard.start(t, { logSamplePerSecond: 10, limits: { strikes: { max: 10_000 } } })
  const { client, connection } = await guard.connect()
  for (let count = 0; count < 900; count++) client.socket.write(Buffer.from(unknownType))
  await until(() => connection.received === 900)
  assert.ok(guard.log.filter('ws.invalid').length <= 20)
})

const unknownType = ((): Buffer => {
  const payload = Buffer.from('{"type":"x"}')
  // Masked with zeros, as the payload is.
  return Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), payload])
})()
