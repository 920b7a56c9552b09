/** One user alone: what waits for the end of a turn must not be felt. */
import { disturbances } from '../calibrate.ts'
import type { Contestant } from '../contestants.ts'
import { echo, pace } from '../generator.ts'
import { type Bench, type Load, type Metric, type Servers, sizeOf, targetOf, withServers } from '../load.ts'
import { type Run, type Take, takeRounds } from '../rounds.ts'
import type { ServerProcess } from '../server-process.ts'

const perSecond = 10
const sizes = {
  full: { warmUp: 1, seconds: 30, warm: 2, rounds: 5 },
  short: { warmUp: 0.2, seconds: 1, warm: 0.1, rounds: 1 }
}
const bytes = 120

const metrics: readonly Metric[] = [
  { key: 'p50', title: 'p50 µs', better: 'less', digits: 0 },
  { key: 'p99', title: 'p99 µs', better: 'less', digits: 0 }
]

export const lone: Load = {
  name: 'lone',
  title: 'One user alone',
  about: 'One connection to each server, 10 messages of 120 B a second for 30 s, to one server after the other.',
  metrics,
  servers: ['c', 'guarded'],
  measure: (bench, contestants) =>
    withServers(bench, contestants, {}, async (servers) => {
      const entrants = contestants.map((contestant) => entrantOf(bench, contestant, servers))
      const names = contestants.map(({ name }) => name)
      await warmUp(bench, entrants)
      const runs = await takeRounds({
        // All of them together: their messages alternate.
        servers: ['all'],
        rounds: Math.min(bench.settings.rounds, sizeOf(bench, sizes).rounds),
        tries: bench.settings.tries,
        take: () => takeAll(bench, entrants, names),
        onRound: (all: readonly Run[]) => bench.onRound(lone, split(all, names))
      })
      return split(runs, names)
    })
}

type Entrant = ReturnType<typeof entrantOf>

function entrantOf(bench: Bench, contestant: Contestant, servers: Servers) {
  const target = targetOf(bench, contestant, servers.get(contestant.name) as ServerProcess, 1)
  return { ...target, path: contestant.paths.echo, payload: bench.inputs.payload(contestant, bytes) }
}

/** A server that has been up for a while has its code compiled. */
async function warmUp(bench: Bench, entrants: readonly Entrant[]): Promise<void> {
  for (const entrant of entrants) {
    await echo({ ...entrant, conns: 10, window: 1, seconds: sizeOf(bench, sizes).warmUp }, bench.pinning)
  }
}

async function takeAll(bench: Bench, entrants: readonly Entrant[], names: readonly string[]): Promise<Take> {
  const { seconds, warm } = sizeOf(bench, sizes)
  const before = await bench.calibration.whenQuiet()
  const several = {
    port: entrants.map(({ port }) => port).join(','),
    pid: entrants.map(({ pid }) => pid).join(',')
  }
  const options = { ...(entrants[0] as Entrant), ...several, conns: 1, perSecond, warm, seconds }
  const { ports } = await pace(options, bench.pinning)
  const after = await bench.calibration.slowness()
  const values = ports.flatMap(({ p50Us, p99Us }, at) => [
    [`${names[at]} p50`, p50Us],
    [`${names[at]} p99`, p99Us]
  ])
  return { values: Object.fromEntries(values), disturbed: disturbances(Math.max(before, after)) }
}

/** One run for each server out of one for all of them. */
function split(runs: readonly Run[], names: readonly string[]): Run[] {
  return runs.flatMap((run) =>
    names.map((server) => {
      const [p50 = 0, p99 = 0] = [run.values[`${server} p50`], run.values[`${server} p99`]]
      return { ...run, server, values: { p50, p99 } }
    })
  )
}
