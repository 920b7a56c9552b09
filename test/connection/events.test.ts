import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import { eventTable } from '../../lib/connection/event-table.ts'
import { Events, printable } from '../../lib/connection/events.ts'
import { captureLogs } from '../support/log-capture.ts'
import { until } from '../support/wait.ts'
import { eventNames, only, recordEvents } from './event-recorder.ts'
import { closeFrameOf, Guard, say } from './harness.ts'

test('P2: ws.close in the log and on the channel: what went over the wire, counted', async (t) => {
  const guard = await Guard.start(t)
  const seen = recordEvents(t)
  const { client, connection } = await guard.connect()
  await client.sendJson(say('hello canary'))
  await client.nextJson()
  guard.clock.ms += 1500
  connection.close(4000, 'done')
  await closeFrameOf(client)
  client.halfClose()
  await until(() => only(seen, 'ws.close').length === 1)
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
    dropped: 0,
    receivedBytes: client.socket.bytesWritten,
    sentBytes: client.socket.bytesRead
  }
  assert.deepEqual(only(seen, 'ws.close'), [fields])
  const logged: Record<string, unknown> = { ...guard.log.find('ws.close') }
  const { level, time: _time, pid: _pid, hostname: _hostname, msg, ...line } = logged
  assert.equal(level, 30)
  assert.equal(msg, 'ws.close')
  assert.deepEqual(line, fields)
  assert.ok(!guard.log.text().includes('canary'))
})

const about = { connectionId: 'c', route: '/house', ip: '203.0.113.7' }

test('P2: the error stays in the log', (t) => {
  const log = captureLogs()
  const published = recordEvents(t)
  const events = new Events(10, () => 0)
  const logger = Fastify({ logger: log.logger }).log
  events.emit('ws.handler_error', logger, { ...about, reason: 'handler' }, new Error('in the log only'))
  assert.deepEqual(published, [{ event: 'ws.handler_error', ...about, reason: 'handler' }])
  assert.match(JSON.stringify(log.find('ws.handler_error')?.err), /in the log only/)
})

test('P3: a flood writes a few lines per reason and second, and the next line tells how many were left out', () => {
  const log = captureLogs()
  const logger = Fastify({ logger: log.logger }).log
  let now = 0
  const events = new Events(10, () => now)
  for (let count = 0; count < 1000; count++) events.emit('ws.invalid', logger, { ...about, reason: 'unknown_type' })
  events.emit('ws.invalid', logger, { ...about, reason: 'invalid_json' })
  events.emit('ws.refused', logger, { status: 403, reason: 'unknown_type' })
  assert.equal(log.filter('ws.invalid').length, 11)
  assert.equal(log.filter('ws.refused').length, 1)
  now = 1000
  events.emit('ws.invalid', logger, { ...about, reason: 'unknown_type' })
  assert.equal(log.filter('ws.invalid').at(-1)?.suppressed, 990)
  events.emit('ws.invalid', logger, { ...about, reason: 'unknown_type' })
  assert.equal(log.filter('ws.invalid').at(-1)?.suppressed, undefined)
})

test('P2: a logger that fails ends nothing, and the channel has its message', (t) => {
  const published = recordEvents(t)
  const events = new Events(10, () => 0)
  const logger = Object.assign(Fastify().log, { info: () => assert.fail('the disk is full') })
  events.emit('ws.invalid', logger, { ...about, reason: 'invalid_json' })
  assert.equal(published.length, 1)
})

test('P2: the audit trail is not sampled, everything that a peer can repeat is', () => {
  const log = captureLogs()
  const logger = Fastify({ logger: log.logger }).log
  const events = new Events(1, () => 0)
  const unsampled = ['ws.open', 'ws.authenticated', 'ws.close', 'ws.refreshed', 'ws.drain']
  for (const event of eventNames) {
    for (let count = 0; count < 5; count++) events.emit(event, logger, { reason: 'same' } as never)
    assert.equal(log.filter(event).length, unsampled.includes(event) ? 5 : 1, event)
  }
})

test('P4: no field that an identifier, a number or a peer fills is called a label', () => {
  const free = ['connectionId', 'ip', 'sub', 'origin', 'expected', 'errorCode', 'paths', 'code']
  for (const { labels, details } of Object.values(eventTable)) {
    assert.deepEqual(
      labels.filter((field) => free.includes(field) || (details as readonly string[]).includes(field)),
      []
    )
  }
  assert.ok((eventTable['ws.close'].details as readonly string[]).includes('reason'), 'it may be the developer’s own')
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
