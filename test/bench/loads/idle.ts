/** What an idle connection keeps: a fresh server, ten thousand connections, garbage collected before and after. */
import type { Contestant } from '../contestants.ts'
import { hold } from '../generator.ts'
import { type Bench, contestantOf, type Load, type Metric, targetOf, withServers } from '../load.ts'
import { type Run, type Take, takeRounds } from '../rounds.ts'
import type { ServerProcess } from '../server-process.ts'

const connections = 10_000
const shortConnections = 500
const mostRounds = 3
const shortRounds = 1
const bytesPerKb = 1_000

const metrics: readonly Metric[] = [
  { key: 'heap', title: 'heap KB each', better: 'less', digits: 2, isCompared: true },
  { key: 'rss', title: 'RSS KB each', better: 'less', digits: 2, isCompared: true }
]

export const idle: Load = {
  name: 'idle',
  title: 'Idle memory',
  about: '10,000 connections that say nothing, each with a token of 300 bytes of claims where one is asked for.',
  metrics,
  servers: ['c', 'ws', 'guarded', 'straightforward', 'by-hand'],
  measure: (bench, contestants) =>
    takeRounds({
      servers: contestants.map(({ name }) => name),
      rounds: Math.min(bench.settings.rounds, bench.settings.isShort ? shortRounds : mostRounds),
      tries: bench.settings.tries,
      take: (name) => take(bench, contestantOf(contestants, name)),
      onRound: (runs: readonly Run[]) => bench.onRound(idle, runs)
    })
}

function take(bench: Bench, contestant: Contestant): Promise<Take> {
  return withServers(bench, [contestant], {}, async (servers) => {
    const server = servers.get(contestant.name) as ServerProcess
    const conns = bench.settings.isShort ? shortConnections : connections
    const before = await server.memory()
    const target = targetOf(bench, contestant, server, conns)
    const holder = await hold({ ...target, path: contestant.paths.echo, conns }, bench.pinning)
    const after = await server.memory()
    await holder.stop()
    const each = (key: 'heapUsed' | 'rss'): number => (after[key] - before[key]) / conns / bytesPerKb
    // Memory does not depend on how fast the machine is.
    return { values: { heap: each('heapUsed'), rss: each('rss') }, disturbed: [] }
  })
}
