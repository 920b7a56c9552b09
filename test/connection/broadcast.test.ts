/** A broadcast to more subscribers than one turn of the event loop may take: who waits, in which order, and who not. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { deliveriesPerTurn } from '../../lib/connection/topics.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, Guard, type Opened, texts } from './harness.ts'

const behind = 20
const all = deliveriesPerTurn + behind

interface Crowd {
  readonly guard: Guard
  readonly members: readonly Opened[]
  /** Publishes, and says to how many it went at once. */
  readonly publish: (text: string, topic?: string) => number
  /** Those to whom nothing was written yet. */
  readonly waiting: () => Opened[]
}

async function crowd(t: TestContext): Promise<Crowd> {
  const guard = await Guard.start(t)
  const members: Opened[] = []
  for (let count = 0; count < all; count++) {
    const member = await guard.connect()
    await member.connection.subscribe('room')
    members.push(member)
  }
  return {
    guard,
    members,
    publish: (text, topic = 'room') =>
      guard.runtime.topics.publish('house', topic, JSON.stringify({ type: 'said', text })),
    waiting: () => members.filter(({ connection }) => connection.sent === 0)
  }
}

const said = (...all: string[]): unknown[] => all.map((text) => ({ type: 'said', text }))

async function heard({ client }: Opened, ...expected: string[]): Promise<void> {
  await until(() => texts(client).length >= expected.length, { timeoutMs: 10_000 })
  assert.deepEqual(texts(client), said(...expected))
}

test('O5: a broadcast writes to so many in a turn, and to the rest in the next; nobody is left out', async (t) => {
  const { members, publish, waiting } = await crowd(t)
  assert.equal(publish('a'), all)
  assert.equal(waiting().length, behind)
  await nextTurn()
  assert.equal(waiting().length, 0)
  for (const member of members) await heard(member, 'a')
})

test('O5: what is sent after a broadcast arrives after it', async (t) => {
  const { guard, members, publish, waiting } = await crowd(t)
  await members[0]?.connection.subscribe('aside')
  publish('a')
  const [first, second] = waiting() as [Opened, Opened]
  first.connection.send('said', { text: 'b' })
  assert.equal(publish('c', 'aside'), 1)
  assert.equal(publish('d'), all)
  await nextTurn()
  await heard(first, 'a', 'b', 'd')
  await heard(second, 'a', 'd')
  await heard(members[0] as Opened, 'a', 'c', 'd')
  assert.equal(guard.runtime.topics.size, 2)
})

test('O5, M2: who closes is told before, who is gone or has left the topic is not written to', async (t) => {
  const { guard, members, publish, waiting } = await crowd(t)
  publish('a')
  const [closed, left, reset, drained] = waiting() as [Opened, Opened, Opened, Opened]
  closed.connection.close(1000)
  left.connection.unsubscribe('room')
  reset.connection.end('slow_consumer')
  const drain = drained.connection.drain()
  assert.deepEqual(
    [closed, left, reset, drained].map(({ connection }) => connection.sent),
    [1, 0, 0, 1]
  )
  await nextTurn()
  assert.equal(left.connection.sent, 0)
  assert.equal(await closeFrameOf(closed.client).then(({ code }) => code), 1000)
  await heard(closed, 'a')
  await heard(drained, 'a')
  await drain
  assert.deepEqual(texts(left.client), [])
  for (const { client } of members) client.destroy()
  await until(() => guard.runtime.registry.size === 0, { timeoutMs: 10_000 })
  assert.ok(Object.values(guard.held()).every((size) => size === 0))
})
