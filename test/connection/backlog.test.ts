/** More messages than handlers can take: one runs, a bounded number waits, and TCP holds the rest back. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Connection } from '../../lib/connection/connection.ts'
import { inflowOf } from '../../lib/connection/inflow.ts'
import type { Job } from '../../lib/connection/parts.ts'
import { frame, jsonFrame } from '../support/frames.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, deferred, Guard, say } from './harness.ts'

const count = 20_000
const patient = { timeoutMs: 30_000 }
/** Only the queue bounds anything here. */
const much = { perSecond: 1e9, burst: 1e9 }
const limits = { messages: much, bytes: much }
/** The defaults of `limits.queue`. */
const mostMessages = 64
const mostBytes = 262_144

interface Most {
  messages: number
  bytes: number
}

/** The most that ever waited at once. */
function watch(connection: Connection): Most {
  const most = { messages: 0, bytes: 0 }
  const { queue } = inflowOf(connection)
  queue.push = (...jobs: Job[]): number => {
    const length = Array.prototype.push.apply(queue, jobs)
    most.messages = Math.max(most.messages, length)
    most.bytes = Math.max(most.bytes, inflowOf(connection).queuedBytes + (jobs[0]?.bytes ?? 0))
    return length
  }
  return most
}

test(`M11: ${count} small messages at a slow handler: one runs, the 65th that waits closes with 1008 overflow`, async (t) => {
  const gate = deferred()
  let [inFlight, ran] = [0, 0]
  const guard = await Guard.start(t, {
    limits,
    handlers: {
      say: async () => {
        ran++
        inFlight++
        await gate.promise
        inFlight--
      }
    }
  })
  const { client, connection } = await guard.connect()
  const most = watch(connection)
  client.socket.write(Buffer.concat(Array.from({ length: count }, (_, at) => jsonFrame(say(String(at))))))
  assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'overflow' })
  assert.equal(most.messages, mostMessages + 1)
  assert.deepEqual({ ran, inFlight, queued: inflowOf(connection).queue.length }, { ran: 1, inFlight: 1, queued: 0 })
  gate.resolve()
  await until(() => inFlight === 0)
  await nextTurn()
  assert.equal(ran, 1)
})

test(`M11: ${count} messages of 4 KB at a slow handler: reading stops, nothing is lost, and all run in order, one at a time`, async (t) => {
  const gate = deferred()
  const order: number[] = []
  let [inFlight, mostInFlight] = [0, 0]
  const guard = await Guard.start(t, {
    limits,
    handlers: {
      say: async ({ text }) => {
        mostInFlight = Math.max(mostInFlight, ++inFlight)
        order.push(Number.parseInt(text as string, 10))
        await gate.promise
        inFlight--
      }
    }
  })
  const { client, connection } = await guard.connect()
  const most = watch(connection)
  const pad = ' '.repeat(4_000)
  let sent = 0
  // A batch at a time, so that this test's own memory is bounded too.
  const send = (): void => {
    const batch = Array.from({ length: 200 }, () =>
      frame({ payload: JSON.stringify(say(`${sent++}${pad}`)), mask: Buffer.alloc(4) })
    )
    client.socket.write(Buffer.concat(batch))
  }
  while (sent < 4_000) send()
  // Somebody else goes through a handshake meanwhile: there was time enough to read on.
  for (let other = 0; other < 5; other++) await guard.connect()
  assert.equal(connection.socket.isPaused, true)
  assert.equal(order.length, 1)
  const { received } = connection
  assert.ok(received <= 1 + mostMessages, `${received} messages were read`)
  assert.ok(client.socket.writableLength > 4_000_000, `${client.socket.writableLength} bytes wait at the client`)
  gate.resolve()
  while (sent < count) {
    await until(() => client.socket.writableLength < 4_000_000, patient)
    send()
  }
  await until(() => order.length === count, patient)
  assert.deepEqual(
    order,
    Array.from({ length: count }, (_, at) => at)
  )
  assert.equal(mostInFlight, 1)
  assert.ok(most.messages <= mostMessages, `${most.messages} messages waited`)
  assert.ok(most.bytes <= mostBytes, `${most.bytes} bytes waited`)
  assert.equal(connection.state, 'open')
  await until(() => inflowOf(connection).queuedBytes === 0 && !connection.socket.isPaused, patient)
})

test('M11: a queue of large messages is bounded in bytes: half full pauses, and none is dispatched twice or lost', async (t) => {
  const gate = deferred()
  const order: string[] = []
  const guard = await Guard.start(t, {
    limits,
    handlers: {
      say: async ({ text }) => {
        order.push((text as string).slice(0, 2))
        await gate.promise
      }
    }
  })
  const { client, connection } = await guard.connect()
  const most = watch(connection)
  const names = Array.from({ length: 60 }, (_, at) => String(at + 10))
  const all = names.map((name) => frame({ payload: JSON.stringify(say(`${name}${'x'.repeat(60_000)}`)) }))
  client.socket.write(Buffer.concat(all))
  await until(() => connection.socket.isPaused, patient)
  for (let other = 0; other < 5; other++) await guard.connect()
  assert.ok(inflowOf(connection).queuedBytes <= mostBytes)
  assert.ok(connection.received <= 6, `${connection.received} messages of 60 KB were read`)
  gate.resolve()
  await until(() => order.length === names.length, patient)
  assert.deepEqual(order, names)
  assert.ok(most.bytes <= mostBytes, `${most.bytes} bytes waited`)
})
