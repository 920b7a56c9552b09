/** The messages of one user on all nodes: never more than the budget, and not much less. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { frame } from '../support/frames.ts'
import { isFull, Nodes, scriptsRun, soon } from './nodes.ts'

const perSecond = 200
const burst = 100
/** By so much longer may the budget of a time be used, because tokens are taken in batches. */
const batchSeconds = 0.25
const windowSeconds = [0.25, 0.5, 1, 2]
const floodMs = isFull ? 20_000 : 4_000
const connectionsPerNode = 2
const roundTripsPerMessage = 0.75
/** Of what the budget allows, so much is used at least. */
const usable = 0.85
const many = 10_000_000
/** The connections' own limits are no part of this. */
const limits = {
  userMessages: { perSecond, burst },
  messages: { perSecond: many, burst: many },
  bytes: { perSecond: many, burst: many },
  strikes: { max: many },
  connections: { perUser: 100 }
}
const hit = frame({ payload: '{"type":"hit"}', mask: Buffer.alloc(4) })
/** From each connection, so often: twenty times the budget. */
const stepMs = 10
const someHits = Buffer.concat(Array.from({ length: 5 }, () => hit))
/** Tokens that a node was too late for are lost: a machine that is busy with something else may make it so. */
const attempts = 3

/** The most that were admitted within any time of this length. */
function mostWithin(times: readonly number[], ms: number): number {
  let most = 0
  let first = 0
  for (const [last, time] of times.entries()) {
    while (time - (times[first] as number) > ms) first++
    most = Math.max(most, last - first + 1)
  }
  return most
}

/** From some connections on each node, as far as it reads them. */
async function flood(nodes: Nodes, sub: string, ms: number): Promise<void> {
  const opened = nodes.all.flatMap((node) =>
    Array.from({ length: connectionsPerNode }, () => nodes.open(node, { sub }))
  )
  const clients = await Promise.all(opened)
  const until = performance.now() + ms
  while (performance.now() < until) {
    for (const { socket } of clients) if (!socket.writableNeedDrain) socket.write(someHits)
    await delay(stepMs)
  }
  assert.ok(
    clients.every(({ isClosed }) => !isClosed),
    'a connection that floods within its own limits stays'
  )
  for (const client of clients) client.destroy()
}

/** @returns the part of the budget that was used, and the round trips for each message */
async function measure(t: TestContext, nodes: Nodes, sub: string): Promise<{ used: number; roundTrips: number }> {
  const before = await scriptsRun(nodes.redis)
  await flood(nodes, sub, floodMs)
  const scripts = (await scriptsRun(nodes.redis)) - before
  const byNode = await nodes.ask<number[]>('hits', { sub })
  const times = byNode.flat().sort((a, b) => a - b)
  const wholeMs = (times.at(-1) as number) - (times[0] as number)
  for (const seconds of [...windowSeconds, wholeMs / 1000]) {
    const most = mostWithin(times, 1000 * seconds)
    const allowed = burst + perSecond * (seconds + batchSeconds)
    t.diagnostic(`within ${seconds.toFixed(2)} s at most ${most} of ${Math.floor(allowed)}`)
    assert.ok(most <= allowed, `${most} within ${seconds} s`)
  }
  const used = times.length / (burst + (perSecond * wholeMs) / 1000)
  const roundTrips = scripts / times.length
  const counts = byNode.map(({ length }) => length).join(', ')
  t.diagnostic(`${Math.round(100 * used)} % used, by node ${counts}; ${roundTrips.toFixed(2)} round trips each`)
  return { used, roundTrips }
}

for (const onExceeded of ['error', 'delay'] as const) {
  test(`N1: a user who floods four nodes gets the budget of one (${onExceeded})`, async (t) => {
    const nodes = await Nodes.start(t, 4, { limits: { ...limits, messages: { ...limits.messages, onExceeded } } })
    let best = { used: 0, roundTrips: 0 }
    for (let attempt = 0; attempt < attempts && best.used < usable; attempt++) {
      best = await measure(t, nodes, `user-${attempt}`)
    }
    assert.ok(best.used >= usable, `${best.used} of the budget`)
    assert.ok(best.roundTrips <= roundTripsPerMessage, `${best.roundTrips} round trips for each message`)
  })
}

test('N1: a user below the budget loses no message', async (t) => {
  const nodes = await Nodes.start(t, 2, { limits })
  const errors: unknown[] = []
  const client = await nodes.open(nodes.at(0), { sub: 'alice', onMessage: (message) => errors.push(message) })
  // Half the rate, on a clock of its own: what a busy machine has delayed comes at once, within the burst.
  const startedAt = performance.now()
  let sent = 0
  while (performance.now() - startedAt < floodMs / 2) {
    const due = Math.min(Math.floor(((performance.now() - startedAt) / 1000) * (perSecond / 2)), sent + burst / 4)
    for (; sent < due; sent++) client.socket.write(hit)
    await delay(10)
  }
  await soon(async () => assert.equal((await nodes.ask<number[]>('hits', { sub: 'alice' })).flat().length, sent))
  assert.deepEqual(errors, [])
  assert.notEqual(sent, 0)
})
