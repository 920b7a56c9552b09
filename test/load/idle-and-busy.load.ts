/**
 * Many idle connections beside some that talk all the time, as real users would be: authenticated, with a contract,
 * heartbeat and every limit at its default. Only the limits on what one address may have are raised, because all
 * clients here come from one.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Child } from './child.ts'
import type { Crowd, Traffic } from './idle-clients.ts'
import type { Left, Load, Size } from './idle-server.ts'
import type { Counts } from './leak-probe.ts'
import type { Percentiles, SecondsReport } from './stolen.ts'

const isFull = process.env.LOAD === 'full'
const idle = isFull ? 10_000 : 1_000
const busy = isFull ? 2_000 : 200
const perSecond = 5
/** Open, and have talked, before memory is measured. */
const first = 50
/** The long form lasts longer than the silence of 30 s after which an idle client is pinged. */
const talkMs = isFull ? 70_000 : 3_000
/** What may be repeated when the machine was busy with something else. */
const tries = 2
/** Seconds in which the machine was ours: latencies are those of so many at least. */
const minSecondsOurs = isFull ? 10 : 0
/** The short form runs beside whatever else a machine has to do. */
const maxDelayMs = isFull ? 50 : 500
const maxRoundTripMs = isFull ? 100 : 1_000
/** What one connection may cost the server, with its socket, its user and its token's claims. */
const maxHeapPerConnection = 12_000

/** What V8 compiles for so many is there when they are gone: 1 MB, give or take a half. What is kept of each is 4 MB. */
const compiledBytes = 2_000_000

interface Measured {
  readonly traffic: Traffic
  readonly load: Load
}

test(`R2, P5: ${idle} idle connections beside ${busy} that send ${perSecond} messages a second`, {
  timeout: 280_000
}, async (t) => {
  const server = await Child.startFor(t, 'idle-server.ts')
  const clients = await Child.startFor(t, 'idle-clients.ts')
  const port = await server.ask<number>('start')
  const atRest = await server.ask<Counts>('atRest')
  await clients.ask('openAll', { port, count: first })
  // What is compiled for the first messages is no memory of a connection.
  await clients.ask('talk', { busy: first, perSecond: 20, ms: 1_000 })
  const before = await server.ask<Size>('size')
  await clients.ask('openAll', { port, count: idle + busy - first }, 120_000)
  assert.equal(await server.ask('connections'), idle + busy)
  const open = await server.ask<Size>('size')
  tellSize(t, before, open)

  const { traffic, load } = await measure(t, server, clients)
  const after = await server.ask<Size>('size')
  t.diagnostic(`after the traffic: RSS ${megabytes(after.rssBytes)} MB, heap ${megabytes(after.heapBytes)} MB`)
  const crowd = await clients.ask<Crowd>('crowd')
  assert.deepEqual({ open: crowd.open, lost: crowd.lost }, { open: idle + busy, lost: 0 })
  t.diagnostic(`${crowd.pings} pings answered`)
  if (isFull) assert.ok(crowd.pings >= idle, 'every idle client was pinged')
  assert.ok(traffic.roundTrips.secondsOurs >= minSecondsOurs, 'too few seconds in which the machine was ours')
  const delay = judged(load.delays).p99
  assert.ok(delay < maxDelayMs, `event loop delay p99 ${delay} ms`)
  const roundTrip = judged(traffic.roundTrips).p99
  assert.ok(roundTrip < maxRoundTripMs, `round trip p99 ${roundTrip} ms`)

  await clients.ask('leave')
  const { sockets, stats, resources } = await server.ask<Left>('left')
  assert.equal(sockets, 0)
  for (const [name, size] of Object.entries(stats)) assert.equal(size, 0, name)
  assert.deepEqual(resources, atRest)
  const end = await server.ask<Size>('size')
  t.diagnostic(`everybody gone: RSS ${megabytes(end.rssBytes)} MB, heap ${megabytes(end.heapBytes)} MB`)
  assert.ok(end.heapBytes - before.heapBytes < 0.1 * (open.heapBytes - before.heapBytes) + compiledBytes)
  await server.ask('close')
  assert.equal(await server.hangUp(5_000), 0)
  assert.equal(await clients.hangUp(5_000), 0)
})

/** Nothing may be lost at any try; only the latencies may be those of another one. */
async function measure(t: TestContext, server: Child, clients: Child): Promise<Measured> {
  for (let left = tries; ; left--) {
    await server.ask('reset')
    const traffic = await clients.ask<Traffic>('talk', { busy, perSecond, ms: talkMs }, talkMs + 60_000)
    const load = await server.ask<Load>('load')
    const { sent, replied, unexpected, roundTrips } = traffic
    t.diagnostic(`${sent} messages: round trip ${inWords(roundTrips)}`)
    t.diagnostic(`loop delay ${inWords(load.delays)}; CPU ${load.cpuPercent} % of a core`)
    assert.deepEqual({ replied, unexpected }, { replied: sent, unexpected: [] })
    assert.equal(sent, (busy * perSecond * talkMs) / 1000)
    const isQuick = judged(load.delays).p99 < maxDelayMs && judged(roundTrips).p99 < maxRoundTripMs
    if ((isQuick && roundTrips.secondsOurs >= minSecondsOurs) || left === 1) return { traffic, load }
  }
}

/** The long form is judged by the seconds in which the machine was ours, the short one is too short to choose. */
function judged({ all, ours }: SecondsReport): Percentiles {
  return isFull ? ours : all
}

function inWords({ all, ours, seconds, secondsOurs }: SecondsReport): string {
  const words = ({ p50, p99, max }: Percentiles): string => `p50 ${p50} p99 ${p99} max ${max} ms`
  return `${words(all)}, in the ${secondsOurs} of ${seconds} s in which the machine was ours ${words(ours)}`
}

function tellSize(t: TestContext, before: Size, open: Size): void {
  const count = idle + busy - first
  const heap = Math.round((open.heapBytes - before.heapBytes) / count)
  const rss = Math.round((open.rssBytes - before.rssBytes) / count)
  t.diagnostic(`${idle + busy} connections: RSS ${rss}, heap and external ${heap} bytes each`)
  assert.ok(heap < maxHeapPerConnection, `${heap} bytes of heap for each connection`)
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6)
}
