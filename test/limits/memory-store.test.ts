import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MemoryStore, type MemoryStoreOptions } from '../../lib/limits/memory-store.ts'
import type { AttemptsStore, Ticket } from '../../lib/limits/store.ts'
import { testStore } from './store-suite.ts'

function createStore(options: MemoryStoreOptions = {}) {
  const clock = { now: 1_700_000_000_000 }
  return { clock, store: new MemoryStore({ now: () => clock.now, ...options }) }
}

function count(attempts: AttemptsStore, key: string, max = 2, timeWindow = 1000): { current: number; ttl: number } {
  let answer: { current: number; ttl: number } | undefined
  attempts.incr(
    key,
    (error, result) => {
      assert.equal(error, null)
      answer = result
    },
    timeWindow,
    max
  )
  assert.ok(answer)
  return answer
}

testStore(
  'MemoryStore',
  () => {
    const { clock, store } = createStore()
    const advance = (ms: number): void => {
      clock.now += ms
    }
    return { store, advance, wall: () => clock.now }
  },
  { spanMs: 60_000, slackMs: 0 }
)

test('attempts: the sizes count every limiter, and those over their limit apart', () => {
  const { store } = createStore()
  const attempts = new store.Attempts({})
  count(attempts, 'a')
  count(attempts.child({}), 'a')
  assert.equal(store.sizes().attempts, 2)
  count(attempts, 'b', 0)
  assert.deepEqual([store.sizes().attempts, store.sizes().punished], [2, 1])
})

test('to the millisecond: a window, a ticket, a revocation, a block', () => {
  const { clock, store } = createStore()
  const attempts = new store.Attempts({})
  const until = clock.now + 1000
  count(attempts, 'a')
  store.putTicket('kept', ticket, 1000)
  store.putTicket('late', ticket, 1000)
  store.revoke({ kind: 'sub', value: 'ada', issuedBefore: now, keepMs: 1000 })
  store.block('bob', until)
  clock.now += 999
  assert.deepEqual(count(attempts, 'a'), { current: 2, ttl: 1 })
  assert.equal(store.takeTicket('kept'), ticket)
  for (const subject of ['ada', 'bob']) assert.equal(store.isRefused({ subject }), true)
  clock.now += 1
  assert.deepEqual(count(attempts, 'a'), { current: 1, ttl: 1000 })
  assert.equal(store.takeTicket('late'), undefined)
  for (const subject of ['ada', 'bob']) assert.equal(store.isRefused({ subject }), false)
})

test('R1: no number of other keys makes a punished one forgotten', () => {
  const { clock, store } = createStore({ maxKeys: 100 })
  const attempts = new store.Attempts({})
  for (let index = 0; index < 3; index++) count(attempts, 'victim')
  for (let index = 0; index < 10_000; index++) count(attempts, `key ${index}`)
  assert.equal(count(attempts, 'victim').current, 4)
  assert.equal(store.sizes().attempts, 100)
  assert.equal(store.sizes().punished, 1)
  clock.now += 1000
  assert.equal(count(attempts, 'victim').current, 1)
})

test('R1: room is made by the oldest key within its limit', () => {
  const { store } = createStore({ maxKeys: 2 })
  const attempts = new store.Attempts({})
  count(attempts, 'first')
  count(attempts, 'second')
  count(attempts, 'third')
  assert.equal(count(attempts, 'second').current, 2)
  assert.equal(count(attempts, 'first').current, 1)
})

test('R1: full of punished keys: a new one counts as exceeded, a known one goes on', () => {
  const { clock, store } = createStore({ maxKeys: 2 })
  const attempts = new store.Attempts({})
  count(attempts, 'known')
  for (const key of ['a', 'b']) for (let index = 0; index < 3; index++) count(attempts, key)
  assert.deepEqual(count(attempts, 'new'), { current: 3, ttl: 1000 })
  assert.equal(count(attempts, 'known').current, 2)
  assert.deepEqual(store.sizes().attempts, 1)
  clock.now += 1000
  assert.equal(count(attempts, 'new').current, 1)
})

test('R1: a key punished while there was no room is not forgotten either, then or later', () => {
  const { clock, store } = createStore({ maxKeys: 2 })
  const attempts = new store.Attempts({})
  for (let index = 0; index < 3; index++) count(attempts, 'a')
  for (let index = 0; index < 2; index++) count(attempts, 'b')
  clock.now += 900
  for (let index = 0; index < 2; index++) count(attempts, 'late')
  count(attempts, 'b')
  assert.equal(store.sizes().punished, 2)
  assert.equal(count(attempts, 'late').current, 3)
  for (let index = 0; index < 100; index++) assert.ok(count(attempts, `key ${index}`).current > 2)
  assert.equal(count(attempts, 'late').current, 4)
  clock.now += 100
  for (let index = 0; index < 100; index++) assert.equal(count(attempts, `key ${index}`).current, 1)
  assert.equal(count(attempts, 'late').current, 5)
  assert.equal(store.sizes().punished, 1)
})

test('R1: a key that served its time starts anew, even when the table of the punished is full', () => {
  const { clock, store } = createStore({ maxKeys: 2 })
  const attempts = new store.Attempts({})
  for (let index = 0; index < 3; index++) count(attempts, 'long', 2, 60_000)
  for (let index = 0; index < 3; index++) count(attempts, 'short', 2, 100)
  assert.equal(count(attempts, 'new').current, 3)
  clock.now += 100
  assert.equal(count(attempts, 'short', 2, 100).current, 1)
})

test('R1: whatever comes, within a window a key is never admitted more often than max, unless forgotten unpunished', () => {
  const keys = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f')
  const steps = fc.array(fc.record({ key: keys, waitMs: fc.constantFrom(0, 0, 0, 50, 300) }), { maxLength: 300 })
  fc.assert(
    fc.property(steps, (sequence) => {
      const { clock, store } = createStore({ maxKeys: 2 })
      const attempts = new store.Attempts({})
      const refusedUntil = new Map<string, number>()
      for (const { key, waitMs } of sequence) {
        clock.now += waitMs
        const { current, ttl } = count(attempts, key)
        const punishedUntil = refusedUntil.get(key) ?? 0
        if (clock.now < punishedUntil) assert.ok(current > 2)
        // A key of its own that was exceeded; one without room (exactly max + 1, whole window) holds no promise.
        if (current > 3 || (current === 3 && ttl < 1000)) refusedUntil.set(key, clock.now + ttl)
        const { attempts: counting = 0, punished = 0 } = store.sizes()
        assert.ok(counting <= 2 && punished <= 2)
      }
    })
  )
})

test('R2: full of keys: a new key gets no slot, a known one does; so does a maximum that is not a number', () => {
  const { store } = createStore({ maxKeys: 1 })
  for (let index = 0; index < 4; index++) assert.equal(store.acquireSlot(`ip ${index}`, 2), true)
  assert.equal(store.acquireSlot('ip 4', 2), false)
  assert.equal(store.acquireSlot('ip 0', 2), true)
  assert.equal(store.acquireSlot('ip 1', Number.NaN), false)
})

const rate = { perSecond: 10, burst: 2 }

test('R3: budgets in use are never forgotten; a full one makes room', () => {
  const { clock, store } = createStore({ maxKeys: 2 })
  store.takeUserBudget('ada', 2, rate)
  store.takeUserBudget('bob', 1, rate)
  assert.equal(store.takeUserBudget('eve', 1, rate), false)
  assert.equal(store.takeUserBudget('ada', 1, rate), false)
  clock.now += 1000
  assert.equal(store.takeUserBudget('eve', 1, rate), true)
  assert.equal(store.sizes().userBudgets, 1)
})

const ticket: Ticket = { user: { sub: 'ada' }, identity: { subject: 'ada' }, route: '/chat', origin: undefined }

test('A6: full of tickets: issuing throws, until some have expired', () => {
  const { clock, store } = createStore({ maxKeys: 2 })
  store.putTicket('a', ticket, 1000)
  store.putTicket('b', ticket, 30_000)
  assert.throws(() => store.putTicket('c', ticket, 30_000), { code: 'WSG_ERR_STORE_FULL', statusCode: 503 })
  assert.equal(store.sizes().tickets, 2)
  clock.now += 1000
  store.putTicket('c', ticket, 30_000)
  assert.equal(store.takeTicket('b'), ticket)
})

const now = 1_700_000_000_000

test('Z4: full of revocations: another one throws instead of being lost, and none is forgotten', () => {
  const { clock, store } = createStore({ maxKeys: 1 })
  const revoke = (value: string) => store.revoke({ kind: 'sub', value, issuedBefore: now, keepMs: 1000 })
  revoke('ada')
  assert.throws(() => revoke('bob'), { code: 'WSG_ERR_STORE_FULL' })
  assert.equal(store.isRefused({ subject: 'ada' }), true)
  clock.now += 1000
  revoke('bob')
  assert.equal(store.isRefused({ subject: 'bob' }), true)
})

test('Z4: full of blocks: another one throws', () => {
  const { store } = createStore({ maxKeys: 1 })
  store.block('ada', now + 1000)
  assert.throws(() => store.block('bob', now + 1000), { code: 'WSG_ERR_STORE_FULL' })
  store.block('ada', now + 2000)
})

test('R3: blocks go by the wall clock, limits by the one that never jumps', () => {
  const clock = { now: 0, wall: now }
  const store = new MemoryStore({ now: () => clock.now, wall: () => clock.wall })
  store.takeUserBudget('ada', 2, rate)
  store.block('bob', now + 1000)
  clock.wall += 3_600_000
  assert.equal(store.takeUserBudget('ada', 1, rate), false)
  assert.equal(store.isRefused({ subject: 'bob' }), false)
})

test('the default clocks: a block until a future date holds, a past one does not, budgets refuse', () => {
  const store = new MemoryStore()
  store.block('ada', Date.now() + 60_000)
  store.block('bob', Date.now() - 1)
  assert.equal(store.isRefused({ subject: 'ada' }), true)
  assert.equal(store.isRefused({ subject: 'bob' }), false)
  assert.equal(store.takeUserBudget('ada', 1, { perSecond: 0.001, burst: 1 }), true)
  assert.equal(store.takeUserBudget('ada', 1, { perSecond: 0.001, burst: 1 }), false)
})

test('L1: everything that has ended is gone from the sizes, and close forgets the rest', () => {
  const { clock, store } = createStore()
  const attempts = new store.Attempts({})
  const fill = (name: string) => {
    count(attempts, name)
    count(attempts, `${name} punished`, 0)
    store.takeUserBudget(name, 1, rate)
    store.putTicket(name, ticket, 1000)
    store.revoke({ kind: 'sub', value: name, issuedBefore: now, keepMs: 1000 })
    store.block(name, clock.now + 1000)
  }
  const none = { attempts: 0, punished: 0, slots: 0, userBudgets: 0, tickets: 0, revocations: 0, blocks: 0 }
  fill('ada')
  assert.deepEqual(store.sizes(), {
    ...none,
    attempts: 1,
    punished: 1,
    userBudgets: 1,
    tickets: 1,
    revocations: 1,
    blocks: 1
  })
  clock.now += 1000
  assert.deepEqual(store.sizes(), none)
  fill('bob')
  store.acquireSlot('ip', 1)
  store.close()
  assert.deepEqual(store.sizes(), none)
  assert.equal(store.isRefused({ subject: 'bob' }), false)
})

test('R4: a bound that is none does not boot', () => {
  for (const maxKeys of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 4_000_001]) {
    assert.throws(() => new MemoryStore({ maxKeys }), {
      code: 'WSG_ERR_OPTION',
      message: /maxKeys .* from 1 to 4000000/
    })
  }
})
