/** Loads that are measured as a rate: all servers up at once, short runs, one after the other. */
import { disturbances } from './calibrate.ts'
import type { Contestant } from './contestants.ts'
import { echo, fan, type Rates, shake } from './generator.ts'
import { type Bench, contestantOf, type Load, type Metric, type Servers, targetOf, withServers } from './load.ts'
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
}

/** After the connections are open, before what is counted. */
const warmSeconds = 0.1
const shortWarmSeconds = 0.05
const shortWarmUpSeconds = 0.25
/** Opening them is most of what a short run of more would take. */
const shortConnsMost = 200
const users = 1_000

export function rateLoad(load: RateLoad): Load {
  const { name, title, about, unit } = load
  const metrics: readonly Metric[] = [
    { key: 'rate', title: `${unit}/s`, better: 'more', digits: 0, isCompared: true },
    { key: 'cpuUs', title: 'CPU µs each', better: 'less', digits: 1, isCompared: true },
    { key: 'p50Us', title: 'p50 µs', better: 'less', digits: 0 },
    { key: 'p99Us', title: 'p99 µs', better: 'less', digits: 0 }
  ]
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
        take: (server) => take(bench, load, contestantOf(left, server), servers),
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
  const seconds = bench.settings.isShort ? shortWarmUpSeconds : load.warmUpSeconds
  const left: Contestant[] = []
  for (const contestant of contestants) {
    try {
      await runOn(bench, load, contestant, servers, seconds)
      left.push(contestant)
    } catch (error) {
      if (contestant.isOurs) throw new Error(`${load.name}, ${contestant.name}: ${(error as Error).message}`)
      bench.note(`${contestant.name} is missing in ${load.name}: ${(error as Error).message}`)
    }
  }
  return left
}

function runOn(
  bench: Bench,
  { mode, bytes, conns, window }: RateLoad,
  contestant: Contestant,
  servers: Servers,
  seconds: number
): Promise<Rates> {
  const server = servers.get(contestant.name) as ServerProcess
  const { isShort } = bench.settings
  const size = isShort
    ? { conns: Math.min(conns, shortConnsMost), warm: shortWarmSeconds }
    : { conns, warm: warmSeconds }
  const common = { ...targetOf(bench, contestant, server, users), ...size, seconds }
  if (mode === 'shake') return shake({ ...common, path: contestant.paths.echo }, bench.pinning)
  const payload = bench.inputs.payload(contestant, bytes)
  const run = { echo, fan }[mode]
  return run({ ...common, path: contestant.paths[mode], payload, window }, bench.pinning)
}

async function take(bench: Bench, load: RateLoad, contestant: Contestant, servers: Servers): Promise<Take> {
  const before = await bench.calibration.whenQuiet()
  const rates = await runOn(bench, load, contestant, servers, bench.settings.seconds)
  const after = await bench.calibration.slowness()
  const { rate, cpuUs, ownCpuShare, otherShare, p50Us, p99Us } = rates
  return {
    values: { rate, cpuUs, ownCpuShare, p50Us, p99Us },
    disturbed: disturbances(Math.max(before, after), otherShare)
  }
}
