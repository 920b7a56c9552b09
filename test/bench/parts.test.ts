/** The small parts of the benchmark that decide what is measured, and on whom. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { disturbances } from './calibrate.ts'
import { fieldOf, readBuild } from './contestants.ts'
import type { Load, LoadResult } from './load.ts'
import { argumentsOf } from './load-process.ts'
import { allLoads } from './loads/all.ts'
import type { Machine } from './machine.ts'
import { factor, number, ratio } from './numbers.ts'
import { cpusOf } from './pinning.ts'
import { progressOf } from './progress.ts'
import { markdownOf, writeRuns } from './report.ts'
import { readReports } from './stored.ts'

test('a list of CPUs may have ranges', () => {
  assert.deepEqual(cpusOf('0-1'), [0, 1])
  assert.deepEqual(cpusOf('2,5-7,11'), [2, 5, 6, 7, 11])
  assert.deepEqual(cpusOf(''), [])
})

test('options of the load generator are written as it reads them, and what is not given is left out', () => {
  const options = { mode: 'pace', port: '1,2', path: '/', headers: 'h', tokens: 't', conns: 1, perSecond: 0.5 } as const
  assert.deepEqual(
    argumentsOf({ ...options, ...({ seconds: undefined } as object), serverCpu: 0 }).join(' '),
    '--mode pace --port 1,2 --path / --headers h --tokens t --conns 1 --per-second 0.5 --server-cpu 0'
  )
})

test('a run is disturbed by a slow machine, or by others on its CPU, and only beyond the bounds', () => {
  assert.deepEqual(disturbances(1.25, 0.06), [])
  assert.deepEqual(disturbances(1.1, null), [])
  assert.equal(disturbances(1.26, 0).length, 1)
  assert.equal(disturbances(1, 0.061).length, 1)
  assert.equal(disturbances(2, 0.5).length, 2)
})

test('other builds are servers of their own, right after this one', async () => {
  const namesOf = async (...builds: string[]) =>
    (await fieldOf({ peers: false, builds: builds.map(readBuild) })).contestants.map(({ name, env, isBuild }) => [
      name,
      env?.BENCH_GUARD,
      isBuild === true
    ])
  const plain = await namesOf()
  const compared = await namesOf('/some/dist', 'old=/another=one/dist')
  const at = plain.findIndex(([name]) => name === 'guarded')
  assert.deepEqual(compared.toSpliced(at + 1, 2), plain)
  assert.deepEqual(compared.slice(at + 1, at + 3), [
    ['before', 'file:///some/dist/index.js', true],
    ['old', 'file:///another=one/dist/index.js', true]
  ])
})

test('peers take part, or it is said why not', async () => {
  const { contestants, notes } = await fieldOf({ peers: true })
  const names = contestants.map(({ name }) => name)
  assert.equal(new Set(names).size, names.length)
  for (const name of ['c', 'guarded', 'straightforward', 'socket-io', 'nest']) assert.ok(names.includes(name), name)
  assert.ok(names.includes('elysia') !== notes.some((note) => note.startsWith('elysia ')))
})

test('numbers have the digits that matter', () => {
  assert.equal(number(41_234.56, 0), '41,235')
  assert.equal(number(0.5, 2), '0.50')
  assert.deepEqual([factor(0.174), factor(9.994), factor(12.34)], ['0.17', '9.99', '12.3'])
  assert.equal(ratio({ median: 1, min: 0.5, max: 11 }), '1.00× [0.50–11.0]')
})

const load: Load = {
  name: 'echo',
  title: 'Echo',
  about: 'One sentence.',
  metrics: [{ key: 'rate', title: 'messages/s', better: 'more', digits: 0, isCompared: true }],
  measure: async () => []
}
const runs = [
  { server: 'c', round: 0, values: { rate: 100 }, disturbed: [], tries: 1 },
  { server: 'guarded', round: 0, values: { rate: 300 }, disturbed: [], tries: 1 },
  { server: 'c', round: 1, values: { rate: 100 }, disturbed: [], tries: 1 },
  { server: 'guarded', round: 1, values: { rate: 200 }, disturbed: ['the machine was slow'], tries: 4 }
]

test('after a round there is a line for each server: its value, the ratio until now, and why to doubt it', () => {
  assert.deepEqual(progressOf(load, runs).split('\n'), [
    'echo, round 2',
    '  c               messages/s 100  1.00× [1.00–1.00]',
    '  guarded         messages/s 200  2.50× [2.00–3.00]  taken 4 times  the machine was slow'
  ])
})

const versions = { 'fastify-ws-guard': '0.1.0', ws: '8.23.0', node: '20' }
const machine: Machine = {
  ...{ date: '2030-01-02', cpu: 'A CPU', cores: 2, memoryGb: 8, kernel: 'linux 6', node: '20', pinned: true },
  versions
}

test('the document has the table of each load, the goals, the notes, the machine and the date', async () => {
  const { contestants } = await fieldOf({ peers: false })
  const text = markdownOf({
    settings: { rounds: 2, seconds: 0.6, tries: 4, isShort: false },
    machine,
    contestants,
    results: [{ load, runs }],
    verdicts: [{ load: 'echo', metric: 'rate', to: 'c', what: 'a goal', goal: '≥ 9', measured: '1', isMet: false }],
    notes: ['one is missing', 'another one, too']
  })
  for (const part of [
    'Measured on 2030-01-02: A CPU, 2 cores, 8 GB, linux 6, Node 20; fastify-ws-guard 0.1.0, ws 8.23.0.',
    '| guarded | 2.50× |',
    '\n- one is missing\n- another one, too\n',
    '| Echo: messages/s | 100 | – | – | **2.50×** [2.00–3.00] | ≥ 9 | **missed** | – | – | not known yet |',
    '### Echo\n\nOne sentence.\n\n| server | messages/s | × c [min–max] | marks |',
    '| guarded | 250 | 2.50× [2.00–3.00] | 1 of 2 disturbed |',
    '0.6 s each, in 2 rounds'
  ]) {
    assert.ok(text.includes(part), `${part}\nis not in\n${text}`)
  }
})

test('stored runs are read again: a load that is in several files is that of the last one', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'ws-guard-bench-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const settings = { rounds: 2, seconds: 0.6, tries: 4, isShort: false }
  const results = (name: string, rate: number) => {
    const found = allLoads.find((one) => one.name === name) as Load
    const take = { round: 0, values: { rate, heap: rate, rss: rate }, disturbed: [], tries: 1 }
    return {
      load: found,
      runs: [
        { ...take, server: 'guarded' },
        { ...take, server: 'c' }
      ]
    }
  }
  const store = (file: string, of: readonly LoadResult[], changed: Partial<Machine> = {}, as = settings): string => {
    const path = join(folder, file)
    writeRuns(path, {
      settings: as,
      contestants: [],
      verdicts: [],
      notes: [file],
      results: of,
      machine: { ...machine, ...changed }
    })
    return path
  }
  const first = store('first', [results('idle', 1), results('handshake', 2)])
  const second = store('second', [results('idle', 3)], { versions: { ...machine.versions, zod: '4' } })
  const several = 'The loads were measured in several runs of the benchmark, each load with all its servers in one.'
  const report = await readReports([first, second])
  assert.deepEqual(
    report.results.map(({ load: { name }, runs: [run] }) => [name, run?.values.rate]),
    [
      ['handshake', 2],
      ['idle', 3]
    ]
  )
  assert.deepEqual(
    [report.notes, report.contestants.map(({ name }) => name)],
    [
      ['first', 'second', several],
      ['c', 'guarded']
    ]
  )
  assert.equal(report.machine.versions.zod, '4')
  assert.ok(report.verdicts.some(({ load, isMet }) => load === 'idle' && !isMet))
  const elsewhere = store('elsewhere', [], { cpu: 'another' })
  await assert.rejects(readReports([first, elsewhere]), /not measured on one machine/)
  const short = store('short', [], {}, { ...settings, rounds: 1 })
  await assert.rejects(readReports([first, short]), /the same rounds/)
  await assert.rejects(readReports([]), /nothing to read/)
})
