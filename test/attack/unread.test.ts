/** Threats O1 and O2: what a peer that does not read can make the server keep, measured. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { WsConnection } from '../../lib/connection/types.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { echo } from '../support/app.ts'
import { selfSigned } from '../support/certificate.ts'
import { opcodes } from '../support/frames.ts'
import { gc, heapBytes } from '../support/gc.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { Target, turns } from './harness.ts'

const text = 'x'.repeat(60_000)
const timeoutMs = 10_000
const softBytes = 262_144
const hardBytes = 1_048_576
const megabyte = 1_000_000
const tls = selfSigned()

/** What is alive, in bytes. */
function usedBytes(): number {
  gc()
  return heapBytes()
}

async function openDeaf(
  t: TestContext,
  guard: WsGuardOptions = {},
  isTls = false
): Promise<{ target: Target; client: RawClient; connection: WsConnection }> {
  let connection: WsConnection | undefined
  const target = await Target.start(t, {
    ...(isTls && { tls }),
    guard,
    route: {
      onOpen: async (opened) => {
        connection = opened
        await opened.subscribe('all')
      }
    }
  })
  const client = await target.open()
  client.pause()
  return { target, client, connection: await until(() => connection, { timeoutMs }) }
}

test('O1: thirty megabytes to a peer that does not read are dropped, and take no memory', async (t) => {
  const { target, connection } = await openDeaf(t)
  const before = usedBytes()
  let largest = 0
  let dropped = 0
  for (let sentBytes = 0; sentBytes < 30 * megabyte; sentBytes += text.length) {
    if (!connection.send('said', { text })) dropped++
    largest = Math.max(largest, connection.socket.bufferedAmount)
    await turns(1)
  }
  assert.ok(dropped > 300, `${dropped} were dropped`)
  // What was written a turn ago is no backlog yet.
  assert.ok(largest <= softBytes + 2 * (text.length + 100), `${largest} bytes were held`)
  const grown = usedBytes() - before
  assert.ok(grown < 5 * megabyte, `${grown} bytes more`)
  assert.deepEqual(target.closes, [])
})

test('O1: the same in one turn ends the peer as a slow consumer, and nothing of it is kept', async (t) => {
  const { target, connection } = await openDeaf(t)
  const before = usedBytes()
  let largest = 0
  for (let sentBytes = 0; sentBytes < 30 * megabyte; sentBytes += text.length) {
    connection.send('said', { text })
    largest = Math.max(largest, connection.socket.bufferedAmount)
  }
  assert.ok(largest <= hardBytes + text.length + 100, `${largest} bytes were held`)
  // The kernel may take what is within the hard bound: until it does not any more.
  for (let round = 0; connection.state === 'open'; round++) {
    assert.ok(round < 500, 'it is never ended')
    for (let at = 0; at < 20; at++) connection.send('said', { text })
    await turns(5)
  }
  await until(() => target.closes.length === 1, { timeoutMs })
  assert.deepEqual(target.closes, [{ code: 1006, reason: '', cause: 'slow_consumer' }])
  assert.equal(target.app.wsGuard.stats().bufferedBytes, 0)
  const grown = usedBytes() - before
  assert.ok(grown < 2 * megabyte, `${grown} bytes more`)
})

for (const isTls of [false, true]) {
  test(`O1: close() behind a backlog is over within closeTimeoutMs, over ${isTls ? 'TLS' : 'TCP'}`, async (t) => {
    const closeTimeoutMs = 400
    const { target, connection } = await openDeaf(t, { closeTimeoutMs }, isTls)
    await until(() => !connection.send('said', { text }), { timeoutMs })
    const startedAt = performance.now()
    connection.close()
    await until(() => target.closes.length === 1, { timeoutMs, what: 'the end' })
    const tookMs = performance.now() - startedAt
    assert.ok(tookMs >= closeTimeoutMs - 1 && tookMs < closeTimeoutMs + 3_000, `${tookMs} ms`)
    assert.deepEqual(target.closes, [{ code: 1000, reason: '', cause: 'close_timeout' }])
    await until(() => target.app.wsGuard.stats().slots === 0, { timeoutMs })
  })
}

test('O2: a thousand sends after the end, while the peer is still there and when it is gone, take nothing', async (t) => {
  const { target, client, connection } = await openDeaf(t, { closeTimeoutMs: 30_000 })
  await until(() => !connection.send('said', { text }), { timeoutMs })
  connection.close()
  const { socket } = connection
  const check = (): void => {
    const buffered = socket.bufferedAmount
    const before = usedBytes()
    for (let at = 0; at < 1_000; at++) assert.equal(connection.send('said', { text }), false)
    assert.equal(target.app.wsGuard.publish(echo, 'all', 'said', { text }), 0)
    assert.equal(socket.bufferedAmount, buffered)
    const grown = usedBytes() - before
    assert.ok(grown < megabyte, `${grown} bytes more`)
  }
  check()
  assert.equal(await connection.subscribe('more'), false)
  client.resume()
  await client.nextFrame({ opcode: opcodes.close, timeoutMs })
  const delivered = client.frames.length
  client.halfClose()
  await until(() => target.closes.length === 1, { timeoutMs })
  check()
  assert.equal(client.frames.length, delivered)
})
