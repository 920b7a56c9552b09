/** The pings of ten thousand connections: how long they hold up everything else. */
import { setTimeout as pause } from 'node:timers/promises'
import { disturbances } from '../calibrate.ts'
import type { Contestant } from '../contestants.ts'
import { hold } from '../generator.ts'
import { type Bench, contestantOf, type Load, type Metric, targetOf, withServers } from '../load.ts'
import { type Run, type Take, takeRounds } from '../rounds.ts'
import type { ServerProcess } from '../server-process.ts'

const full = { connections: 10_000, intervalMs: 2_000, seconds: 10, rounds: 3 }
const short = { connections: 500, intervalMs: 500, seconds: 0.8, rounds: 1 }

const metrics: readonly Metric[] = [
  { key: 'longest', title: 'longest delay of the event loop, ms', better: 'less', digits: 1 },
  { key: 'pings', title: 'pings answered each', better: 'more', digits: 1 }
]

export const heartbeat: Load = {
  name: 'heartbeat',
  title: 'Heartbeat',
  about:
    '10,000 connections that only answer pings, one every 2 s, for 10 s. c sends none: its delay is the machine’s.',
  metrics,
  servers: ['c', 'guarded', 'straightforward'],
  measure: (bench, contestants) =>
    takeRounds({
      servers: contestants.map(({ name }) => name),
      rounds: Math.min(bench.settings.rounds, sizeOf(bench).rounds),
      tries: bench.settings.tries,
      take: (name) => take(bench, contestantOf(contestants, name)),
      onRound: (runs: readonly Run[]) => bench.onRound(heartbeat, runs)
    })
}

function sizeOf({ settings }: Bench): typeof full {
  return settings.isShort ? short : full
}

function take(bench: Bench, contestant: Contestant): Promise<Take> {
  const { connections, intervalMs, seconds } = sizeOf(bench)
  const env = { BENCH_HEARTBEAT_MS: String(intervalMs) }
  return withServers(bench, [contestant], env, async (servers) => {
    const server = servers.get(contestant.name) as ServerProcess
    const slowness = await bench.calibration.whenQuiet()
    const target = targetOf(bench, contestant, server, connections)
    const options = { ...target, path: contestant.paths.echo, conns: connections }
    const holder = await hold(options, bench.pinning)
    // Opening them is over, and what it left is collected.
    await server.memory()
    await server.ask('loop')
    await pause(seconds * 1_000)
    const longest = await server.ask<number>('loop')
    const after = await bench.calibration.slowness()
    const { pings } = await holder.stop()
    return { values: { longest, pings: pings / connections }, disturbed: disturbances(Math.max(slowness, after)) }
  })
}
