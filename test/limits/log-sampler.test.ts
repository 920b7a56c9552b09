import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { LogSampler } from '../../lib/limits/log-sampler.ts'

test('a flood writes its lines per second; the rest goes out as a count with the next line', () => {
  const sampler = new LogSampler(2)
  assert.deepEqual(sampler.admit('origin', 0), { suppressed: 0 })
  assert.deepEqual(sampler.admit('origin', 1), { suppressed: 0 })
  for (let index = 0; index < 5; index++) assert.equal(sampler.admit('origin', 999), undefined)
  assert.deepEqual(sampler.admit('origin', 1000), { suppressed: 5 })
  assert.deepEqual(sampler.admit('origin', 1000), { suppressed: 0 })
  assert.equal(sampler.admit('origin', 1000), undefined)
})

test('reasons do not silence each other', () => {
  const sampler = new LogSampler(1)
  assert.deepEqual(sampler.admit('origin', 0), { suppressed: 0 })
  assert.equal(sampler.admit('origin', 0), undefined)
  assert.deepEqual(sampler.admit('token', 0), { suppressed: 0 })
})

test('0 lines per second: none passes', () => {
  const sampler = new LogSampler(0)
  assert.equal(sampler.admit('origin', 0), undefined)
  assert.equal(sampler.admit('origin', 5000), undefined)
})

test('L1: reasons are bounded; those above share one count', () => {
  const sampler = new LogSampler(1)
  for (let index = 0; index < 256; index++) assert.ok(sampler.admit(`reason ${index}`, 0))
  assert.ok(sampler.admit('one more', 0))
  for (let index = 0; index < 1000; index++) assert.equal(sampler.admit(`more ${index}`, 0), undefined)
  assert.deepEqual(sampler.admit('more', 1000), { suppressed: 1000 })
  assert.deepEqual(sampler.admit('reason 0', 1000), { suppressed: 0 })
})

test('nothing is lost: lines that passed and lines counted are all lines', () => {
  const steps = fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 200 })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), steps, (perSecond, waits) => {
      const sampler = new LogSampler(perSecond)
      let now = 0
      let accounted = 0
      for (const waitMs of waits) {
        now += waitMs
        const line = sampler.admit('reason', now)
        if (line !== undefined) accounted += 1 + line.suppressed
      }
      const last = sampler.admit('reason', now + 1000)
      assert.equal(accounted + 1 + (last?.suppressed ?? Number.NaN), waits.length + 1)
    })
  )
})
