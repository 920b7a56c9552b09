/** Redis under Sentinels: the master dies, another one takes its place. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RedisSentinels } from '../support/redis.ts'
import { hears, news, type Socket, soon, TestNode } from './harness.ts'

const perUser = 3
const before = (): object => ({ iat: Math.floor(Date.now() / 1000) - 60 })

async function statusOf(node: TestNode, sub: string): Promise<number> {
  await using ws = await node.try(sub, { claims: before() })
  return ws.statusCode
}

test('N2: after a failover of Sentinels all goes on with the new master', { timeout: 90_000 }, async (t) => {
  const sentinels = await RedisSentinels.startFor(t)
  const start = (): Promise<TestNode> =>
    TestNode.start(t, sentinels.client({ lazyConnect: true }), {
      store: { commandTimeoutMs: 250, leaseMs: 900 },
      guard: { limits: { connections: { perUser } } }
    })
  const [node, other] = await Promise.all([start(), start()])
  await Promise.all([node.admits(), other.admits()])
  const held: Socket[] = []
  for (let index = 0; index < perUser; index++) held.push(await (index === 0 ? node : other).open('alice'))
  const [alice] = held as [Socket]
  await node.join(alice, 'hall')
  other.publish('hall', 'hello')
  assert.equal(await news(alice), 'hello')
  await node.app.wsGuard.revoke({ sub: 'mallory' })
  node.log.clear()

  await sentinels.master.kill()
  await soon(() => node.states.at(-1) === 'down')
  assert.equal(await statusOf(node, 'bob'), 503)
  await assert.rejects(node.app.wsGuard.revoke({ sub: 'trudy' }), { code: 'WSG_ERR_STORE_DOWN' })
  await sentinels.failedOver()
  await Promise.all([node.admits(), other.admits()])
  // What the old master knew, what it never heard of, and who is in.
  for (const anywhere of [node, other]) {
    assert.equal(await statusOf(anywhere, 'mallory'), 401)
    await soon(async () => (await statusOf(anywhere, 'trudy')) === 401)
    await soon(async () => (await statusOf(anywhere, 'alice')) === 429)
  }
  await hears(alice, other, 'hall')
  const { ticket } = await node.ticketFor('bob')
  assert.equal(await other.tryTicket(ticket), 101)
  assert.ok((await sentinels.replica.keys()).includes('wsg:n'))
})
