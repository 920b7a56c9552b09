/** Attempts, slots and message budgets, of any store. */
import assert from 'node:assert/strict'
import rateLimit, { type FastifyRateLimitStoreCtor } from '@fastify/rate-limit'
import fastify from 'fastify'
import type { AttemptsStore, Store } from '../../lib/limits/store.ts'
import type { Rate } from '../../lib/limits/token-bucket.ts'
import { eventually } from '../support/wait.ts'
import type { StoreTest, Subject } from './store-suite.ts'

const patient = { timeoutMs: 10_000 }

interface Count {
  readonly current: number
  readonly ttl: number
}

function count(attempts: AttemptsStore, key: string, timeWindow: number, max = 2): Promise<Count> {
  return new Promise((resolve, reject) => {
    attempts.incr(key, (error, result) => (result === undefined ? reject(error) : resolve(result)), timeWindow, max)
  })
}

export function testLimits(storeTest: StoreTest): void {
  testAttempts(storeTest)
  testSlots(storeTest)
  testBudgets(storeTest)
  testCharges(storeTest)
}

function testAttempts(storeTest: StoreTest): void {
  storeTest('attempts: a fixed window per key, with the time that is left of it', async (subject) => {
    const { store, advance, spanMs, slackMs } = subject
    const attempts = new store.Attempts({ max: 2, timeWindow: spanMs })
    const check = async (key: string, current: number, ttl: number): Promise<void> => {
      const counted = await count(attempts, key, spanMs)
      assert.equal(counted.current, current)
      assert.ok(counted.ttl <= ttl && counted.ttl >= ttl - slackMs, `${counted.ttl} ms are left, not about ${ttl}`)
    }
    await check('a', 1, spanMs)
    await advance(spanMs * 0.4)
    await check('a', 2, spanMs * 0.6)
    await check('a', 3, spanMs * 0.6)
    await check('a', 4, spanMs * 0.6)
    await check('b', 1, spanMs)
    await advance(spanMs * 0.6)
    await check('a', 1, spanMs)
  })

  storeTest('attempts: a child counts for itself', async ({ store, spanMs }) => {
    const attempts = new store.Attempts({})
    await count(attempts, 'a', spanMs)
    assert.equal((await count(attempts.child({}), 'a', spanMs)).current, 1)
    assert.equal((await count(attempts, 'a', spanMs)).current, 2)
  })

  storeTest('attempts: two limiters that allow the same count for themselves', async ({ store, spanMs }) => {
    const options = { max: 2, timeWindow: spanMs }
    const [first, second] = [new store.Attempts(options), new store.Attempts(options)]
    await count(first, 'a', spanMs)
    assert.equal((await count(second, 'a', spanMs)).current, 1)
    assert.equal((await count(first, 'a', spanMs)).current, 2)
  })

  storeTest('attempts: max 0 refuses the first', async ({ store, spanMs }) => {
    const attempts = new store.Attempts({})
    assert.equal((await count(attempts, 'a', spanMs, 0)).current, 1)
  })

  storeTest('attempts: those that race are all counted', async ({ store }) => {
    const attempts = new store.Attempts({})
    const all = await Promise.all(Array.from({ length: 50 }, () => count(attempts, 'a', 60_000)))
    assert.deepEqual(
      all.map(({ current }) => current).sort((a, b) => a - b),
      Array.from({ length: 50 }, (_, index) => index + 1)
    )
  })

  storeTest('R1: @fastify/rate-limit runs on it', async ({ store }) => {
    const app = fastify()
    try {
      const Attempts: FastifyRateLimitStoreCtor = store.Attempts
      // The types of @fastify/rate-limit ask for a class of its own in one place and for this constructor in another.
      await app.register(rateLimit, { global: false, store: Attempts as never })
      for (const url of ['/', '/other']) {
        app.get(url, { config: { rateLimit: { max: 2, timeWindow: '1 minute' } } }, () => 'ok')
      }
      const answers = []
      for (let index = 0; index < 4; index++) answers.push(await app.inject('/'))
      assert.deepEqual(
        answers.map(({ statusCode }) => statusCode),
        [200, 200, 429, 429]
      )
      const retryAfter = Number(answers[3]?.headers['retry-after'])
      assert.ok(retryAfter > 50 && retryAfter <= 60, `Retry-After is ${retryAfter}`)
      assert.equal((await app.inject({ url: '/', remoteAddress: '192.0.2.1' })).statusCode, 200)
      assert.equal((await app.inject('/other')).statusCode, 200)
    } finally {
      await app.close()
    }
  })
}

function testSlots(storeTest: StoreTest): void {
  const acquireAll = (store: Store, times: number, max: number): Promise<boolean[]> =>
    Promise.all(Array.from({ length: times }, async () => store.acquireSlot('ip', max)))

  storeTest('R2: slots are counted, given back, and leave nothing behind', async ({ store }) => {
    assert.equal(await store.acquireSlot('ip', 2), true)
    assert.equal(await store.acquireSlot('ip', 2), true)
    assert.equal(await store.acquireSlot('ip', 2), false)
    assert.equal(await store.acquireSlot('other', 2), true)
    store.releaseSlot('ip')
    assert.equal(await store.acquireSlot('ip', 2), true)
    for (const key of ['ip', 'ip', 'other']) store.releaseSlot(key)
    await eventually(() => assert.equal(store.sizes().slots, 0), patient)
  })

  storeTest('R2: a slot given back twice does not make room for one more', async ({ store }) => {
    store.releaseSlot('ip')
    store.releaseSlot('ip')
    assert.equal(await store.acquireSlot('ip', 1), true)
    assert.equal(await store.acquireSlot('ip', 1), false)
    store.releaseSlot('ip')
    store.releaseSlot('ip')
    assert.equal(await store.acquireSlot('ip', 1), true)
    assert.equal(await store.acquireSlot('ip', 1), false)
  })

  storeTest('R2: no slot for a maximum of 0, or one that is not a number', async ({ store }) => {
    for (const max of [0, -1, Number.NaN]) assert.equal(await store.acquireSlot('ip', max), false)
    assert.equal(store.sizes().slots, 0)
  })

  storeTest('R2: a maximum that has shrunk admits nobody until enough have left', async ({ store }) => {
    for (let index = 0; index < 3; index++) assert.equal(await store.acquireSlot('ip', 3), true)
    store.releaseSlot('ip')
    assert.equal(await store.acquireSlot('ip', 2), false)
    store.releaseSlot('ip')
    assert.equal(await store.acquireSlot('ip', 2), true)
  })

  storeTest('R2: of those that race for the last slots exactly as many get one', async ({ store }) => {
    const granted = (await acquireAll(store, 50, 5)).filter(Boolean)
    assert.equal(granted.length, 5)
    for (let index = 0; index < 2; index++) store.releaseSlot('ip')
    assert.equal((await acquireAll(store, 50, 5)).filter(Boolean).length, 2)
  })

  storeTest(
    'R2: slots taken and given back in a hurry leave nothing behind, and take nothing away',
    async (subject) => {
      const { store } = subject
      const visit = async (): Promise<void> => {
        for (let index = 0; index < 20; index++) if (await store.acquireSlot('ip', 3)) store.releaseSlot('ip')
      }
      await Promise.all(Array.from({ length: 10 }, visit))
      await eventually(() => assert.equal(store.sizes().slots, 0), patient)
      assert.equal((await acquireAll(store, 10, 3)).filter(Boolean).length, 3)
    }
  )
}

/** So long until one token is there: `spanMs`. */
const rateOf = (spanMs: number) => ({ perSecond: 1000 / spanMs, burst: 2 })

type Take = (cost: number, rate: Rate) => Promise<boolean>

/**
 * Over a network tokens that were granted may come too late to be used, and are lost: a budget may admit less, never
 * more. Who was refused for that tries again as somebody else; with an exact clock nobody may be.
 */
function budgetTest(
  storeTest: StoreTest,
  title: string,
  check: (subject: Subject, user: string, take: Take) => Promise<void>
): void {
  storeTest(title, async (subject) => {
    for (let left = subject.slackMs > 0 ? 4 : 0; ; left--) {
      const user = `user ${left}`
      try {
        return await check(subject, user, async (cost, rate) => subject.store.takeUserBudget(user, cost, rate))
      } catch (error) {
        const isLost = error instanceof assert.AssertionError && error.actual === false && error.expected === true
        if (!isLost || left === 0) throw error
      }
    }
  })
}

function testBudgets(storeTest: StoreTest): void {
  budgetTest(storeTest, 'R3: a user has one budget, whatever the connection', async (subject, user, take) => {
    const { store, advance, spanMs } = subject
    const rate = rateOf(spanMs)
    assert.equal(await take(1, rate), true)
    assert.equal(await take(1, rate), true)
    assert.equal(await take(1, rate), false)
    assert.equal(await store.takeUserBudget(`not ${user}`, 1, rate), true)
    await advance(spanMs)
    assert.equal(await take(1, rate), true)
    assert.equal(await take(1, rate), false)
  })

  budgetTest(storeTest, 'R3: a route with another rate has another budget', async ({ spanMs }, _user, take) => {
    const rate = rateOf(spanMs)
    assert.equal(await take(2, rate), true)
    assert.equal(await take(1, rate), false)
    assert.equal(await take(1, { ...rate, burst: 5 }), true)
    assert.equal(await take(1, { ...rate, perSecond: rate.perSecond / 2 }), true)
  })

  const racing = 'R3: of messages that race for a budget as many are admitted as it has'
  budgetTest(storeTest, racing, async (_subject, _user, take) => {
    const rate = { perSecond: 0.001, burst: 20 }
    const admitted = (await Promise.all(Array.from({ length: 100 }, () => take(1, rate)))).filter(Boolean).length
    assert.ok(admitted <= 20, `${admitted} were admitted`)
    assert.equal(admitted === 20, true)
  })

  budgetTest(storeTest, 'R3: the whole burst is there, one after the other', async (_subject, _user, take) => {
    const rate = { perSecond: 0.001, burst: 100 }
    let admitted = 0
    while (await take(1, rate)) admitted++
    assert.ok(admitted <= 100, `${admitted} were admitted`)
    assert.equal(admitted === 100, true)
  })
}

function testCharges(storeTest: StoreTest): void {
  const overdrawn = 'R3: a cost above what is left is served, and paid by the wait for the next'
  budgetTest(storeTest, overdrawn, async ({ advance, spanMs }, _user, take) => {
    const rate = rateOf(spanMs / 2)
    assert.equal(await take(3, rate), true)
    await advance(spanMs / 2)
    assert.equal(await take(1, rate), false)
    await advance(spanMs / 2)
    assert.equal(await take(1, rate), true)
    assert.equal(await take(1, rate), false)
  })

  budgetTest(storeTest, 'R3: what is charged is taken, also when it is not there', async (subject, user, take) => {
    const { store, advance, spanMs } = subject
    const rate = rateOf(spanMs / 2)
    store.chargeUserBudget(user, 1, rate)
    assert.equal(await take(1, rate), true)
    store.chargeUserBudget(user, 1, rate)
    assert.equal(await take(1, rate), false)
    assert.equal(await store.takeUserBudget(`not ${user}`, 1, rate), true)
    await advance(spanMs / 2)
    assert.equal(await take(1, rate), false)
    await advance(spanMs / 2)
    assert.equal(await take(1, rate), true)
  })

  budgetTest(storeTest, 'R3: a charge that nobody follows is not forgotten', async (subject, user, take) => {
    const rate = { perSecond: 0.001, burst: 2 }
    subject.store.chargeUserBudget(user, 5, rate)
    await subject.advance(subject.spanMs / 2)
    assert.equal(await take(1, rate), false)
  })
}
