/** Fifty good clients, and one more that writes all it can: what the good ones feel of it. */
import { disturbances } from '../calibrate.ts'
import type { Contestant } from '../contestants.ts'
import { freshLoad } from '../fresh.ts'
import { flood, type PacedPort, pace } from '../generator.ts'
import { type Bench, type Load, type Metric, sizeOf, targetOf } from '../load.ts'
import type { ServerProcess } from '../server-process.ts'

const good = { conns: 50, perSecond: 20 }
/** Of each connection. */
const limitPerSecond = '50'
const sizes = { full: { seconds: 3, warm: 0.5, rounds: 5 }, short: { seconds: 0.4, warm: 0.1, rounds: 1 } }
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

export const fairness: Load = freshLoad({
  name: 'fairness',
  title: 'One flooder',
  about:
    '50 good clients at 20 messages a second each, without and with one that writes all it can. ' +
    'The limit is 50 a second for everybody; c has none.',
  metrics,
  servers: ['c', 'guarded', 'straightforward', 'by-hand'],
  rounds: (bench) => sizeOf(bench, sizes).rounds,
  env: () => ({ BENCH_MESSAGES_PER_SECOND: limitPerSecond, BENCH_MESSAGES_BURST: limitPerSecond }),
  async take(bench, contestant, server) {
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
  }
})

async function goodClients(bench: Bench, contestant: Contestant, server: ServerProcess): Promise<PacedPort> {
  const { seconds, warm } = sizeOf(bench, sizes)
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
