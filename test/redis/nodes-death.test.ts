/** What a node held when it was killed, or when it was paused for longer than its lease. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Names } from '../../lib/redis/names.ts'
import type { Client } from './node-client.ts'
import { type Node, Nodes, soon } from './nodes.ts'

const perUser = 10
/** Rounds come every third of it: on a busy machine as well. */
const leaseMs = 3_000
/** A node's round may be late by so much, and its handshake take so long. */
const slackMs = 4_000
const pollMs = 50
const options = { store: { leaseMs, commandTimeoutMs: 1_500 }, limits: { connections: { perUser } } }
const names = new Names('wsg:', 'wsg:')

/** All the slots of a user, on one node. */
async function fill(nodes: Nodes, node: Node, sub: string): Promise<Client[]> {
  const clients = await Promise.all(Array.from({ length: perUser }, () => nodes.open(node, { sub })))
  return clients
}

async function countsOf(nodes: Nodes, sub: string): Promise<number[]> {
  const fields = (await nodes.redis.ask('HVALS', names.slots(`user:${sub}`))) as string[]
  return fields.map(Number)
}

/** @returns the ms until one came in */
async function untilAdmitted(nodes: Nodes, node: Node, sub: string): Promise<number> {
  const startedAt = performance.now()
  while ((await nodes.tryOpen(node, { sub })) === undefined) {
    assert.ok(performance.now() - startedAt < leaseMs + slackMs, 'the slots of a killed node are not back')
    await delay(pollMs)
  }
  return performance.now() - startedAt
}

test('N1: the slots of a killed node are back when its lease is over, those of a living one never', async (t) => {
  const nodes = await Nodes.start(t, 3, options)
  const [killed, living, other] = nodes.all as [Node, Node, Node]
  await fill(nodes, killed, 'alice')
  const held = await fill(nodes, living, 'bob')
  for (const sub of ['alice', 'bob']) assert.equal(await nodes.tryOpen(other, { sub }), undefined)
  // Longer than a lease: it has been renewed since.
  const until = performance.now() + 1.5 * leaseMs
  while (performance.now() < until) {
    for (const sub of ['alice', 'bob']) assert.equal(await nodes.tryOpen(other, { sub }), undefined, sub)
    await delay(pollMs)
  }
  await killed.child.kill()
  const ms = await untilAdmitted(nodes, other, 'alice')
  t.diagnostic(`back after ${Math.round(ms)} ms; the lease is ${leaseMs} ms`)
  // It was renewed a round ago at most, and that round may have been late.
  assert.ok(ms > leaseMs / 3, `${ms} ms`)
  for (let taken = 1; taken < perUser; taken++) await nodes.open(other, { sub: 'alice' })
  assert.equal(await nodes.tryOpen(other, { sub: 'alice' }), undefined)
  assert.deepEqual(await countsOf(nodes, 'alice'), [perUser])
  assert.equal(await nodes.tryOpen(other, { sub: 'bob' }), undefined)
  assert.equal(held.filter(({ isClosed }) => isClosed).length, 0)
})

test('N1: a node that was paused for longer than its lease counts again when it goes on', async (t) => {
  const nodes = await Nodes.start(t, 2, options)
  const [paused, other] = nodes.all as [Node, Node]
  const held = await fill(nodes, paused, 'alice')
  paused.signal('SIGSTOP')
  t.after(() => paused.child.ended === undefined && paused.signal('SIGCONT'))
  await untilAdmitted(nodes, other, 'alice')
  assert.deepEqual(await countsOf(nodes, 'alice'), [1])
  paused.signal('SIGCONT')
  await soon(async () =>
    assert.deepEqual(
      (await countsOf(nodes, 'alice')).sort((a, b) => a - b),
      [1, perUser]
    )
  )
  // Its connections are what they were, and nobody comes in beside them.
  assert.equal(held.filter(({ isClosed }) => isClosed).length, 0)
  assert.equal(await paused.ask('connections'), perUser)
  for (const node of nodes.all) assert.equal(await nodes.tryOpen(node, { sub: 'alice' }), undefined)
  for (const client of held.slice(0, 2)) client.close()
  await soon(async () => assert.notEqual(await nodes.tryOpen(other, { sub: 'alice' }), undefined))
  assert.equal(await nodes.tryOpen(other, { sub: 'alice' }), undefined)
})
