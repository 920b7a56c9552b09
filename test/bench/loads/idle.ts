/** What an idle connection keeps: a fresh server, ten thousand connections, garbage collected before and after. */
import { freshLoad } from '../fresh.ts'
import { hold } from '../generator.ts'
import { type Load, type Metric, sizeOf, targetOf } from '../load.ts'

const sizes = { full: { conns: 10_000, rounds: 5 }, short: { conns: 500, rounds: 1 } }
const bytesPerKb = 1_000

const metrics: readonly Metric[] = [
  { key: 'heap', title: 'heap KB each', better: 'less', digits: 2, isCompared: true },
  { key: 'rss', title: 'RSS KB each', better: 'less', digits: 2, isCompared: true }
]

export const idle: Load = freshLoad({
  name: 'idle',
  title: 'Idle memory',
  about: '10,000 connections that say nothing, each with a token of 300 bytes of claims where one is asked for.',
  metrics,
  servers: ['c', 'ws', 'guarded', 'straightforward', 'by-hand'],
  rounds: (bench) => sizeOf(bench, sizes).rounds,
  async take(bench, contestant, server) {
    const { conns } = sizeOf(bench, sizes)
    const before = await server.memory()
    const target = targetOf(bench, contestant, server, conns)
    const holder = await hold({ ...target, path: contestant.paths.echo, conns }, bench.pinning)
    const after = await server.memory()
    await holder.stop()
    const each = (key: 'heapUsed' | 'rss'): number => (after[key] - before[key]) / conns / bytesPerKb
    // Memory does not depend on how fast the machine is.
    return { values: { heap: each('heapUsed'), rss: each('rss') }, disturbed: [] }
  }
})
