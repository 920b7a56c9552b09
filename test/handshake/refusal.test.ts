import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import {
  endSocket,
  refusalBody,
  refusalHeaders,
  refusalReasons,
  refusalStatuses,
  refuseSocket,
  statusOf
} from '../../lib/handshake/refusal.ts'
import { until } from '../support/wait.ts'
import { bodyOf } from './harness.ts'

test('H13: each status has one body, with nothing of the request in it', () => {
  for (const status of Object.keys(refusalStatuses).map(Number)) {
    assert.equal(JSON.stringify(refusalBody(status)), bodyOf(status))
  }
})

test('H13: a status that is in no table has a body all the same', () => {
  assert.deepEqual(refusalBody(418), { statusCode: 418, error: "I'm a Teapot", code: 'refused' })
  assert.deepEqual(refusalBody(499), { statusCode: 499, error: 'Refused', code: 'refused' })
})

test('H13: each reason has a status of the table', () => {
  for (const reason of Object.keys(refusalReasons) as Array<keyof typeof refusalReasons>) {
    assert.ok(statusOf({ reason }) in refusalStatuses, reason)
  }
})

test('T7: every refusal says that the connection ends', () => {
  for (const status of [400, 401, 403, 404, 405, 418, 426, 429, 500, 503]) {
    assert.equal(refusalHeaders(status).connection, 'close')
  }
})

test('401, 426, 429 and 503 say what to do', () => {
  assert.deepEqual(refusalHeaders(401), { connection: 'close', 'www-authenticate': 'Bearer' })
  assert.deepEqual(refusalHeaders(426), { connection: 'close', upgrade: 'websocket', 'sec-websocket-version': '13' })
})

/** Every Retry-After that a status may come with. */
function waitsOf(status: number, retryAfterMs?: number): number[] {
  const seen = Array.from({ length: 500 }, () => Number(refusalHeaders(status, retryAfterMs)['retry-after']))
  return [...new Set(seen)].sort((a, b) => a - b)
}

test('P6: Retry-After is spread, so that refused clients do not return at once, and never before it is of use', () => {
  for (const status of [429, 503]) assert.deepEqual(waitsOf(status), [5, 6, 7, 8, 9])
  assert.deepEqual(waitsOf(429, 0), [1, 2, 3, 4, 5])
  assert.deepEqual(waitsOf(429, 1), [1, 2, 3, 4, 5])
  assert.deepEqual(waitsOf(429, 1001), [2, 3, 4, 5, 6])
})

class Sink extends Duplex {
  readonly written: string[] = []
  hold: (() => void) | undefined
  isHeld = false

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.written.push(chunk.toString())
    if (this.isHeld) this.hold = callback
    else callback()
  }
}

test('T7: a bare socket is destroyed once its answer has left, not before', async () => {
  const socket = new Sink()
  socket.isHeld = true
  refuseSocket(socket, 405, ['x-content-type-options: nosniff'])
  await until(() => socket.hold !== undefined)
  assert.equal(socket.destroyed, false)
  socket.hold?.()
  await until(() => socket.destroyed)
  const [head, body] = socket.written.join('').split('\r\n\r\n')
  assert.deepEqual(head?.split('\r\n'), [
    'HTTP/1.1 405 Method Not Allowed',
    'connection: close',
    'content-type: application/json; charset=utf-8',
    `content-length: ${bodyOf(405).length}`,
    'x-content-type-options: nosniff'
  ])
  assert.equal(body, bodyOf(405))
})

test('H10: a socket that is gone, or has ended, is not written to', async () => {
  const gone = new Sink()
  gone.destroy()
  refuseSocket(gone, 400, [])
  assert.deepEqual(gone.written, [])

  const ended = new Sink()
  ended.end()
  await until(() => ended.writableFinished)
  refuseSocket(ended, 400, [])
  assert.deepEqual(ended.written, [])
  assert.equal(ended.destroyed, true)

  const finished = new Sink()
  finished.end('x')
  await until(() => finished.writableFinished)
  endSocket(finished)
  assert.equal(finished.destroyed, true)
})
