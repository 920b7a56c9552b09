/** ws ends its two streams at each step of a close; Node makes an error with a stack trace of every end after the first. */
import assert from 'node:assert/strict'
import type { Writable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import type { Connection } from '../../lib/connection/connection.ts'
import { until } from '../support/wait.ts'
import { Guard } from './harness.ts'

/** Counts how often a stream is really told to end, and lets it through. */
function countEnds(stream: Writable): { count: number; given: unknown[] } {
  const seen = { count: 0, given: [] as unknown[] }
  const end = stream.end.bind(stream) as (...values: unknown[]) => Writable
  stream.end = (...values: unknown[]) => {
    seen.count++
    seen.given = values
    return end(...values)
  }
  return seen
}

interface Closed {
  readonly ends: readonly { readonly count: number }[]
  readonly connection: Connection
}

async function closed(t: TestContext, end: 'client' | 'server'): Promise<Closed> {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  const { rawSocket, socket } = connection
  const ends = [countEnds(rawSocket), countEnds(socket._receiver)]
  if (end === 'server') connection.close()
  await client.sendClose(1000)
  client.socket.end()
  await until(() => rawSocket.destroyed && connection.state === 'closed')
  return { ends, connection }
}

for (const end of ['client', 'server'] as const) {
  test(`a close that the ${end} begins ends the socket and the receiver once`, async (t) => {
    const { ends } = await closed(t, end)
    assert.deepEqual(
      ends.map(({ count }) => count),
      [1, 1]
    )
  })
}

test('an end with something to say still says it, and why it cannot', async (t) => {
  const { connection } = await closed(t, 'client')
  const { rawSocket } = connection
  const error = await new Promise((resolve) => rawSocket.end(resolve))
  assert.match(String(error), /ERR_STREAM_(ALREADY_FINISHED|DESTROYED)/)
})
