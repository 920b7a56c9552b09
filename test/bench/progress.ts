/** What is printed while it runs: after each round a line for each server, so that one sees it converge. */
import { base } from './contestants.ts'
import type { Load, Metric } from './load.ts'
import { number, ratio } from './numbers.ts'
import { type Run, ratiosOf, spread, valuesOf } from './rounds.ts'

/** Of a name. */
const least = 16

export function progressOf(load: Load, runs: readonly Run[]): string {
  const round = Math.max(...runs.map((run) => run.round))
  const last = runs.filter((run) => run.round === round)
  const names = [...new Set(runs.map(({ server }) => server))]
  const width = Math.max(least, ...names.map(({ length }) => length + 2))
  const lines = names.flatMap((name) => {
    const run = last.find(({ server }) => server === name)
    return run === undefined ? [] : [`  ${name.padEnd(width)}${lineOf(load, run, runs)}`]
  })
  return [`${load.name}, round ${round + 1}`, ...lines].join('\n')
}

function lineOf({ metrics }: Load, run: Run, runs: readonly Run[]): string {
  const parts = metrics.map((metric) => partOf(metric, run, runs))
  if (run.tries > 1) parts.push(`taken ${run.tries} times`)
  return [...parts, ...run.disturbed].filter((part) => part !== '').join('  ')
}

function partOf({ key, title, digits, isCompared = false }: Metric, run: Run, runs: readonly Run[]): string {
  const value = run.values[key]
  if (value === undefined) return ''
  const text = `${title} ${number(value, digits)}`
  const all = spread(isCompared ? ratiosOf(runs, run.server, base, key) : valuesOf(runs, run.server, key))
  return isCompared && all !== undefined ? `${text}  ${ratio(all)}` : text
}
