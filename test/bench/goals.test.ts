import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Goal, goals, judge, reasonKey, reasons, verdictLines } from './goals.ts'
import type { LoadResult, Metric } from './load.ts'
import { allLoads } from './loads/all.ts'
import type { Run } from './rounds.ts'

const rate: Metric = { key: 'rate', title: 'messages/s', better: 'more', digits: 0 }
const longest: Metric = { key: 'longest', title: 'ms', better: 'less', digits: 1 }

function resultOf(metric: Metric, values: Readonly<Record<string, readonly number[]>>): LoadResult {
  const runs = Object.entries(values).flatMap(([server, list]) =>
    list.map((value, round): Run => ({ server, round, values: { [metric.key]: value }, disturbed: [], tries: 1 }))
  )
  return { load: { name: 'echo', title: 'Echo', about: '', metrics: [metric] }, runs }
}

function isMet(metric: Metric, goal: object, values: Readonly<Record<string, readonly number[]>>): boolean {
  const [verdict, ...more] = judge([resultOf(metric, values)], [{ load: 'echo', metric: metric.key, ...goal } as Goal])
  assert.equal(more.length, 0)
  return verdict?.isMet as boolean
}

const ratioGoal = { kind: 'ratio', to: 'c', limit: 2, slack: 0.05 }

test('a ratio is met at its limit less the slack, and missed below', () => {
  const rates = (median: number) => ({ c: [100, 100, 100], guarded: [1, median, 1_000] })
  assert.equal(isMet(rate, ratioGoal, rates(200)), true)
  assert.equal(isMet(rate, ratioGoal, rates(190)), true)
  assert.equal(isMet(rate, ratioGoal, rates(189)), false)
  assert.equal(isMet(rate, { ...ratioGoal, slack: 0 }, rates(199)), false)
})

test('where less is better, a ratio has to stay below', () => {
  const goal = { ...ratioGoal, limit: 0.7, slack: 0.1 }
  assert.equal(isMet(longest, goal, { c: [100], guarded: [77] }), true)
  assert.equal(isMet(longest, goal, { c: [100], guarded: [78] }), false)
})

test('a value is compared with the limit itself', () => {
  const goal = { kind: 'value', limit: 15 }
  assert.equal(isMet(longest, goal, { guarded: [1, 15, 90] }), true)
  assert.equal(isMet(longest, goal, { guarded: [1, 15.1, 90] }), false)
})

test('near another server means its value by a factor and a rest', () => {
  const goal = { kind: 'near', to: 'c', factor: 1.1, plus: 100 }
  assert.equal(isMet(longest, goal, { c: [1_000], guarded: [1_200] }), true)
  assert.equal(isMet(longest, goal, { c: [1_000], guarded: [1_201] }), false)
})

test('the straightforward guard is the base where a goal says so', () => {
  const values = { c: [1], straightforward: [100], guarded: [107] }
  assert.equal(isMet(rate, { ...ratioGoal, to: 'straightforward', limit: 1.08, slack: 0 }, values), false)
  assert.equal(isMet(rate, { ...ratioGoal, to: 'c', limit: 1.08, slack: 0 }, values), true)
})

test('what was not measured is not judged', () => {
  const goal: Goal = { kind: 'ratio', load: 'echo', metric: 'rate', to: 'c', limit: 1, slack: 0 }
  assert.deepEqual(judge([], [goal]), [])
  assert.deepEqual(judge([resultOf(rate, { guarded: [1] })], [goal]), [])
  assert.deepEqual(judge([resultOf(rate, { c: [1] })], [goal]), [])
  assert.deepEqual(judge([resultOf(rate, { c: [1], guarded: [1] })], [{ ...goal, load: 'other' }]), [])
})

test('a verdict says what was wanted and what came', () => {
  const goal: Goal = { kind: 'ratio', load: 'echo', metric: 'rate', to: 'c', limit: 3.2, slack: 0.05 }
  const verdicts = judge([resultOf(rate, { c: [100], guarded: [150] })], [goal])
  assert.deepEqual(verdictLines(verdicts), ['MISSED  Echo: messages/s, to c: 1.50 (goal ≥ 3.20, within 5 %)'])
})

test('every goal is one of a load and a metric that exist, and every load that is compared has one', () => {
  for (const { load, metric } of goals) {
    const found = allLoads.find(({ name }) => name === load)
    assert.ok(
      found?.metrics.some(({ key }) => key === metric),
      `${load}: ${metric}`
    )
  }
  // Nobody but us publishes.
  const without = allLoads.filter(({ name }) => name !== 'publish' && !goals.some(({ load }) => load === name))
  assert.deepEqual(without, [])
})

test('in every row the straightforward guard is to be passed by the same factor', () => {
  const rows = goals.filter((goal) => goal.kind === 'ratio' && goal.to === 'straightforward')
  const rowNames = new Set(rows.map(({ load }) => load))
  const loads = allLoads.filter(({ name }) => !['publish', 'lone'].includes(name))
  assert.deepEqual([...rowNames].sort(), loads.map(({ name }) => name).sort())
  for (const row of rows) {
    const better = allLoads.find(({ name }) => name === row.load)?.metrics.find(({ key }) => key === row.metric)?.better
    assert.equal((row as { limit: number }).limit, better === 'more' ? 1.08 : 1 / 1.08)
  }
})

test('a goal that is missed has the reason that is known for it, and every reason is one of a goal', () => {
  const keys = goals.map((goal) => reasonKey({ ...goal, to: goal.kind === 'value' ? undefined : goal.to }))
  assert.equal(new Set(keys).size, goals.length)
  assert.deepEqual(
    Object.keys(reasons).filter((key) => !keys.includes(key)),
    []
  )
  const goal: Goal = { kind: 'ratio', load: 'echo', metric: 'rate', to: 'straightforward', limit: 2, slack: 0 }
  const known = { 'echo rate straightforward': 'a reason', 'echo rate': 'another one' }
  const reasonAt = (guarded: number) =>
    judge([resultOf(rate, { straightforward: [100], guarded: [guarded] })], [goal], known).map(({ reason }) => reason)
  assert.deepEqual([reasonAt(100), reasonAt(300)], [['a reason'], [undefined]])
})
