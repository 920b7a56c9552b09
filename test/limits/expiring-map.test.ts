import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ExpiringMap } from '../../lib/limits/expiring-map.ts'

test('an entry is found until it ends', () => {
  const map = new ExpiringMap<string>(2)
  assert.equal(map.set('a', 'A', 100, 0), true)
  assert.equal(map.get('a', 99)?.value, 'A')
  assert.equal(map.get('a', 99)?.endsAt, 100)
  assert.equal(map.get('a', 100), undefined)
  assert.equal(map.get('b', 0), undefined)
})

test('L1: full of live entries: no room for another key, but for a new value of a known one', () => {
  const map = new ExpiringMap<string>(2)
  map.set('a', 'A', 100, 0)
  map.set('b', 'B', 100, 0)
  assert.equal(map.set('c', 'C', 100, 0), false)
  assert.equal(map.set('a', 'AA', 200, 0), true)
  assert.equal(map.get('a', 150)?.value, 'AA')
  assert.equal(map.get('b', 0)?.value, 'B')
  assert.equal(map.size, 2)
})

test('what has ended makes room, whatever its place', () => {
  const map = new ExpiringMap<number>(3)
  map.set('long', 1, 1_000_000, 0)
  map.set('short', 2, 10, 0)
  map.set('medium', 3, 50, 0)
  assert.equal(map.set('new', 4, 1_000_000, 20), true)
  assert.equal(map.get('long', 20)?.value, 1)
  assert.equal(map.get('medium', 20)?.value, 3)
})

test('R1: looking at all entries happens once per second, at the oldest always', () => {
  const map = new ExpiringMap<number>(2)
  map.set('long', 1, 5000, 0)
  map.set('short', 2, 100, 0)
  assert.equal(map.hasRoom(0), false)
  assert.equal(map.hasRoom(999), false)
  assert.equal(map.hasRoom(1000), true)
  map.set('other', 3, 9000, 1000)
  assert.equal(map.hasRoom(4999), false)
  assert.equal(map.hasRoom(5000), true)
  assert.equal(map.oldest()?.key, 'other')
})

test('clear forgets all', () => {
  const map = new ExpiringMap<number>(1)
  map.set('a', 1, 100, 0)
  map.clear()
  assert.equal(map.size, 0)
  assert.equal(map.oldest(), undefined)
  assert.equal(map.set('b', 1, 100, 0), true)
  assert.equal(map.oldest()?.key, 'b')
})

type Step = { readonly action: 'set' | 'delete' | 'sweep'; readonly key: string; readonly lifetimeMs: number }

test('it holds what a plain list of entries in the order of setting would hold', () => {
  const steps: fc.Arbitrary<Step[]> = fc.array(
    fc.record({
      action: fc.constantFrom('set', 'set', 'delete', 'sweep'),
      key: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      lifetimeMs: fc.integer({ min: 1, max: 6 })
    })
  )
  fc.assert(
    fc.property(steps, (sequence) => {
      const map = new ExpiringMap<number>(3)
      let model: { key: string; value: number; endsAt: number }[] = []
      sequence.forEach(({ action, key, lifetimeMs }, now) => {
        if (action === 'set' && map.set(key, now, now + lifetimeMs, now)) {
          model = [...model.filter((entry) => entry.key !== key), { key, value: now, endsAt: now + lifetimeMs }]
        } else if (action === 'set') {
          assert.equal(map.size, 3)
          assert.ok(model.every((entry) => entry.key !== key || entry.endsAt <= now))
        } else if (action === 'delete') {
          map.delete(key)
          model = model.filter((entry) => entry.key !== key)
        } else {
          map.sweep(now)
          model = model.filter((entry) => entry.endsAt > now)
          assert.equal(map.size, model.length)
          assert.equal(map.oldest()?.key, model[0]?.key)
        }
        assert.ok(map.size <= 3)
        for (const name of ['a', 'b', 'c', 'd', 'e']) {
          const live = model.find((entry) => entry.key === name && entry.endsAt > now)
          assert.equal(map.get(name, now)?.value, live?.value)
        }
      })
    })
  )
})

test('R1: the oldest of 100 000 keys is at hand', () => {
  const map = new ExpiringMap<number>(100_000)
  const turn = (count: number): number => {
    const startedAt = performance.now()
    for (let index = 0; index < count; index++) {
      if (!map.hasRoom(0)) map.delete((map.oldest() as { key: string }).key)
      assert.ok(map.set(`key ${Math.random()}`, index, 1, 0))
    }
    return performance.now() - startedAt
  }
  turn(100_000)
  // With a plain Map this takes some 9 s; the bound is far from both.
  assert.ok(turn(100_000) < 3000)
})
