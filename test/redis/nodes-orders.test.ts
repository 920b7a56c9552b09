/** What is revoked, blocked or disconnected on one node, and what becomes of it on the others. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { within } from '../support/wait.ts'
import { type Client, tokenOf } from './node-client.ts'
import { isFull, median, type Node, Nodes, soon } from './nodes.ts'

const rounds = isFull ? 100 : 15
const promisedMs = 1_000
const patienceMs = 10_000
const kicked = 4003
const leaseMs = 3_000
/** A node that was not told looks by itself every third of its lease. */
const lookMs = leaseMs / 3
const slackMs = 4_000
const short = { leaseMs, commandTimeoutMs: 1_500 }

/** One connection of the user on each of these nodes. */
function openOn(nodes: Nodes, some: readonly Node[], sub: string, token = tokenOf(sub)): Promise<Client[]> {
  return Promise.all(some.map((node) => nodes.open(node, { sub, token })))
}

/** @returns the ms until all were closed */
async function untilKicked(clients: readonly Client[], order: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await order()
  const closes = Promise.all(clients.map(({ closed }) => closed))
  const codes = await within(closes, { timeoutMs: patienceMs, what: 'the end of the connections' })
  assert.deepEqual(
    codes,
    clients.map(() => kicked)
  )
  return performance.now() - startedAt
}

async function refusedBy(nodes: Nodes, node: Node, sub: string, token: string): Promise<void> {
  assert.equal(await nodes.tryOpen(node, { sub, token }, 401), undefined)
}

test('N3: what one node revokes or disconnects, the others close within a second', async (t) => {
  const nodes = await Nodes.start(t, 4, {})
  const [first, ...others] = nodes.all as [Node, ...Node[]]
  const bystanders = await openOn(nodes, nodes.all, 'bystander')
  for (const order of ['revoke', 'disconnect']) {
    const times: number[] = []
    for (let round = 0; round < rounds; round++) {
      const sub = `${order}-${round}`
      const token = tokenOf(sub)
      const clients = await openOn(nodes, others, sub, token)
      times.push(await untilKicked(clients, () => first.ask(order, { sub })))
      if (order === 'revoke') for (const node of nodes.all) await refusedBy(nodes, node, sub, token)
      else await openOn(nodes, others, sub, token) // who comes back is not meant
    }
    t.diagnostic(
      `${order}: median ${median(times).toFixed(1)} ms, worst ${Math.max(...times).toFixed(1)} ms of ${rounds}`
    )
    assert.ok(median(times) < promisedMs, `${order}: ${times}`)
  }
  assert.equal(bystanders.filter(({ isClosed }) => isClosed).length, 0)
})

test('N3: a node that no message reaches closes what was revoked at its next look', async (t) => {
  const made: TcpProxy[] = []
  const nodes = await Nodes.start(t, 2, (redis) => ({
    store: short,
    redisPort: async (index) => {
      if (index !== 1) return redis.port
      const proxy = await TcpProxy.startFor(t, redis.port)
      made.push(proxy)
      return proxy.port
    }
  }))
  const [first, deaf] = nodes.all as [Node, Node]
  let dropped = 0
  const [proxy] = made as [TcpProxy]
  proxy.drop = (chunk, direction) => {
    const isNews = direction === 'down' && chunk.includes('\r\nmessage\r\n')
    if (isNews) dropped++
    return isNews
  }
  for (const order of ['revoke', 'disconnect', 'block']) {
    const seen = dropped
    const token = tokenOf(order)
    const clients = await openOn(nodes, [deaf, deaf], order, token)
    const ms = await untilKicked(clients, () => first.ask(order, { sub: order }))
    t.diagnostic(`${order}: ${Math.round(ms)} ms without a message; it looks every ${lookMs} ms`)
    assert.ok(dropped > seen, 'no message was swallowed')
    assert.ok(ms < lookMs + slackMs, `${ms} ms`)
    if (order === 'revoke') await refusedBy(nodes, deaf, order, token)
  }
})

test('N3: a node that starts later refuses what was revoked and blocked before', async (t) => {
  const nodes = await Nodes.start(t, 1, {})
  const [first] = nodes.all as [Node]
  const tokens = { alice: tokenOf('alice'), bob: tokenOf('bob'), carol: tokenOf('carol') }
  await first.ask('revoke', { sub: 'alice' })
  await first.ask('block', { sub: 'bob' })
  const late = await nodes.add()
  await refusedBy(nodes, late, 'alice', tokens.alice)
  await assert.rejects(nodes.open(late, { sub: 'bob', token: tokens.bob }), /^Error: HTTP\/1\.1 40[13] /)
  await nodes.open(late, { sub: 'carol', token: tokens.carol })
})

test('N3: a user is blocked, and let in again, on all nodes', async (t) => {
  const nodes = await Nodes.start(t, 3, {})
  const [first, second, third] = nodes.all as [Node, Node, Node]
  const token = tokenOf('alice')
  await untilKicked(await openOn(nodes, [second, third], 'alice', token), () => first.ask('block', { sub: 'alice' }))
  for (const node of nodes.all) {
    await assert.rejects(nodes.open(node, { sub: 'alice', token }), /^Error: HTTP\/1\.1 40[13] /)
  }
  await second.ask('unblock', { sub: 'alice' })
  for (const node of nodes.all) await soon(() => nodes.open(node, { sub: 'alice', token }), patienceMs)
})
