import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TokenBucket } from '../../lib/limits/token-bucket.ts'

test('R3: a full bucket admits its burst at once, then its rate', () => {
  const bucket = new TokenBucket({ perSecond: 20, burst: 40 }, 1000)
  for (let index = 0; index < 40; index++) assert.equal(bucket.take(1, 1000), true)
  assert.equal(bucket.take(1, 1000), false)
  assert.equal(bucket.take(1, 1049), false)
  assert.equal(bucket.take(1, 1050), true)
  assert.equal(bucket.take(1, 1050), false)
})

test('R3: a refused take costs nothing', () => {
  const bucket = new TokenBucket({ perSecond: 1, burst: 1 }, 0)
  assert.equal(bucket.take(1, 0), true)
  for (let index = 0; index < 100; index++) assert.equal(bucket.take(1, 0), false)
  assert.equal(bucket.take(1, 1000), true)
})

test('R3: a clock that goes back adds nothing, and neither does its way forward again', () => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 10 }, 5000)
  assert.equal(bucket.take(10, 5000), true)
  assert.equal(bucket.available(0), 0)
  assert.equal(bucket.available(5000), 0)
  assert.equal(bucket.available(5100), 1)
})

test('a cost above what is left is served and paid for afterwards', () => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 10 }, 0)
  assert.equal(bucket.take(25, 0), true)
  assert.equal(bucket.available(0), -15)
  assert.equal(bucket.msUntil(1, 0), 1600)
  assert.equal(bucket.take(1, 1599), false)
  assert.equal(bucket.take(1, 1600), true)
})

test('charge takes without asking', () => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 10 }, 0)
  bucket.charge(5, 0)
  bucket.charge(20, 100)
  assert.equal(bucket.available(100), -14)
})

test('it never holds more than its burst', () => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 10 }, 0)
  assert.equal(bucket.available(3_600_000), 10)
})

test('less than one token is not a token', () => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 1.5 }, 0)
  assert.equal(bucket.take(1, 0), true)
  assert.equal(bucket.available(0), 0.5)
  assert.equal(bucket.take(0, 0), false)
})

test('msUntil: 0 when there, whole ms otherwise, Infinity above the burst', () => {
  const bucket = new TokenBucket({ perSecond: 3, burst: 3 }, 0)
  assert.equal(bucket.msUntil(3, 0), 0)
  bucket.charge(3, 0)
  assert.equal(bucket.msUntil(1, 0), 334)
  assert.equal(bucket.msUntil(4, 0), Number.POSITIVE_INFINITY)
})

test('isFull: only when a new bucket would be the same', () => {
  const bucket = new TokenBucket({ perSecond: 10, burst: 2 }, 0)
  assert.equal(bucket.isFull(0), true)
  bucket.charge(1, 0)
  assert.equal(bucket.isFull(99), false)
  assert.equal(bucket.isFull(100), true)
})

test('R3: a NaN that no one checked refuses', () => {
  const rate = new TokenBucket({ perSecond: Number.NaN, burst: 5 }, 0)
  rate.take(1, 0)
  assert.equal(rate.take(1, 1), false)
  const cost = new TokenBucket({ perSecond: 1, burst: 5 }, 0)
  cost.take(Number.NaN, 0)
  assert.equal(cost.take(1, 1), false)
})

const rates = fc.record({
  perSecond: fc.integer({ min: 1, max: 100_000 }),
  burst: fc.integer({ min: 1, max: 300_000 })
})

test('R3: over any time, what was admitted is at most burst + rate × time + the last overdraft', () => {
  const steps = fc.array(
    fc.record({ waitMs: fc.integer({ min: -50, max: 500 }), cost: fc.integer({ min: 0, max: 100 }) })
  )
  fc.assert(
    fc.property(rates, steps, (rate, sequence) => {
      const bucket = new TokenBucket(rate, 0)
      let now = 0
      let latest = 0
      let spent = 0
      for (const { waitMs, cost } of sequence) {
        now += waitMs
        latest = Math.max(latest, now)
        if (bucket.take(cost, now)) spent += cost
        assert.ok(spent <= rate.burst + (rate.perSecond * latest) / 1000 + 99 + 1e-6)
      }
    })
  )
})

test('waiting msUntil(1) is enough, and not a whole ms too long', () => {
  fc.assert(
    fc.property(rates, fc.integer({ min: 1, max: 1_000_000 }), (rate, debt) => {
      const bucket = new TokenBucket(rate, 0)
      bucket.charge(rate.burst + debt, 0)
      const waitMs = bucket.msUntil(1, 0)
      assert.ok(Number.isInteger(waitMs) && waitMs >= 1)
      const perMs = rate.perSecond / 1000
      assert.ok(-debt + (waitMs - 1) * perMs < 1 + 1e-6)
      assert.ok(bucket.available(waitMs) >= Math.min(1, rate.burst) - 1e-6)
    })
  )
})
