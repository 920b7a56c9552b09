/**
 * Rounds: every server once, one after the other, so that what the machine does in the meantime meets all of them.
 * A ratio is taken within a round, never between rounds.
 */

export type Values = Readonly<Record<string, number>>

/** What one run measured. */
export interface Take {
  readonly values: Values
  /** Why it should be doubted; none when nothing was seen. */
  readonly disturbed: readonly string[]
}

export interface Run extends Take {
  readonly server: string
  readonly round: number
  /** How often it was taken until nothing disturbed it, or until that was enough. */
  readonly tries: number
}

export interface Plan {
  readonly servers: readonly string[]
  readonly rounds: number
  readonly take: (server: string, round: number) => Promise<Take>
  /** Default `maxTries`. */
  readonly tries?: number
  /** After each round, with all runs until then. */
  readonly onRound?: (runs: readonly Run[]) => void
}

/** A run that was disturbed is repeated until it was taken so often. */
export const maxTries = 2

export async function takeRounds({ servers, rounds, take, tries = maxTries, onRound }: Plan): Promise<Run[]> {
  const runs: Run[] = []
  for (let round = 0; round < rounds; round++) {
    for (const server of rotated(servers, round)) {
      runs.push(await takeUndisturbed(server, round, take, tries))
    }
    onRound?.(runs)
  }
  return runs
}

/** Who comes after whom changes, so that no server always follows the same one. */
export function rotated<T>(list: readonly T[], by: number): T[] {
  const at = list.length === 0 ? 0 : by % list.length
  return [...list.slice(at), ...list.slice(0, at)]
}

async function takeUndisturbed(server: string, round: number, take: Plan['take'], most: number): Promise<Run> {
  for (let tries = 1; ; tries++) {
    const taken = await take(server, round)
    if (taken.disturbed.length === 0 || tries >= most) return { ...taken, server, round, tries }
  }
}

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** @returns undefined when there are no values */
export function spread(values: readonly number[]): Spread | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  const [min, max] = [sorted[0], sorted[sorted.length - 1]]
  if (min === undefined || max === undefined) return undefined
  const half = sorted.length / 2
  const middle = sorted.slice(Math.ceil(half) - 1, Math.floor(half) + 1)
  return { median: middle.reduce((sum, value) => sum + value, 0) / middle.length, min, max }
}

/** Of so many undisturbed rounds the median is worth more than that of all. */
export const quietRoundsLeast = 5

/** That value in the rounds in which it was measured. */
export function valuesOf(runs: readonly Run[], server: string, key: string): number[] {
  const found = runs
    .filter((run) => run.server === server)
    .flatMap(({ values, disturbed }) => {
      const value = values[key]
      return value === undefined ? [] : { value, isQuiet: disturbed.length === 0 }
    })
  return quietOf(found)
}

/** In the rounds in which both were measured: the server's value divided by that of the base. */
export function ratiosOf(runs: readonly Run[], server: string, base: string, key: string): number[] {
  const bases = new Map(runs.filter((run) => run.server === base).map((run) => [run.round, run]))
  const found = runs
    .filter((run) => run.server === server)
    .flatMap(({ round, values, disturbed }) => {
      const other = bases.get(round)
      const value = values[key]
      const divisor = other?.values[key]
      const isQuiet = disturbed.length === 0 && other?.disturbed.length === 0
      return value === undefined || !divisor ? [] : { value: value / divisor, isQuiet }
    })
  return quietOf(found)
}

interface Measured {
  readonly value: number
  readonly isQuiet: boolean
}

/** Those of undisturbed rounds where there are enough of them, otherwise all: the same rule for every server. */
function quietOf(found: readonly Measured[]): number[] {
  const quiet = found.filter(({ isQuiet }) => isQuiet)
  return (quiet.length >= quietRoundsLeast ? quiet : found).map(({ value }) => value)
}

/** How many runs of a server stayed disturbed. */
export function disturbedRuns(runs: readonly Run[], server: string): number {
  return runs.filter((run) => run.server === server && run.disturbed.length > 0).length
}
