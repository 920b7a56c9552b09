/** Threat R1 on the wire: handshakes from many addresses, as a proxy that is trusted names them. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { origin } from '../support/app.ts'
import { Target } from './harness.ts'

const many = { total: 1_000, perIp: 1_000, perUser: 1_000 }
/** So many knock at once. */
const batch = 20

/** Answers a handshake from each of these addresses, in order of their batches. */
async function statusesFrom(target: Target, addresses: readonly string[]): Promise<number[]> {
  const statuses: number[] = []
  for (let at = 0; at < addresses.length; at += batch) {
    const group = addresses.slice(at, at + batch)
    const knocks = group.map((address) => target.knock('/open', { Origin: origin, 'X-Forwarded-For': address }))
    statuses.push(...(await Promise.all(knocks)))
    target.hangUp()
  }
  return statuses
}

function countOf(statuses: readonly number[]): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const status of statuses) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

function start(t: TestContext, max: number, more: WsGuardOptions = {}): Promise<Target> {
  return Target.start(t, {
    server: { trustProxy: '127.0.0.1' },
    guard: { ...more, limits: { attempts: { max }, connections: many } },
    declare: (app) => app.wsRoute('/open', { auth: false, handler() {} })
  })
}

test('R1: a hundred /64s of one /48 have eight times the attempts of one, and no more', async (t) => {
  const target = await start(t, 12)
  const addresses = Array.from({ length: 100 }, (_, n) => `2001:db8:7:${n.toString(16)}::1`)
  assert.deepEqual(countOf(await statusesFrom(target, addresses)), { 101: 96, 429: 4 })
  assert.deepEqual(await statusesFrom(target, ['2001:db8:7:ffff::1', '2001:db8:8::1']), [429, 101])
})

test('R1: who was refused stays refused, whatever other addresses come, and the table does not grow', async (t) => {
  const maxKeys = 64
  const store = new MemoryStore({ maxKeys })
  const target = await start(t, 2, { store })
  const abuser = '203.0.113.66'
  assert.deepEqual(countOf(await statusesFrom(target, [abuser, abuser, abuser])), { 101: 2, 429: 1 })
  for (let round = 0; round < 5; round++) {
    const others = Array.from({ length: 60 }, (_, n) => `10.${round}.0.${n}`)
    assert.deepEqual(countOf(await statusesFrom(target, others)), { 101: 60 })
    assert.deepEqual(await statusesFrom(target, [abuser]), [429])
    const { attempts, punished } = store.sizes()
    assert.ok((attempts as number) <= maxKeys && punished === 1, JSON.stringify(store.sizes()))
  }
})

test('R1: an IPv4 address is the same client when it is mapped into IPv6', async (t) => {
  const target = await start(t, 2)
  const statuses: number[] = []
  for (const address of ['198.51.100.7', '::ffff:198.51.100.7', '::ffff:c633:6407', '198.51.100.8']) {
    statuses.push(...(await statusesFrom(target, [address])))
  }
  assert.deepEqual(statuses, [101, 101, 429, 101])
})
