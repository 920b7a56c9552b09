/** What a load is: who takes part, what is measured, and how. */
import type { Calibration } from './calibrate.ts'
import type { Contestant } from './contestants.ts'
import type { Inputs } from './inputs.ts'
import type { LoadOptions } from './load-process.ts'
import type { Pinning } from './pinning.ts'
import type { Run } from './rounds.ts'
import { ServerProcess } from './server-process.ts'

export interface Metric {
  /** In the values of a run. */
  readonly key: string
  readonly title: string
  readonly better: 'more' | 'less'
  /** Behind the point. */
  readonly digits: number
  /** Shown as a ratio to the base as well. */
  readonly isCompared?: boolean
}

export interface Settings {
  readonly rounds: number
  /** Of one run of a load that is measured as a rate. */
  readonly seconds: number
  /** How often a run is taken, at most, when it is disturbed. */
  readonly tries: number
  /** To see that everything runs, not to measure. */
  readonly isShort: boolean
}

export interface Load {
  readonly name: string
  readonly title: string
  /** For the reader of the table. */
  readonly about: string
  readonly metrics: readonly Metric[]
  /** Names of those who take part; default: all. */
  readonly servers?: readonly string[]
  readonly measure: (bench: Bench, contestants: readonly Contestant[]) => Promise<Run[]>
}

/** What a load has measured. */
export interface LoadResult {
  readonly load: Pick<Load, 'name' | 'title' | 'about' | 'metrics'>
  readonly runs: readonly Run[]
}

/** What every load is given. */
export interface Bench {
  readonly settings: Settings
  readonly inputs: Inputs
  readonly calibration: Calibration
  readonly pinning: Pinning | undefined
  /** Tells who is left out of a load. */
  readonly note: (text: string) => void
  readonly onRound: (load: Load, runs: readonly Run[]) => void
}

/** @returns how large a load is: `full` to measure, `short` to see that it runs */
export function sizeOf<T>({ settings }: Bench, { full, short }: { readonly full: T; readonly short: T }): T {
  return settings.isShort ? short : full
}

export type Target = Pick<LoadOptions, 'port' | 'pid' | 'headers' | 'tokens'> & Partial<LoadOptions>

/** Where a load goes, and who connects: so many `users`. */
export function targetOf({ inputs, pinning }: Bench, contestant: Contestant, at: ServerProcess, users: number): Target {
  return {
    port: String(at.port),
    pid: String(at.pid),
    ...(pinning && { serverCpu: pinning.server }),
    ...inputs.connecting(contestant, users)
  }
}

export type Servers = ReadonlyMap<string, ServerProcess>

/** Servers that are up at once; all of them are stopped at the end, whatever it was. */
export async function withServers<T>(
  { pinning }: Bench,
  contestants: readonly Contestant[],
  env: Readonly<Record<string, string>>,
  use: (servers: Servers) => Promise<T>
): Promise<T> {
  const servers = new Map<string, ServerProcess>()
  try {
    for (const contestant of contestants) {
      const own = { ...contestant, env: { ...contestant.env, ...env } }
      servers.set(contestant.name, await ServerProcess.start(own, pinning))
    }
    return await use(servers)
  } finally {
    await Promise.all([...servers.values()].map((server) => server.stop()))
  }
}

export function contestantOf(contestants: readonly Contestant[], name: string): Contestant {
  const found = contestants.find((contestant) => contestant.name === name)
  if (found === undefined) throw new Error(`nobody is called ${name}`)
  return found
}
