/** The result as Markdown. */
import { base, byHand, type Contestant, guarded, straightforward } from './contestants.ts'
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

/** One load: a row for each server, in the order of `names`; what is measured in other ways than one comes after them. */
export function loadTable(result: LoadResult, names: readonly string[]): string {
  const { metrics } = result.load
  const head = metrics.flatMap(({ title, isCompared }) => (isCompared === true ? [title, '× c [min–max]'] : [title]))
  const measured = new Set(result.runs.map(({ server }) => server))
  const rows = [...new Set([...names, ...measured])]
    .filter((name) => measured.has(name))
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

/**
 * Every goal, for the README: what those measure who check as well, what this package does, what it has to reach, and
 * whether it did. Loads are in the order of `results`.
 */
export function goalTable(results: readonly LoadResult[], verdicts: readonly Verdict[]): string {
  const rows = results.flatMap((result) =>
    result.load.metrics.flatMap((metric) => {
      const own = verdicts.filter((verdict) => verdict.load === result.load.name && verdict.metric === metric.key)
      return own.length === 0 ? [] : [goalRow(result, metric, own)]
    })
  )
  const servers = [base, byHand, straightforward, guarded]
  return markdownTable(['load', ...servers, 'goal', '', `to ${straightforward}`, '', 'why it is missed'], rows)
}

/** A metric that is compared is shown as the ratio to the base, and for the base as it is. */
function goalRow({ load, runs }: LoadResult, metric: Metric, verdicts: readonly Verdict[]): string[] {
  const [first] = verdicts.filter(({ to }) => to !== straightforward)
  const [second] = verdicts.filter(({ to }) => to === straightforward)
  const cell = (name: string, isWhole: boolean): string => {
    const isRatio = metric.isCompared === true && name !== base
    const of = spread(isRatio ? ratiosOf(runs, name, base, metric.key) : valuesOf(runs, name, metric.key))
    if (of === undefined) return none
    const write = (value: number): string => (isRatio ? factor(value) : number(value, metric.digits))
    const median = isRatio ? `${write(of.median)}×` : write(of.median)
    return isWhole ? `**${median}** [${write(of.min)}–${write(of.max)}]` : median
  }
  const reasons = verdicts.filter(({ isMet }) => !isMet).map(({ reason }) => reason ?? 'not known yet')
  return [
    `${load.title}: ${metric.title}`,
    ...[base, byHand, straightforward].map((name) => cell(name, false)),
    cell(guarded, true),
    first?.goal ?? none,
    verdictOf(first),
    second === undefined ? none : `${second.measured}×, goal ${second.goal}`,
    verdictOf(second),
    [...new Set(reasons)].join('; ')
  ]
}

function verdictOf(verdict: Verdict | undefined): string {
  if (verdict === undefined) return none
  return verdict.isMet ? 'reached' : '**missed**'
}

export function contestantTable(contestants: readonly Contestant[]): string {
  const rows = contestants.map(({ name, does, doesNot }) => [name, does, doesNot])
  return markdownTable(['server', 'what it does', 'what it does not'], rows)
}
