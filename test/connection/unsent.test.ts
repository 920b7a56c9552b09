/** What would be dropped costs nothing to make. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '../support/wait.ts'
import { Guard } from './harness.ts'

const large = { text: 'x'.repeat(100_000) }

test('O1: what is dropped is not encoded, neither a message nor a reply', async (t) => {
  let read = 0
  const counted = {
    get items() {
      read++
      return []
    }
  }
  const guard = await Guard.start(t, {
    limits: { sendBuffer: { softBytes: 1_000, hardBytes: 100_000_000 } },
    handlers: { ask: () => counted }
  })
  const { client, connection } = await guard.connect()
  client.pause()
  await until(() => !connection.send('said', large))
  const spied = {
    get text() {
      read++
      return 'x'
    }
  }
  assert.equal(connection.send('said', spied), false)
  const { dropped } = connection
  await client.sendJson({ type: 'ask', count: 0, ref: 1 })
  await until(() => connection.dropped > dropped)
  assert.equal(read, 0)
  client.resume()
  await until(() => connection.socket.bufferedAmount === 0)
  assert.equal(connection.send('said', spied), true)
  assert.ok(read > 0)
})

test('O2: a message that ends its connection when it is read is not sent', async (t) => {
  const guard = await Guard.start(t)
  const { connection } = await guard.connect()
  const closing = {
    get text() {
      connection.close()
      return 'x'
    }
  }
  assert.equal(connection.send('said', closing), false)
  assert.equal(connection.sent, 0)
})
