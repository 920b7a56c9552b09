/** Messages that cross nodes: each once, in order, and none before who has subscribed can hear it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Child } from '../load/child.ts'
import { isFull, type Node, Nodes, soon } from './nodes.ts'
import type { Heard } from './topic-clients.ts'

const messages = isFull ? 100_000 : 20_000
const topics = ['even', 'odd']
/** Of each node to each topic, before the subscribers are asked whether they have it all: 70 kB, well below what may wait. */
const perTurn = 250
const subscribersPerNode = 4
/** For who does not read: more than the system keeps for a socket. */
const large = { textLength: 16_000, perTurn: 4, count: 1_600 }
const crowd = 1_000
const crowdMessages = isFull ? 1_000 : 100
const many = 10_000_000
const limits = { messages: { perSecond: many, burst: many } }
const patienceMs = 60_000

interface Plan {
  readonly topics: readonly string[]
  readonly perTurn: number
  readonly count: number
  readonly textLength: number
}

/**
 * From each node, to each topic. No more than what one turn publishes is on its way to a subscriber: the next turn
 * begins when all of them have heard the last one, so that no buffer of theirs is ever above the soft bound.
 * @returns how many each subscriber was sent
 */
async function publishAll(nodes: Nodes, clients: Child, { count, perTurn, ...plan }: Plan): Promise<number> {
  const perNumber = nodes.all.length * plan.topics.length
  const numbers = Math.ceil(count / perNumber)
  let done = 0
  while (done < numbers) {
    const publication = { ...plan, first: done + 1, count: Math.min(perTurn, numbers - done) }
    await Promise.all(nodes.all.map((node, from) => node.ask('publish', { ...publication, from })))
    done += publication.count
    await clients.ask('untilHeard', { each: done * perNumber, ms: 10_000 })
    if ((await clients.ask<Heard>('healthy')).lost > 0) break
  }
  return numbers * perNumber
}

test(`N3: of ${messages} messages from two nodes none is lost, twice or out of order`, async (t) => {
  const nodes = await Nodes.start(t, 2, { limits })
  const clients = await nodes.crowd()
  const ports = nodes.all.map(({ port }) => port)
  await clients.ask('open', { ports, count: subscribersPerNode, topics })
  const startedAt = performance.now()
  const sent = await publishAll(nodes, clients, { topics, perTurn, count: messages, textLength: 0 })
  const seconds = (performance.now() - startedAt) / 1000
  const { received, lost, disordered, closed } = await clients.ask<Heard>('healthy')
  t.diagnostic(`${sent} messages to ${received.length} subscribers in ${seconds.toFixed(1)} s`)
  assert.deepEqual({ lost, disordered, closed }, { lost: 0, disordered: 0, closed: 0 })
  assert.deepEqual(
    received,
    received.map(() => sent)
  )
  for (const stats of await nodes.ask<Record<string, number>>('stats')) assert.equal(stats['store.unpublished'], 0)
})

test('N3: a subscriber that does not read is left out, and the others hear everything', async (t) => {
  const nodes = await Nodes.start(t, 2, { limits })
  const clients = await nodes.crowd()
  const ports = nodes.all.map(({ port }) => port)
  await clients.ask('open', { ports, count: 2, topics: ['large'] })
  await clients.ask('openSilent', { ports, count: 1, topics: ['large'] })
  const sent = await publishAll(nodes, clients, { ...large, topics: ['large'] })
  const { received, lost, disordered, closed } = await clients.ask<Heard>('healthy')
  assert.deepEqual({ lost, disordered, closed }, { lost: 0, disordered: 0, closed: 0 })
  assert.deepEqual(
    received,
    received.map(() => sent)
  )
  // What the nodes hold for those who do not read is within the bounds.
  for (const { bufferedBytes = 0 } of await nodes.ask<Record<string, number>>('stats')) {
    assert.ok(bufferedBytes > 0 && bufferedBytes < 1_048_576, `${bufferedBytes} bytes wait`)
  }
})

test('N3: a snapshot taken once a subscription is live, and what comes after it, miss nothing', async (t) => {
  const nodes = await Nodes.start(t, 2, { limits })
  const [publisher] = nodes.all as [Node]
  const names = Array.from({ length: 30 }, (_, index) => `topic-${index}`)
  await publisher.ask('startStream', { topics: names })
  const joined = await Promise.all(
    names.map(async (topic, index) => {
      await delay(index * 20)
      const heard: number[] = []
      let snapshot = Number.NaN
      const onMessage = (message: Record<string, unknown>): void => {
        if (message.type === 'reply') snapshot = (message.data as { snapshot: number }).snapshot
        else heard.push(message.n as number)
      }
      const client = await nodes.open(nodes.at(index), { sub: topic, onMessage })
      client.send({ type: 'join', topic, ref: 1 })
      await soon(async () => assert.ok(snapshot >= 0, `no answer for ${topic}`))
      return { topic, heard, snapshot }
    })
  )
  const seen = Math.max(...joined.map(({ snapshot }) => snapshot))
  await soon(async () => assert.equal(joined.filter(({ heard }) => (heard.at(-1) ?? 0) <= seen).length, 0), patienceMs)
  const last = await publisher.ask<number>('endStream')
  for (const { topic, heard, snapshot } of joined) {
    await soon(async () => assert.equal(heard.at(-1), last, topic))
    assert.ok(snapshot > 0 && (heard[0] as number) <= snapshot + 1, `${topic}: ${heard[0]} after ${snapshot}`)
    const gap = heard.findIndex((n, index) => n !== (heard[0] as number) + index)
    assert.equal(gap, -1, `${topic}: ${heard.slice(Math.max(gap - 2, 0), gap + 3)}`)
  }
})

test(`N3: ${crowd} subscribers hear what their own node publishes, and what another one does`, async (t) => {
  const nodes = await Nodes.start(t, 2, { limits })
  const clients = await nodes.crowd()
  const [near, far] = nodes.all as [Node, Node]
  await clients.ask('open', { ports: [near.port], count: crowd, topics: ['crowd'] }, patienceMs)
  await clients.ask('countBytes')
  const frameBytes = 2 + JSON.stringify({ type: 'news', topic: 'crowd', from: 0, n: 111, text: '' }).length
  let sent = 0
  for (const [name, node] of [
    ['their own node', near],
    ['another node', far]
  ] as const) {
    const startedAt = performance.now()
    // Numbers of as many digits, so that each message has the same length.
    for (let done = 0; done < crowdMessages; done += 10) {
      await node.ask('publish', { topics: ['crowd'], from: 0, first: 111, count: 10, textLength: 0 })
      sent += 10
      await clients.ask('untilBytes', { each: sent * frameBytes }, 2 * patienceMs)
    }
    const seconds = (performance.now() - startedAt) / 1000
    t.diagnostic(
      `${name}: ${Math.round((crowd * crowdMessages) / seconds)} deliveries a second to ${crowd} subscribers`
    )
    assert.deepEqual(new Set(await clients.ask<number[]>('bytes')), new Set([sent * frameBytes]))
  }
})
