/** Loads that are measured as a rate: all servers up at once, short runs, one after the other. */
import { disturbances } from './calibrate.ts'
import type { Contestant } from './contestants.ts'
import { echo, fan, type Rates, shake } from './generator.ts'
import {
  type Bench,
  contestantOf,
  type Load,
  type Metric,
  type Servers,
  sizeOf,
  targetOf,
  withServers
} from './load.ts'
import { type Run, type Take, takeRounds } from './rounds.ts'
import type { ServerProcess } from './server-process.ts'

export interface RateLoad extends Pick<Load, 'name' | 'title' | 'about'> {
  readonly mode: 'echo' | 'shake' | 'fan'
  /** Of a message. */
  readonly bytes: number
  readonly conns: number
  /** Messages under way at a time: of each connection, or of the one that publishes. */
  readonly window: number
  /** What is counted. */
  readonly unit: string
  /** What a server does until its code is compiled is not counted. */
  readonly warmUpSeconds: number
  /** It is warm only after so many: as many seconds as they take are added, but not without end. */
  readonly warmUpCount?: number
}

/** The most seconds in which a server may come to its `warmUpCount`. */
const warmUpSecondsMost = 60
/**
 * `warm`: seconds after the connections are open, before what is counted. Opening more connections is most of what a
 * short run would take.
 */
const sizes = { full: { connsMost: 25_000, warm: 0.1 }, short: { connsMost: 200, warm: 0.05 } }
const shortWarmUp = { seconds: 0.25, count: 0 }
const users = 1_000

/** Of `takeRates`. */
export function rateMetrics(unit: string, isCompared: boolean): readonly Metric[] {
  return [
    { key: 'rate', title: `${unit}/s`, better: 'more', digits: 0, isCompared },
    { key: 'cpuUs', title: 'CPU µs each', better: 'less', digits: 1, isCompared },
    { key: 'p50Us', title: 'p50 µs', better: 'less', digits: 0 },
    { key: 'p99Us', title: 'p99 µs', better: 'less', digits: 0 }
  ]
}

export function rateLoad(load: RateLoad): Load {
  const { name, title, about, unit } = load
  const metrics = rateMetrics(unit, true)
  const measured: Load = { name, title, about, metrics, measure }
  return measured

  function measure(bench: Bench, contestants: readonly Contestant[]): Promise<Run[]> {
    return withServers(bench, contestants, {}, async (servers) => {
      const left = await warmUp(bench, load, contestants, servers)
      await bench.calibration.forget()
      return takeRounds({
        servers: left.map((contestant) => contestant.name),
        rounds: bench.settings.rounds,
        tries: bench.settings.tries,
        take: (server) => {
          const contestant = contestantOf(left, server)
          return takeRates(bench, () => runOn(bench, load, contestant, servers, bench.settings.seconds))
        },
        onRound: (runs) => bench.onRound(measured, runs)
      })
    })
  }
}

/** @returns who can serve this load; of our own servers everyone has to */
async function warmUp(
  bench: Bench,
  load: RateLoad,
  contestants: readonly Contestant[],
  servers: Servers
): Promise<Contestant[]> {
  const full = { seconds: load.warmUpSeconds, count: load.warmUpCount ?? 0 }
  const { seconds, count } = sizeOf(bench, { full, short: shortWarmUp })
  const left: Contestant[] = []
  for (const contestant of contestants) {
    try {
      await repeatUntil(count, seconds, () => runOn(bench, load, contestant, servers, seconds))
      left.push(contestant)
    } catch (error) {
      if (contestant.isOurs) throw new Error(`${load.name}, ${contestant.name}: ${(error as Error).message}`)
      bench.note(`${contestant.name} is missing in ${load.name}: ${(error as Error).message}`)
    }
  }
  return left
}

/** Once at least, and until `count` of what it measures have come, or that would take too long. */
export async function repeatUntil(
  count: number,
  seconds: number,
  run: () => Promise<Pick<Rates, 'received'>>
): Promise<void> {
  let left = count
  for (let spent = 0; spent === 0 || (left > 0 && spent < warmUpSecondsMost); spent += seconds) {
    left -= (await run()).received
  }
}

function runOn(
  bench: Bench,
  { mode, bytes, conns, window }: RateLoad,
  contestant: Contestant,
  servers: Servers,
  seconds: number
): Promise<Rates> {
  const server = servers.get(contestant.name) as ServerProcess
  const { connsMost, warm } = sizeOf(bench, sizes)
  const size = { conns: Math.min(conns, connsMost), warm, seconds }
  const common = { ...targetOf(bench, contestant, server, users), ...size }
  if (mode === 'shake') return shake({ ...common, path: contestant.paths.echo }, bench.pinning)
  const payload = bench.inputs.payload(contestant, bytes)
  const run = { echo, fan }[mode]
  return run({ ...common, path: contestant.paths[mode], payload, window }, bench.pinning)
}

/** One run, and whether something disturbed it. */
export async function takeRates(bench: Bench, run: () => Promise<Rates>): Promise<Take> {
  const before = await bench.calibration.whenQuiet()
  const { rate, cpuUs, ownCpuShare, otherShare, p50Us, p99Us } = await run()
  const after = await bench.calibration.slowness()
  return {
    values: { rate, cpuUs, ownCpuShare, p50Us, p99Us },
    disturbed: disturbances(Math.max(before, after), otherShare)
  }
}
