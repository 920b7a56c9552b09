/** A replica that has not heard of the last orders has become the master. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RedisServer } from '../support/redis.ts'
import { soon, TestNode } from './harness.ts'

const parts = ['entries', 'seq', 'end', 'meta'].map((part) => `wsg:{o}:${part}`)
const before = (): object => ({ iat: Math.floor(Date.now() / 1000) - 60 })

async function statusOf(node: TestNode, sub: string): Promise<number> {
  await using ws = await node.try(sub, { claims: before() })
  return ws.statusCode
}

test('N3: orders that the new master never heard of are written again, and new ones are read', async (t) => {
  const redis = await RedisServer.startFor(t)
  const start = (): Promise<TestNode> => TestNode.start(t, redis.client({ lazyConnect: true }))
  const [node, other] = await Promise.all([start(), start()])
  await other.app.wsGuard.revoke({ sub: 'mallory' })
  for (const key of parts) await redis.ask('COPY', key, `copy of ${key}`)
  for (const sub of ['eve', 'trudy', 'oscar']) await other.app.wsGuard.revoke({ sub })
  await soon(async () => (await statusOf(node, 'oscar')) === 401)
  for (const key of parts) await redis.ask('COPY', `copy of ${key}`, key, 'REPLACE')
  await using ws = await node.open('walter', { claims: before() })
  await other.app.wsGuard.revoke({ sub: 'walter' })
  await soon(() => ws.socket.readyState === 3)
  await soon(async () => (await redis.ask('HLEN', 'wsg:{o}:entries')) === 5)
  const late = await start()
  await late.admits()
  for (const sub of ['mallory', 'eve', 'trudy', 'oscar', 'walter']) assert.equal(await statusOf(late, sub), 401, sub)
})
