/** Threat P6 with a thousand clients: what they see of a shutdown is spread over its window. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { opcodes } from '../support/frames.ts'
import { within } from '../support/wait.ts'
import { Guard, type Opened } from './harness.ts'

const count = 1_000
const spreadMs = 1_000
const parts = 5

test('P6: the closes of a thousand clients are spread over more than 80 % of the window, and evenly', async (t) => {
  const guard = await Guard.start(t)
  const opened: Opened[] = []
  while (opened.length < count) {
    opened.push(await guard.connect())
  }
  const seen: number[] = []
  for (const { client } of opened) {
    const told = (): void => {
      if (client.frames.at(-1)?.opcode !== opcodes.close) return
      client.socket.off('data', told)
      seen.push(performance.now())
      client.halfClose()
    }
    client.socket.on('data', told)
  }
  const startedAt = performance.now()
  await within(guard.drain({ spreadMs, timeoutMs: 30_000 }), { timeoutMs: 40_000 })
  assert.equal(seen.length, count)
  const last = Math.max(...seen) - startedAt
  const range = last - (Math.min(...seen) - startedAt)
  assert.ok(range >= 0.8 * spreadMs, `${range} ms of ${spreadMs}`)
  // However slow the machine is: no part of the time takes them all.
  const counts = Array<number>(parts).fill(0)
  for (const at of seen) {
    const part = Math.min(Math.floor(((at - startedAt) / last) * parts), parts - 1)
    counts[part] = (counts[part] as number) + 1
  }
  assert.ok(Math.max(...counts) < count / 2, counts.join(', '))
  assert.ok(Math.min(...counts) > 0, counts.join(', '))
  assert.equal(guard.closes.length, count)
  assert.ok(guard.closes.every(({ cause }) => cause === 'restart'))
})
