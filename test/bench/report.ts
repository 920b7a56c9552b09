/** docs/benchmark.md and docs/benchmark.svg, and every run as JSON. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chartOf } from './chart.ts'
import type { Contestant } from './contestants.ts'
import type { Verdict } from './goals.ts'
import type { LoadResult, Settings } from './load.ts'
import { type Machine, machineLines } from './machine.ts'
import { quietRoundsLeast, type Run } from './rounds.ts'
import { contestantTable, goalTable, loadTable, summaryTable } from './table.ts'

export interface Report {
  readonly settings: Settings
  readonly machine: Machine
  readonly contestants: readonly Contestant[]
  readonly results: readonly LoadResult[]
  readonly verdicts: readonly Verdict[]
  readonly notes: readonly string[]
}

const docs = fileURLToPath(new URL('../../docs', import.meta.url))

/** @param folder made when it is not there; default docs/ */
export function writeReport(report: Report, folder: string = docs): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'benchmark.md'), markdownOf(report))
  writeFileSync(join(folder, 'benchmark.svg'), pictureOf(report))
}

/** What is stored of a report. */
export interface StoredReport extends Pick<Report, 'machine' | 'settings' | 'notes' | 'verdicts'> {
  readonly loads: readonly { readonly load: string; readonly runs: readonly Run[] }[]
}

export function writeRuns(path: string, { settings, machine, results, verdicts, notes }: Report): void {
  const loads = results.map(({ load, runs }) => ({ load: load.name, runs }))
  const stored: StoredReport = { machine, settings, notes, verdicts, loads }
  writeFileSync(path, `${JSON.stringify(stored, undefined, 2)}\n`)
}

function pictureOf({ machine, results, contestants }: Report): string {
  const { cpu, cores, node, versions, date } = machine
  const foot = `${cpu}, ${cores} cores, Node ${node}, fastify-ws-guard ${versions['fastify-ws-guard']}, ${date}`
  return chartOf(results, namesOf(contestants), foot)
}

function namesOf(contestants: readonly Contestant[]): string[] {
  return contestants.map(({ name }) => name)
}

export function markdownOf(report: Report): string {
  const { machine, contestants, results, verdicts, notes, settings } = report
  const names = namesOf(contestants)
  const loads = results.flatMap((result) => [`### ${result.load.title}`, result.load.about, loadTable(result, names)])
  return [
    '# Benchmark',
    'Written by `npm run bench -- --write`.',
    '![Ratios to a bare echo, by load and server](benchmark.svg)',
    ...(settings.isShort ? ['**A short run, to see that everything works: its numbers say nothing.**'] : []),
    ...machineLines(machine),
    'All loads at a glance: the ratio to `c`, a bare echo on @fastify/websocket that checks nothing.',
    summaryTable(results, names),
    ...notes.map((note) => `- ${note}`),
    ...(verdicts.length === 0 ? [] : ['## Goals', goalText, goalTable(results, verdicts)]),
    '## Who takes part',
    contestantTable(contestants),
    '## How it was measured',
    method(settings),
    '## Loads',
    ...loads
  ]
    .join('\n\n')
    .replaceAll(/^(- .*)\n\n(?=- )/gm, '$1\n')
    .concat('\n')
}

const goalText =
  'The column of `c` has its values, those of the others have ratios to it where a load is compared: the median of the ' +
  'rounds, for this package with the least and the most. What is written by hand with care is to be passed in every row.'

function method({ rounds, seconds }: Settings): string {
  const sentences = [
    'All servers of a load are up at once, each in a process of its own.',
    'Where a rate is measured, each is loaded before until its code is compiled, handshakes 20,000 times.',
    `They are measured in turn, ${seconds} s each, in ${rounds} rounds; where memory or time is measured, in fewer.`,
    'A ratio is taken within a round; shown are the median of the rounds, the least and the most.',
    'Before and after each run the same work is timed on the servers’ core: a run is disturbed, and taken once more,',
    'when that was 25 % slower than at its best or when others had more than 6 % of the core. Disturbed rounds are left',
    `out where ${quietRoundsLeast} others are left, for every server alike.`,
    'The load generator sends frames that were masked before, checks the length of every answer, and the bytes of the',
    'first one of each connection.'
  ]
  return sentences.join('\n')
}
