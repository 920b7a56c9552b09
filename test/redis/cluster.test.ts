/** A Redis Cluster: keys on several servers, one of which may be gone. */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { Cluster } from 'ioredis'
import { Cluster as Cluster5 } from 'ioredis-5'
import { RedisCluster, type RedisServer } from '../support/redis.ts'
import { hears, news, rights, type Socket, soon, TestNode } from './harness.ts'

const perUser = 3
/** Of a node that tries to reach a Cluster; one that does not pause makes thousands. */
const attemptsPerSecond = 100
const before = (): object => ({ iat: Math.floor(Date.now() / 1000) - 60 })

async function startNodes(t: TestContext, cluster: RedisCluster): Promise<[TestNode, TestNode]> {
  const start = (): Promise<TestNode> =>
    TestNode.start(t, cluster.client({ lazyConnect: true }), {
      store: { commandTimeoutMs: 250, leaseMs: 900 },
      guard: { limits: { connections: { perUser }, userMessages: { perSecond: 100, burst: 100 } } }
    })
  const nodes = await Promise.all([start(), start()])
  await Promise.all(nodes.map((node) => node.admits()))
  return nodes
}

async function statusOf(node: TestNode, sub: string): Promise<number> {
  await using ws = await node.try(sub, { claims: before() })
  return ws.statusCode
}

/** The server that a key is on. */
async function serverOf({ nodes }: RedisCluster, key: string): Promise<RedisServer> {
  const holders = await Promise.all(nodes.map(async (server) => (await server.keys()).includes(key)))
  return nodes[holders.indexOf(true)] as RedisServer
}

/** A server by which a node hears what is published. */
async function hearingServer({ nodes }: RedisCluster): Promise<RedisServer> {
  const counts = await Promise.all(nodes.map((server) => server.ask('PUBSUB', 'NUMSUB', 'wsg:o')))
  return nodes[counts.findIndex((count) => Number((count as unknown[])[1]) > 0)] as RedisServer
}

async function worksAcross(node: TestNode, other: TestNode, alice: Socket, name: string): Promise<void> {
  const { ticket } = await node.ticketFor(name)
  assert.equal(await other.tryTicket(ticket), 101)
  assert.equal(await node.tryTicket(ticket), 401)
  await hears(alice, other, 'hall')
  await using ws = await other.open(name, { claims: before() })
  await node.app.wsGuard.revoke({ sub: name })
  assert.equal((await ws.closed).code, 4003)
  for (const anywhere of [node, other]) assert.equal(await statusOf(anywhere, name), 401)
}

test('N1: on a Redis Cluster all works across nodes, also when one of its servers was gone', {
  timeout: 90_000
}, async (t) => {
  const cluster = await RedisCluster.startFor(t)
  const [node, other] = await startNodes(t, cluster)
  const held: Socket[] = []
  for (let index = 0; index < perUser; index++) held.push(await (index === 0 ? node : other).open('alice'))
  for (const anywhere of [node, other]) assert.equal(await statusOf(anywhere, 'alice'), 429)
  const [alice] = held as [Socket]
  assert.equal(await node.join(alice, 'hall'), 'true')
  other.publish('hall', 'hello')
  assert.equal(await news(alice), 'hello')
  await worksAcross(node, other, alice, 'mallory')
  const keys = await cluster.keys()
  const counts = await Promise.all(cluster.nodes.map(async (server) => (await server.keys()).length))
  assert.ok(keys.length > 6 && counts.filter((count) => count > 0).length > 1, `${counts}`)

  const leaseServer = await serverOf(cluster, 'wsg:n')
  leaseServer.freeze()
  await soon(async () => (await statusOf(node, 'bob')) === 503)
  const startedAt = performance.now()
  assert.equal(await statusOf(node, 'bob'), 503)
  assert.ok(performance.now() - startedAt < 500)
  assert.equal(alice.socket.readyState, 1)
  leaseServer.thaw()
  await Promise.all([node.admits(), other.admits()])
  await soon(async () => (await statusOf(other, 'alice')) === 429)
  await worksAcross(node, other, alice, 'trudy')
  assert.deepEqual([await statusOf(node, 'mallory'), await statusOf(other, 'mallory')], [401, 401])
})

test('N2: on a Redis Cluster subscriptions outlive the server by which they came', { timeout: 90_000 }, async (t) => {
  const cluster = await RedisCluster.startFor(t)
  const [node, other] = await startNodes(t, cluster)
  await using alice = await node.open('alice')
  await using bob = await other.open('bob')
  await node.join(alice, 'hall')
  await other.join(bob, 'hall')
  for (let round = 0; round < 1; round++) {
    const server = await hearingServer(cluster)
    await server.kill()
    await soon(() => node.states.at(-1) === 'down' || other.states.at(-1) === 'down')
    await server.restart()
    await Promise.all([node.admits(), other.admits()])
    await hears(alice, other, 'hall')
    await hears(bob, node, 'hall')
  }
})

test('N2: a Redis Cluster that is gone as a whole is not asked without a pause', { timeout: 90_000 }, async (t) => {
  const cluster = await RedisCluster.startFor(t)
  const node = await TestNode.start(t, cluster.client({ lazyConnect: true }), {
    store: { commandTimeoutMs: 100, leaseMs: 600 }
  })
  await node.admits()
  await Promise.all(cluster.nodes.map((server) => server.kill()))
  let attempts = 0
  for (const { port } of cluster.nodes) {
    const server = createServer((socket) => {
      attempts++
      socket.destroy()
    })
    t.after(() => server.close())
    server.listen(port, '127.0.0.1')
  }
  await soon(async () => {
    const before = attempts
    await pause(1_000)
    return attempts > before && attempts - before < attemptsPerSecond
  })
  await node.app.close()
})

/** A command may be the first to one of the servers. */
const patient = { store: { commandTimeoutMs: 2_000, leaseMs: 6_000 } }

/** Beside those that any Redis needs. */
const clusterRights = ['+cluster|slots', '+cluster|info']

for (const [version, Client] of [
  ['5', Cluster5],
  ['6', Cluster]
] as const) {
  test(`N5: a Redis Cluster is used as the user that ioredis ${version} was told`, { timeout: 90_000 }, async (t) => {
    const cluster = await RedisCluster.startFor(t)
    for (const server of cluster.nodes) {
      await server.ask('ACL', 'SETUSER', 'ws-guard', 'on', '>a password', ...rights, ...clusterRights)
      await server.ask('ACL', 'SETUSER', 'default', '-evalsha', '-eval', '-publish', '-subscribe')
    }
    const client = new Client(
      cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port })),
      { lazyConnect: true, redisOptions: { username: 'ws-guard', password: 'a password' } }
    )
    t.after(() => client.disconnect())
    const [node, other] = await Promise.all([TestNode.start(t, client, patient), TestNode.start(t, client, patient)])
    await Promise.all([node.admits(), other.admits()])
    await using alice = await node.open('alice')
    await node.join(alice, 'hall')
    await worksAcross(node, other, alice, 'mallory')
    for (const server of cluster.nodes) {
      const denied = ((await server.ask('ACL', 'LOG')) as unknown[][]).map((entry) => String(entry[7]))
      assert.deepEqual(
        denied.filter((command) => !command.startsWith('client|')),
        []
      )
    }
  })
}
