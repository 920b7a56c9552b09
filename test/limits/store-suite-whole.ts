/** What a node does with a store as a whole: talk to other nodes, look at its sizes, leave. */
import assert from 'node:assert/strict'
import type { Store } from '../../lib/limits/store.ts'
import { eventually } from '../support/wait.ts'
import type { StoreTest } from './store-suite.ts'

const patient = { timeoutMs: 10_000 }
const tables = ['attempts', 'punished', 'slots', 'userBudgets', 'tickets', 'revocations', 'blocks']

export function testWhole(storeTest: StoreTest): void {
  storeTest('N3: a node is not told what it has done itself', async ({ store, told, wall }) => {
    for (const topic of ['a', 'b']) await store.subscribe(topic)
    await store.subscribe('a')
    store.publish('a', 'one')
    store.publish('nobody', 'two')
    await store.disconnect({ sub: 'ada', route: '/ws' }, 'moderation')
    await store.disconnect({ id: 'x' }, undefined)
    await store.revoke({ kind: 'sub', value: 'ada', issuedBefore: 1_700_000_000_000, keepMs: 60_000 })
    await store.block('bob', wall() + 60_000)
    await store.unblock('bob')
    store.unsubscribe('a')
    store.unsubscribe('never subscribed')
    store.publish('b', 'three')
    // Settles later than whatever of this may come back.
    await store.subscribe('c')
    await store.disconnect({ id: 'y' }, undefined)
    assert.deepEqual(told, [])
  })

  storeTest('L1: what has ended is gone from the sizes', async (subject) => {
    const { store, advance, wall, spanMs } = subject
    const before = store.sizes()
    for (const name of tables) assert.equal(before[name], 0, name)
    const rate = { perSecond: 2000 / spanMs, burst: 1 }
    await fill(store, { rate, ms: spanMs, untilMs: wall() + spanMs })
    const { slots, revocations, blocks, userBudgets } = store.sizes()
    assert.deepEqual(
      { slots, revocations, blocks, userBudgets },
      { slots: 1, revocations: 1, blocks: 1, userBudgets: 1 }
    )
    await advance(spanMs)
    store.releaseSlot('ip')
    store.unsubscribe('topic')
    await eventually(() => assert.deepEqual(store.sizes(), before), patient)
  })

  storeTest('L1: a store is closed in whatever it is doing, twice as well', async ({ store, told, wall, spanMs }) => {
    const rate = { perSecond: 1, burst: 1 }
    await fill(store, { rate, ms: spanMs, untilMs: wall() + spanMs })
    store.chargeUserBudget('bob', 1, rate)
    store.publish('topic', 'x')
    await store.close()
    // What was open gives back its slots, and leaves its topics, after that.
    store.releaseSlot('ip')
    store.unsubscribe('topic')
    store.publish('topic', 'y')
    store.chargeUserBudget('bob', 1, rate)
    await store.close()
    assert.deepEqual(told, [])
  })
}

interface Lifetimes {
  readonly rate: { readonly perSecond: number; readonly burst: number }
  readonly ms: number
  readonly untilMs: number
}

/** One of each. */
async function fill(store: Store, { rate, ms, untilMs }: Lifetimes): Promise<void> {
  const attempts = new store.Attempts({ max: 1, timeWindow: ms })
  for (let times = 0; times < 2; times++) {
    await new Promise<void>((resolve) => attempts.incr('ip', () => resolve(), ms, 1))
  }
  assert.equal(await store.acquireSlot('ip', 1), true)
  await store.putTicket('hash', { user: 'ada', identity: undefined, route: '/', origin: undefined }, ms)
  await store.revoke({ kind: 'sub', value: 'ada', issuedBefore: 1_700_000_000_000, keepMs: ms })
  await store.block('ada', untilMs)
  await store.subscribe('topic')
  assert.equal(await store.takeUserBudget('ada', 1, rate), true)
}
