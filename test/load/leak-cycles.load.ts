/**
 * Thousands of connections that end in every way there is. After each round the server holds what it held before the
 * first: sockets, timers, listeners, entries of every table, objects, memory. Memory is judged by its slope as well.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { closeCauses } from '../../lib/close-codes.ts'
import { refusalReasons } from '../../lib/handshake/refusal.ts'
import { Child } from './child.ts'
import { openEverything } from './cycles-open.ts'
import type { Ports } from './cycles-peer.ts'
import { Rounds } from './cycles-rounds.ts'
import type { Held } from './cycles-server.ts'
import type { Counts } from './leak-probe.ts'

const isFull = process.env.LOAD === 'full'
const cycles = isFull ? 20_000 : 1_000
/** Of equal size, after a short one that is only there to warm up. */
const rounds = isFull ? 8 : 2
const warmUps = 2
/** Memory after a round against memory before the first: what node and V8 themselves keep moves by less. */
const slackBytes = 5_000_000
/** From the middle round to the last of the long form. A connection that is kept costs 8,000, an entry a hundred. */
const slackBytesPerCycle = 50
/** `shutdown.timeoutMs` of the apps, and the second that they may take beyond it; here for a busy machine as well. */
const shutdownMs = 1_000 + 1_000
/** Node and V8 keep the last of some objects: as many after a thousand requests as after one. */
const keptByNode = 4

interface Judged {
  readonly held: Held
  readonly connections: number
  readonly filling: number
}

test(`L1: ${cycles} connections that end in every way leave nothing behind`, { timeout: 280_000 }, async (t) => {
  const program = await Child.startFor(t, 'cycles-server.ts')
  const ports = await program.ask<Ports>('start')
  const atRest = await program.ask<Counts>('atRest')
  const harness = new Rounds(ports, () => program.ask('settle'))
  const seen = new Set<string>()

  const round = async (times: number): Promise<Judged> => {
    const { connections, filling, expected } = await harness.run(times)
    const held = await program.ask<Held>('measure')
    assert.deepEqual(held.events, expected)
    for (const event of Object.keys(expected)) seen.add(event)
    return { held, connections, filling }
  }

  const first = await round(warmUps)
  assertNothingLeft(first.held, atRest, first.held.listeners)
  const each = (first.connections - first.filling) / warmUps
  const times = Math.ceil((cycles / rounds - first.filling) / each)
  const judged = [first]
  for (let at = 0; at < rounds; at++) {
    const next = await round(times)
    assertNothingLeft(next.held, atRest, first.held.listeners)
    judged.push(next)
  }
  assert.ok(judged.slice(1).reduce((sum, { connections }) => sum + connections, 0) >= cycles)
  assertMemory(t, judged)

  await assertShutdown(program, harness)
  for (const event of everyEvent) assert.ok(seen.has(event), `${event} was not among the ways`)
  assert.equal(await program.hangUp(5_000), 0)
})

/** All but those of a shutdown. */
const everyEvent: readonly string[] = [
  ...Object.keys(closeCauses).map((cause) => `close ${cause}`),
  ...Object.keys(refusalReasons).map((reason) => `refused ${reason}`)
].filter((event) => event !== 'close restart' && event !== 'refused draining')

function assertNothingLeft(held: Held, resources: Counts, listeners: Counts): void {
  const { sockets, clients, stats, alive } = held
  assert.deepEqual({ sockets, clients, stats }, { sockets: 0, clients: 0, stats: {} })
  for (const [what, count] of Object.entries(alive)) assert.ok(count <= keptByNode, `${count} of ${what} are left`)
  assert.deepEqual(held.resources, resources)
  assert.deepEqual(held.listeners, listeners)
}

function assertMemory(t: TestContext, judged: readonly Judged[]): void {
  const sizes = judged.map(({ held }) => held.heapBytes)
  t.diagnostic(`heap and external memory by round, in kB: ${sizes.map((size) => Math.round(size / 1000)).join(' ')}`)
  const [first = 0] = sizes
  for (const size of sizes) assert.ok(size - first < slackBytes, `${size - first} bytes more than before`)
  const middle = judged.length >> 1
  const later = judged.slice(middle + 1).reduce((sum, { connections }) => sum + connections, 0)
  const slope = ((sizes.at(-1) as number) - (sizes[middle] as number)) / later
  t.diagnostic(`${slope.toFixed(1)} bytes per connection over the last ${later}`)
  // The short form has not warmed up: it has the tables, the objects and the slack above.
  if (isFull) assert.ok(slope < slackBytesPerCycle, `${slope} bytes are left of every connection`)
}

/** Every kind of connection is open: `close()` ends them in time, and what is left keeps no process alive. */
async function assertShutdown(program: Child, rounds: Rounds): Promise<void> {
  const destroy = await openEverything(rounds)
  const tookMs = await program.ask<number>('close')
  assert.ok(tookMs < shutdownMs, `close() took ${tookMs} ms`)
  const { sockets, clients, resources, alive } = await program.ask<Held>('measure')
  assert.deepEqual({ sockets, clients }, { sockets: 0, clients: 0 })
  for (const name of ['TCPSocketWrap', 'TCPServerWrap', 'Timeout']) assert.equal(resources[name], undefined, name)
  assert.ok((alive.connection ?? 0) <= keptByNode, `${alive.connection} connections are left`)
  destroy()
}
