/** Fifty good clients, and one more that writes all it can: what the good ones feel of it. */
import { disturbances } from '../calibrate.ts'
import type { Contestant } from '../contestants.ts'
import { flood, type PacedPort, pace } from '../generator.ts'
import { type Bench, contestantOf, type Load, type Metric, targetOf, withServers } from '../load.ts'
import { type Run, type Take, takeRounds } from '../rounds.ts'
import type { ServerProcess } from '../server-process.ts'

const good = { conns: 50, perSecond: 20 }
/** Of each connection. */
const limitPerSecond = 50
const full = { seconds: 3, warm: 0.5, rounds: 5 }
const short = { seconds: 0.4, warm: 0.1, rounds: 1 }
const bytes = 120
const usPerMs = 1_000

const metrics: readonly Metric[] = [
  { key: 'quietP50', title: 'p50 ms without', better: 'less', digits: 2 },
  { key: 'quietP99', title: 'p99 ms without', better: 'less', digits: 2 },
  { key: 'floodedP50', title: 'p50 ms with', better: 'less', digits: 2 },
  { key: 'floodedP99', title: 'p99 ms with', better: 'less', digits: 2 },
  { key: 'growth', title: 'p50 grows by ×', better: 'less', digits: 2 },
  { key: 'flood', title: 'frames/s of the flooder', better: 'less', digits: 0 }
]

export const fairness: Load = {
  name: 'fairness',
  title: 'One flooder',
  about:
    '50 good clients at 20 messages a second each, without and with one that writes all it can. ' +
    'The limit is 50 a second for everybody; c has none.',
  metrics,
  servers: ['c', 'guarded', 'straightforward', 'by-hand'],
  measure: (bench, contestants) =>
    takeRounds({
      servers: contestants.map(({ name }) => name),
      rounds: Math.min(bench.settings.rounds, timesOf(bench).rounds),
      tries: bench.settings.tries,
      take: (name) => take(bench, contestantOf(contestants, name)),
      onRound: (runs: readonly Run[]) => bench.onRound(fairness, runs)
    })
}

function timesOf({ settings }: Bench): typeof full {
  return settings.isShort ? short : full
}

/** A server of its own each time: a flood may be remembered. */
function take(bench: Bench, contestant: Contestant): Promise<Take> {
  const limit = String(limitPerSecond)
  const env = { BENCH_MESSAGES_PER_SECOND: limit, BENCH_MESSAGES_BURST: limit }
  return withServers(bench, [contestant], env, async (servers) => {
    const server = servers.get(contestant.name) as ServerProcess
    const slowness = await bench.calibration.whenQuiet()
    const quiet = await goodClients(bench, contestant, server)
    const flooder = await flood({ ...options(bench, contestant, server), conns: 1 }, bench.pinning)
    const flooded = await goodClients(bench, contestant, server)
    const { written, seconds: lasted } = await flooder.stop()
    const after = await bench.calibration.slowness()
    return {
      values: {
        quietP50: quiet.p50Us / usPerMs,
        quietP99: quiet.p99Us / usPerMs,
        floodedP50: flooded.p50Us / usPerMs,
        floodedP99: flooded.p99Us / usPerMs,
        growth: flooded.p50Us / quiet.p50Us,
        flood: written / lasted
      },
      disturbed: disturbances(Math.max(slowness, after))
    }
  })
}

async function goodClients(bench: Bench, contestant: Contestant, server: ServerProcess): Promise<PacedPort> {
  const { seconds, warm } = timesOf(bench)
  const { ports } = await pace({ ...options(bench, contestant, server), ...good, seconds, warm }, bench.pinning)
  return ports[0] as PacedPort
}

function options(bench: Bench, contestant: Contestant, server: ServerProcess) {
  return {
    ...targetOf(bench, contestant, server, good.conns),
    path: contestant.paths.echo,
    payload: bench.inputs.payload(contestant, bytes)
  }
}
