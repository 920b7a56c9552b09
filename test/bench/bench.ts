/** Takes the loads one after the other, and hands on what was measured. */
import { Calibration } from './calibrate.ts'
import { type Build, base, type Contestant, type Field, fieldOf, guarded, straightforward } from './contestants.ts'
import { compile } from './generator.ts'
import { judge, verdictLines } from './goals.ts'
import { Inputs } from './inputs.ts'
import type { Bench, Load, LoadResult, Settings } from './load.ts'
import { allLoads } from './loads/all.ts'
import { machineHere } from './machine.ts'
import { type Pinning, pinningHere } from './pinning.ts'
import { progressOf } from './progress.ts'
import { type Report, writeReport, writeRuns } from './report.ts'
import { maxTries } from './rounds.ts'
import { ServerProcess } from './server-process.ts'

export interface BenchOptions {
  /** Names of loads; default: all. */
  readonly only?: readonly string[] | undefined
  readonly servers?: readonly string[] | undefined
  readonly rounds?: number | undefined
  readonly seconds?: number | undefined
  readonly peers: boolean
  readonly isShort: boolean
  readonly builds?: readonly Build[] | undefined
  readonly json?: string | undefined
  readonly write: boolean
  /** The folder to write to; default docs/, which a short run leaves as it is. */
  readonly to?: string | undefined
}

/** Many short rounds: what else a machine does comes and goes within seconds. */
const usual: Settings = { rounds: 20, seconds: 0.25, tries: maxTries, isShort: false }
const short: Settings = { rounds: 2, seconds: 0.3, tries: 1, isShort: true }
const shortServers: readonly string[] = [base, guarded, straightforward]

/** @returns whether every goal was met, of those that were measured; a short run judges nothing */
export async function runBench(options: BenchOptions): Promise<boolean> {
  const settings = settingsOf(options)
  if (options.write && options.isShort && options.to === undefined) {
    throw new Error('a short run measures nothing worth writing: --write needs --to <folder>')
  }
  const loads = chosen('load', allLoads, options.only)
  const field = await fieldOf({ peers: options.peers && !options.isShort, builds: options.builds })
  const contestants = contestantsOf(field, options)
  const pinning = pinningHere()
  const notes = [...field.notes]
  for (const note of notes) console.log(note)
  // Asked first: it would be a pity to find out at the end that one does not start.
  const machine = machineHere(pinning, settings.isShort ? {} : await versionsOf(contestants, notes))
  const results = await measureAll(loads, contestants, settings, pinning, notes)
  const verdicts = settings.isShort ? [] : judge(results)
  for (const line of verdictLines(verdicts)) console.log(line)
  const report: Report = { settings, machine, contestants, results, verdicts, notes }
  if (options.json !== undefined) writeRuns(options.json, report)
  if (options.write) writeReport(report, options.to)
  return verdicts.every(({ isMet }) => isMet)
}

async function measureAll(
  loads: readonly Load[],
  contestants: readonly Contestant[],
  settings: Settings,
  pinning: Pinning | undefined,
  notes: string[]
): Promise<LoadResult[]> {
  await compile()
  const inputs = new Inputs()
  const calibration = await Calibration.start(pinning, !settings.isShort)
  const note = (text: string): void => {
    notes.push(text)
    console.log(text)
  }
  const onRound: Bench['onRound'] = (load, runs) => console.log(progressOf(load, runs))
  const bench: Bench = { settings, inputs, calibration, pinning, note, onRound }
  const results: LoadResult[] = []
  try {
    for (const load of loads) {
      results.push({ load, runs: await load.measure(bench, entrantsOf(load, contestants)) })
    }
  } finally {
    await calibration.stop()
    inputs.remove()
  }
  return results
}

/** Of all servers together, each asked in a process of its own. */
async function versionsOf(
  contestants: readonly Contestant[],
  notes: string[]
): Promise<Readonly<Record<string, string>>> {
  const versions: Record<string, string> = {}
  for (const contestant of contestants) {
    const server = await ServerProcess.start(contestant)
    try {
      Object.assign(versions, await server.versions())
    } catch (error) {
      if (contestant.isOurs) throw error
      notes.push(`${contestant.name} does not tell its versions`)
      console.log(notes.at(-1), error)
    } finally {
      await server.stop()
    }
  }
  return versions
}

function settingsOf({ isShort, rounds, seconds }: BenchOptions): Settings {
  const defaults = isShort ? short : usual
  return { ...defaults, ...(rounds !== undefined && { rounds }), ...(seconds !== undefined && { seconds }) }
}

/** Whoever names another build wants to see it, with or without its name. */
function contestantsOf({ contestants }: Field, { servers, isShort }: BenchOptions): readonly Contestant[] {
  const names = servers ?? (isShort ? shortServers : undefined)
  const wanted = chosen('server', contestants, names)
  return contestants.filter((contestant) => contestant.isBuild || wanted.includes(contestant))
}

function chosen<T extends { readonly name: string }>(
  what: string,
  all: readonly T[],
  names: readonly string[] | undefined
): readonly T[] {
  const unknown = names?.find((name) => !all.some((one) => one.name === name))
  if (unknown !== undefined) {
    throw new Error(`there is no ${what} ${unknown}; there are ${all.map(({ name }) => name).join(', ')}`)
  }
  return names === undefined ? all : all.filter(({ name }) => names.includes(name))
}

function entrantsOf({ servers }: Load, contestants: readonly Contestant[]): readonly Contestant[] {
  if (servers === undefined) return contestants
  return contestants.filter(({ name, isBuild }) => servers.includes(isBuild ? guarded : name))
}
