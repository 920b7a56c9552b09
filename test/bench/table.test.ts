import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LoadResult, Metric } from './load.ts'
import type { Run } from './rounds.ts'
import { loadTable, markdownTable, marksOf, summaryTable, verdictTable } from './table.ts'

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

test('a goal that was missed stands out', () => {
  const verdicts = [
    { what: 'a', goal: '≥ 1.00', measured: '1.10', isMet: true },
    { what: 'b', goal: '≥ 3.20', measured: '1.10', isMet: false }
  ]
  assert.deepEqual(verdictTable(verdicts).split('\n').slice(2), [
    '| a | ≥ 1.00 | 1.10 | met |',
    '| b | ≥ 3.20 | 1.10 | **missed** |'
  ])
})
