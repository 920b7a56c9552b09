/** A line to Redis that is as slow as a batch is short: budgets still serve, and admit no more than they may. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { redisStore } from '../../lib/redis.ts'
import { RedisServer } from '../support/redis.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { eventually } from '../support/wait.ts'

test('N1: a round trip above the life of a batch admits what the budget holds, and no more', async (t) => {
  const server = await RedisServer.startFor(t)
  const proxy = await TcpProxy.startFor(t, server.port)
  const client = server.client({ port: proxy.port })
  const store = redisStore(client, { commandTimeoutMs: 2_000 })
  await store.open({ onMessage() {}, onKick() {}, onState() {} })
  t.after(() => store.close())
  proxy.latencyMs = 150
  const rate = { perSecond: 0.001, burst: 6 }
  const admitted: boolean[] = []
  for (let count = 0; count < 10; count++) admitted.push(await store.takeUserBudget('alice', 1, rate))
  assert.deepEqual(admitted, [...Array(6).fill(true), ...Array(4).fill(false)])
  const others = await Promise.all(Array.from({ length: 10 }, () => store.takeUserBudget('bob', 1, rate)))
  assert.equal(others.filter(Boolean).length, 6)
  await eventually(() => assert.equal(store.sizes().userBudgets, 0))
})
