/** What nodes ask of Redis: so much for a handshake, and nothing for a connection that is idle. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Client } from './node-client.ts'
import { Nodes, scriptsRun, sentCommands, soon } from './nodes.ts'

/** One attempt, a slot of the address, a slot of the user. */
const perHandshake = 3
/** The two slots, given back; those of one address that come back at the same time are written once. */
const perEnd = 2
const handshakes = 200
const lanes = 20
const idle = 1_000
const idleMs = 3_000
/** What a round sends: the lease, what is new, and whether the subscriber answers. */
const perRound = 3
const leaseMs = 3_000

/** One after the other on each lane, each for a user of its own. */
async function openMany(nodes: Nodes, count: number, name: string): Promise<Client[]> {
  const clients: Client[] = []
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < count) {
      const index = next++
      clients.push(await nodes.open(nodes.at(index), { sub: `${name}-${index}` }))
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  return clients
}

/** Until everything that came back is written: slots that nobody holds have no key. */
async function closeAll(nodes: Nodes, clients: readonly Client[], keysLeft: number): Promise<void> {
  for (const client of clients) client.close()
  await soon(async () => {
    const keys = await nodes.redis.keys()
    assert.equal(keys.filter((key) => key.startsWith('wsg:s:')).length, keysLeft)
  })
}

/** @returns the scripts that `handshakes` handshakes ran, and then their ends */
async function measure(
  nodes: Nodes,
  name: string,
  held: number
): Promise<{ opened: number; closed: number; inner: number }> {
  const before = await scriptsRun(nodes.redis)
  const processed = await nodes.redis.commandsProcessed()
  const clients = await openMany(nodes, handshakes, name)
  const opened = (await scriptsRun(nodes.redis)) - before
  const inner = (await nodes.redis.commandsProcessed()) - processed
  await closeAll(nodes, clients, held)
  return { opened, closed: (await scriptsRun(nodes.redis)) - before - opened, inner }
}

test('N1: a handshake asks Redis three times, on however many nodes and beside however many others', async (t) => {
  for (const count of [2, 4]) {
    // No round comes in between.
    const nodes = await Nodes.start(t, count, { store: { leaseMs: 600_000 } })
    await closeAll(nodes, await openMany(nodes, 2 * count, 'first'), 0) // Redis has the scripts from then on
    for (const beside of [0, 300]) {
      await openMany(nodes, beside, 'beside')
      const { opened, closed, inner } = await measure(nodes, 'counted', beside === 0 ? 0 : beside + 1)
      t.diagnostic(
        `${count} nodes, ${beside} open: ${opened / handshakes} scripts for a handshake, ${closed / handshakes} for its end; ` +
          `${inner / handshakes} commands for a handshake as Redis counts them`
      )
      assert.equal(opened, perHandshake * handshakes)
      assert.ok(closed <= perEnd * handshakes, `${closed} for the ends`)
    }
  }
})

test(`N1: ${idle} idle connections ask Redis nothing`, async (t) => {
  const count = 2
  const nodes = await Nodes.start(t, count, { store: { leaseMs, commandTimeoutMs: 1_500 } })
  await openMany(nodes, idle, 'idle')
  const before = await sentCommands(nodes.redis)
  const startedAt = performance.now()
  await delay(idleMs)
  const after = await sentCommands(nodes.redis)
  const rounds = count * (Math.floor((performance.now() - startedAt) / (leaseMs / 3)) + 1)
  const sent = Object.fromEntries(Object.entries(after).map(([name, calls]) => [name, calls - (before[name] ?? 0)]))
  const all = Object.values(sent).reduce((sum, calls) => sum + calls, 0)
  t.diagnostic(`${all} commands in ${rounds} rounds at most: ${JSON.stringify(sent)}`)
  assert.ok(all > 0, 'the rounds go on')
  assert.ok(all <= perRound * rounds, `${all} commands in ${rounds} rounds`)
})
