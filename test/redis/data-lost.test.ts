/** Redis has lost its data: the nodes have theirs, and write it again. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { RedisServer } from '../support/redis.ts'
import { hears, quickStore, type Socket, soon, TestNode } from './harness.ts'

const perUser = 3
const losses = [
  { name: 'was restarted empty', lose: (redis: RedisServer): Promise<unknown> => redis.restart() },
  { name: 'was flushed', lose: (redis: RedisServer): Promise<unknown> => redis.ask('FLUSHALL') }
]
const before = (): object => ({ iat: Math.floor(Date.now() / 1000) - 60 })

function startNode(t: TestContext, redis: RedisServer): Promise<TestNode> {
  return TestNode.start(t, redis.client({ lazyConnect: true }), { guard: { limits: { connections: { perUser } } } })
}

async function statusOf(node: TestNode, sub: string): Promise<number> {
  await using ws = await node.try(sub, { claims: before() })
  return ws.statusCode
}

/** A lease later every node that is there has done its part. */
async function healed(redis: RedisServer, slotKeys: number): Promise<void> {
  await soon(async () => {
    const keys = await redis.keys()
    const held = keys.filter((key) => key.startsWith('wsg:s:')).length
    return keys.includes('wsg:n') && keys.includes('wsg:{o}:entries') && held >= slotKeys
  })
}

for (const { name, lose } of losses) {
  test(`N1: Redis ${name}: slots are counted again within a lease`, async (t) => {
    const redis = await RedisServer.startFor(t)
    const [node, other] = (await Promise.all([startNode(t, redis), startNode(t, redis)])) as [TestNode, TestNode]
    const held: Socket[] = []
    for (let index = 0; index < perUser; index++) held.push(await node.open('alice', { ip: '203.0.113.1' }))
    assert.equal(await statusOf(other, 'alice'), 429)
    await lose(redis)
    const lostAt = performance.now()
    await soon(async () => (await redis.keys()).filter((key) => key.startsWith('wsg:s:')).length >= 2)
    const tookMs = performance.now() - lostAt
    // With patience for a busy machine, and for a connection that has to be made again.
    assert.ok(tookMs < 5 * (quickStore.leaseMs as number), `it took ${tookMs} ms`)
    await other.admits()
    assert.equal(await statusOf(other, 'alice'), 429)
    for (const ws of held) ws.close()
    await soon(async () => (await statusOf(other, 'alice')) === 101)
  })

  test(`N3: Redis ${name}: revocations, blocks and an unblock hold on every node, and on one that joins`, async (t) => {
    const redis = await RedisServer.startFor(t)
    const [node, other] = (await Promise.all([startNode(t, redis), startNode(t, redis)])) as [TestNode, TestNode]
    const untilMs = Date.now() + 600_000
    await node.app.wsGuard.revoke({ sub: 'mallory' })
    await other.app.wsGuard.block({ sub: 'trudy' }, { untilMs })
    await node.app.wsGuard.block({ sub: 'pardoned' }, { untilMs })
    await soon(async () => (await statusOf(other, 'pardoned')) === 401)
    await other.app.wsGuard.unblock({ sub: 'pardoned' })
    await soon(async () => (await statusOf(node, 'pardoned')) === 101)
    const orders = await redis.ask('HLEN', 'wsg:{o}:entries')
    assert.equal(orders, 3)
    await lose(redis)
    await healed(redis, 0)
    await soon(async () => (await redis.ask('HLEN', 'wsg:{o}:entries')) === orders)
    const late = await startNode(t, redis)
    for (const anywhere of [node, other, late]) {
      await anywhere.admits()
      for (const sub of ['mallory', 'trudy']) assert.equal(await statusOf(anywhere, sub), 401)
      assert.equal(await statusOf(anywhere, 'pardoned'), 101)
    }
  })

  test(`N3: Redis ${name}: who came in after a disconnect stays in`, async (t) => {
    const redis = await RedisServer.startFor(t)
    const [node, other] = (await Promise.all([startNode(t, redis), startNode(t, redis)])) as [TestNode, TestNode]
    await using first = await other.open('alice')
    await node.app.wsGuard.disconnect({ sub: 'alice' })
    assert.equal((await first.closed).code, 4003)
    await using here = await node.open('alice')
    await using there = await other.open('alice')
    await lose(redis)
    await healed(redis, 1)
    await Promise.all([node.admits(), other.admits()])
    await node.app.wsGuard.revoke({ sub: 'somebody else' })
    for (const ws of [here, there]) assert.equal(ws.socket.readyState, 1)
  })

  test(`N3: Redis ${name}: what is revoked afterwards is read, however long the lost log was`, async (t) => {
    const redis = await RedisServer.startFor(t)
    const [node, other] = (await Promise.all([startNode(t, redis), startNode(t, redis)])) as [TestNode, TestNode]
    const now = Date.now()
    for (let at = 1; at <= 10; at++) await other.app.wsGuard.revoke({ sub: 'mallory' }, { issuedBefore: now + at })
    await soon(async () => (await statusOf(node, 'mallory')) === 401)
    await lose(redis)
    await healed(redis, 0)
    await Promise.all([node.admits(), other.admits()])
    await using ws = await node.open('trudy', { claims: before() })
    await other.app.wsGuard.revoke({ sub: 'trudy' })
    await soon(() => ws.socket.readyState === 3)
    assert.equal(await statusOf(node, 'trudy'), 401)
  })

  test(`N2: Redis ${name}: subscriptions live`, async (t) => {
    const redis = await RedisServer.startFor(t)
    const [node, other] = (await Promise.all([startNode(t, redis), startNode(t, redis)])) as [TestNode, TestNode]
    await using alice = await node.open('alice')
    await node.join(alice, 'hall')
    await lose(redis)
    await hears(alice, other, 'hall')
    await node.admits()
    assert.equal(await node.join(alice, 'yard'), 'true')
    await hears(alice, other, 'yard')
  })
}
