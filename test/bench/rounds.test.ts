import assert from 'node:assert/strict'
import { test } from 'node:test'
import { disturbedRuns, maxTries, type Run, ratiosOf, rotated, spread, takeRounds, valuesOf } from './rounds.ts'

function run(server: string, round: number, rate: number): Run {
  return { server, round, values: { rate }, disturbed: [], tries: 1 }
}

test('the median is the middle value, or the mean of the two in the middle', () => {
  assert.deepEqual(spread([9, 1, 100]), { median: 9, min: 1, max: 100 })
  assert.deepEqual(spread([4, 10, 2, 1]), { median: 3, min: 1, max: 10 })
  assert.deepEqual(spread([7]), { median: 7, min: 7, max: 7 })
  assert.equal(spread([]), undefined)
})

test('values are compared as numbers', () => {
  assert.deepEqual(spread([1_000, 20, 3]), { median: 20, min: 3, max: 1_000 })
})

test('a ratio is taken within its round', () => {
  // The machine was twice as fast in the second round; the ratio is the same.
  const runs = [run('c', 0, 100), run('guarded', 0, 150), run('guarded', 1, 300), run('c', 1, 200)]
  assert.deepEqual(ratiosOf(runs, 'guarded', 'c', 'rate'), [1.5, 1.5])
  assert.deepEqual(valuesOf(runs, 'guarded', 'rate'), [150, 300])
})

test('a round without the base, without the value or with a base of nothing has no ratio', () => {
  const runs = [run('guarded', 0, 150), run('c', 1, 0), run('guarded', 1, 150), run('c', 2, 100), run('guarded', 2, 50)]
  assert.deepEqual(ratiosOf(runs, 'guarded', 'c', 'rate'), [0.5])
  assert.deepEqual(ratiosOf(runs, 'guarded', 'c', 'cpuUs'), [])
})

test('disturbed rounds are left out where enough others are left, and only there', () => {
  const slow = (server: string, round: number, rate: number): Run => ({
    ...run(server, round, rate),
    disturbed: ['slow']
  })
  const quiet = [1, 2, 3, 4].flatMap((round) => [run('c', round, 100), run('guarded', round, 200)])
  const few = [...quiet, slow('c', 5, 10), run('guarded', 5, 90)]
  assert.deepEqual(ratiosOf(few, 'guarded', 'c', 'rate'), [2, 2, 2, 2, 9])
  assert.deepEqual(valuesOf(few, 'c', 'rate'), [100, 100, 100, 100, 10])
  assert.deepEqual(valuesOf(few, 'guarded', 'rate'), [200, 200, 200, 200, 90], 'itself it was not disturbed')
  const enough = [...few, run('c', 6, 100), run('guarded', 6, 300), run('c', 7, 100), slow('guarded', 7, 900)]
  assert.deepEqual(ratiosOf(enough, 'guarded', 'c', 'rate'), [2, 2, 2, 2, 3])
  assert.deepEqual(valuesOf(enough, 'guarded', 'rate'), [200, 200, 200, 200, 90, 300])
})

test('every server runs once a round, and not always after the same one', async () => {
  const order: string[] = []
  await takeRounds({
    servers: ['c', 'ws', 'guarded'],
    rounds: 4,
    async take(server, round) {
      order.push(`${round}${server}`)
      return { values: {}, disturbed: [] }
    }
  })
  assert.deepEqual(order, [
    ...['0c', '0ws', '0guarded'],
    ...['1ws', '1guarded', '1c'],
    ...['2guarded', '2c', '2ws'],
    ...['3c', '3ws', '3guarded']
  ])
  assert.deepEqual(rotated([], 3), [])
})

test('a disturbed run is repeated, and the last one counts', async () => {
  let taken = 0
  const runs = await takeRounds({
    servers: ['c'],
    rounds: 1,
    async take() {
      taken++
      return { values: { rate: taken }, disturbed: taken < 2 ? ['slow'] : [] }
    }
  })
  assert.deepEqual(runs, [{ server: 'c', round: 0, values: { rate: 2 }, disturbed: [], tries: 2 }])
})

test('where one try is enough, a disturbed run is marked and not repeated', async () => {
  const take = async () => ({ values: {}, disturbed: ['slow'] })
  const [run, ...more] = await takeRounds({ servers: ['c'], rounds: 1, tries: 1, take })
  assert.equal(run?.tries, 1)
  assert.deepEqual([run?.disturbed, more], [['slow'], []])
})

test('a run that is always disturbed is repeated once, stays marked, and the next one follows', async () => {
  let taken = 0
  const seen: number[] = []
  const runs = await takeRounds({
    servers: ['c', 'ws'],
    rounds: 1,
    async take(server) {
      taken++
      return { values: {}, disturbed: server === 'c' ? ['slow'] : [] }
    },
    onRound: (all) => seen.push(all.length)
  })
  assert.equal(taken, maxTries + 1)
  assert.deepEqual(seen, [2])
  assert.equal(disturbedRuns(runs, 'c'), 1)
  assert.equal(disturbedRuns(runs, 'ws'), 0)
})
