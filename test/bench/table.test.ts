import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LoadResult, Metric } from './load.ts'
import type { Run } from './rounds.ts'
import { goalTable, loadTable, markdownTable, marksOf, summaryTable } from './table.ts'

const rate: Metric = { key: 'rate', title: 'messages/s', better: 'more', digits: 0, isCompared: true }
const p50: Metric = { key: 'p50', title: 'p50 ms', better: 'less', digits: 2 }
const heap: Metric = { key: 'heap', title: 'heap KB', better: 'less', digits: 1, isCompared: true }

function run(server: string, round: number, values: Run['values'], disturbed: readonly string[] = []): Run {
  return { server, round, values, disturbed, tries: 1 }
}

function resultOf(metrics: readonly Metric[], runs: readonly Run[]): LoadResult {
  return { load: { name: 'echo', title: 'Echo', about: '', metrics }, runs }
}

test('a table has a line below its head, and a bar in a cell does not end the cell', () => {
  assert.equal(markdownTable(['a', 'b'], [['x|y', '']]), '| a | b |\n| --- | --- |\n| x\\|y |  |')
})

test('a load has the median of each value, and the ratio to c with its least and most', () => {
  const result = resultOf(
    [rate, p50],
    [
      run('c', 0, { rate: 40_000, p50: 1 }),
      run('guarded', 0, { rate: 50_000, p50: 1.234 }),
      run('guarded', 1, { rate: 90_000, p50: 2 }),
      run('c', 1, { rate: 60_000, p50: 1 })
    ]
  )
  assert.deepEqual(loadTable(result, ['c', 'absent', 'guarded']).split('\n'), [
    '| server | messages/s | × c [min–max] | p50 ms | marks |',
    '| --- | --- | --- | --- | --- |',
    '| c | 50,000 | 1.00× [1.00–1.00] | 1.00 |  |',
    '| guarded | 70,000 | 1.38× [1.25–1.50] | 1.62 |  |'
  ])
})

test('a value that was not measured is a dash', () => {
  const result = resultOf([rate, p50], [run('guarded', 0, { rate: 1_000 })])
  assert.equal(loadTable(result, ['guarded']).split('\n')[2], '| guarded | 1,000 | – | – |  |')
})

test('disturbed runs and a busy generator are marked', () => {
  const runs = [
    run('guarded', 0, { ownCpuShare: 0.95 }, ['slow']),
    run('guarded', 1, { ownCpuShare: 0.92 }),
    run('guarded', 2, { ownCpuShare: 0.2 }),
    run('c', 0, { ownCpuShare: 0.9 })
  ]
  assert.equal(marksOf(runs, 'guarded'), '1 of 3 disturbed, generator 92 % busy')
  assert.equal(marksOf(runs, 'c'), '')
})

test('the summary has a row for each server and a column for each load that is compared', () => {
  const echo = resultOf([p50, rate], [run('c', 0, { rate: 100 }), run('guarded', 0, { rate: 1_234 })])
  const idle = { ...resultOf([heap], [run('c', 0, { heap: 10 }), run('ws', 0, { heap: 4.6 })]) }
  const lone = resultOf([p50], [run('c', 0, { p50: 1 })])
  const results = [echo, { ...idle, load: { ...idle.load, title: 'Idle' } }, lone]
  assert.deepEqual(summaryTable(results, ['c', 'ws', 'guarded']).split('\n'), [
    '| server | Echo | Idle (less is better) |',
    '| --- | --- | --- |',
    '| c | 1.00× | 1.00× |',
    '| ws | – | 0.46× |',
    '| guarded | 12.3× | – |'
  ])
})

test('what is measured in several ways has a row for each, after the servers', () => {
  const result = resultOf([p50], [run('two', 0, { p50: 2 }), run('one', 0, { p50: 1 }), run('c', 0, { p50: 3 })])
  const rows = loadTable(result, ['c', 'guarded']).split('\n').slice(2)
  assert.deepEqual(rows, ['| c | 3.00 |  |', '| two | 2.00 |  |', '| one | 1.00 |  |'])
})

test('a goal has the values of those who check as well, whether it is reached, and why not', () => {
  const runs = [
    run('c', 0, { rate: 40_000, p50: 1 }),
    run('by-hand', 0, { rate: 20_000 }),
    run('straightforward', 0, { rate: 35_000, p50: 100 }),
    run('guarded', 0, { rate: 44_000, p50: 1.5 }),
    run('c', 1, { rate: 40_000, p50: 1 }),
    run('guarded', 1, { rate: 48_000, p50: 2.5 })
  ]
  const to = (server: string | undefined, metric: string) => ({ load: 'echo', metric, to: server, what: '' })
  const verdicts = [
    { ...to('straightforward', 'rate'), goal: '≥ 1.08', measured: '1.31', isMet: true },
    { ...to(undefined, 'p50'), goal: '≤ 1', measured: '2', isMet: false, reason: 'a reason' },
    { ...to('c', 'rate'), goal: '≥ 9.00', measured: '1.15', isMet: false }
  ]
  const other = { ...resultOf([rate], runs), load: { name: 'other', title: 'Other', about: '', metrics: [rate] } }
  assert.deepEqual(goalTable([other, resultOf([p50, rate], runs)], verdicts).split('\n'), [
    '| load | c | by-hand | straightforward | guarded | goal |  | to straightforward |  | why it is missed |',
    `|${' --- |'.repeat(10)}`,
    '| Echo: p50 ms | 1.00 | – | 100.00 | **2.00** [1.50–2.50] | ≤ 1 | **missed** | – | – | a reason |',
    '| Echo: messages/s | 40,000 | 0.50× | 0.88× | **1.15×** [1.10–1.20] | ≥ 9.00 | **missed** | 1.31×, goal ≥ 1.08 | reached | not known yet |'
  ])
})
