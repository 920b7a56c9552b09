/** The result as Markdown. */
import { base, type Contestant } from './contestants.ts'
import type { Verdict } from './goals.ts'
import type { LoadResult, Metric } from './load.ts'
import { factor, number, ratio } from './numbers.ts'
import { disturbedRuns, type Run, ratiosOf, spread, valuesOf } from './rounds.ts'

/** A load generator that has so much of its CPU may be what was measured. */
export const generatorShareMost = 0.9

const none = '–'

export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

/** One load: a row for each server, in the order of `names`. */
export function loadTable(result: LoadResult, names: readonly string[]): string {
  const { metrics } = result.load
  const head = metrics.flatMap(({ title, isCompared }) => (isCompared === true ? [title, '× c [min–max]'] : [title]))
  const rows = names
    .filter((name) => result.runs.some(({ server }) => server === name))
    .map((name) => [
      name,
      ...metrics.flatMap((metric) => cellsOf(result.runs, name, metric)),
      marksOf(result.runs, name)
    ])
  return markdownTable(['server', ...head, 'marks'], rows)
}

function cellsOf(runs: readonly Run[], name: string, { key, digits, isCompared }: Metric): string[] {
  const value = spread(valuesOf(runs, name, key))
  const cell = value === undefined ? none : number(value.median, digits)
  if (isCompared !== true) return [cell]
  const compared = spread(ratiosOf(runs, name, base, key))
  return [cell, compared === undefined ? none : ratio(compared)]
}

/** What a reader has to know before he believes a row. */
export function marksOf(runs: readonly Run[], name: string): string {
  const marks: string[] = []
  const disturbed = disturbedRuns(runs, name)
  if (disturbed > 0) marks.push(`${disturbed} of ${valuesCount(runs, name)} disturbed`)
  const share = spread(valuesOf(runs, name, 'ownCpuShare'))
  if (share !== undefined && share.median > generatorShareMost) {
    marks.push(`generator ${Math.round(share.median * 100)} % busy`)
  }
  return marks.join(', ')
}

function valuesCount(runs: readonly Run[], name: string): number {
  return runs.filter(({ server }) => server === name).length
}

/** All loads at a glance: the median ratio to c of the first metric that is compared. */
export function summaryTable(results: readonly LoadResult[], names: readonly string[]): string {
  const compared = results.flatMap((result) => {
    const metric = result.load.metrics.find(({ isCompared }) => isCompared === true)
    return metric === undefined ? [] : [{ result, metric }]
  })
  const head = compared.map(
    ({ result, metric }) => `${result.load.title}${metric.better === 'less' ? ' (less is better)' : ''}`
  )
  const rows = names.map((name) => [
    name,
    ...compared.map(({ result, metric }) => {
      const ratios = spread(ratiosOf(result.runs, name, base, metric.key))
      return ratios === undefined ? none : `${factor(ratios.median)}×`
    })
  ])
  return markdownTable(['server', ...head], rows)
}

export function verdictTable(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(({ what, goal, measured, isMet }) => [what, goal, measured, isMet ? 'met' : '**missed**'])
  return markdownTable(['goal', 'wanted', 'measured', ''], rows)
}

export function contestantTable(contestants: readonly Contestant[]): string {
  const rows = contestants.map(({ name, does, doesNot }) => [name, does, doesNot])
  return markdownTable(['server', 'what it does', 'what it does not'], rows)
}
