/** The pings of ten thousand connections: how long they hold up everything else. */
import { setTimeout as pause } from 'node:timers/promises'
import { disturbances } from '../calibrate.ts'
import { freshLoad } from '../fresh.ts'
import { hold } from '../generator.ts'
import { type Load, type Metric, sizeOf, targetOf } from '../load.ts'

const sizes = {
  full: { conns: 10_000, intervalMs: 2_000, seconds: 10, rounds: 5 },
  short: { conns: 500, intervalMs: 500, seconds: 0.8, rounds: 1 }
}

const metrics: readonly Metric[] = [
  { key: 'longest', title: 'longest delay of the event loop, ms', better: 'less', digits: 1 },
  { key: 'pings', title: 'pings answered each', better: 'more', digits: 1 }
]

export const heartbeat: Load = freshLoad({
  name: 'heartbeat',
  title: 'Heartbeat',
  about:
    '10,000 connections that only answer pings, one every 2 s, for 10 s. c sends none: its delay is the machine’s.',
  metrics,
  servers: ['c', 'guarded', 'straightforward'],
  rounds: (bench) => sizeOf(bench, sizes).rounds,
  env: (bench) => ({ BENCH_HEARTBEAT_MS: String(sizeOf(bench, sizes).intervalMs) }),
  async take(bench, contestant, server) {
    const { conns, seconds } = sizeOf(bench, sizes)
    const slowness = await bench.calibration.whenQuiet()
    const target = targetOf(bench, contestant, server, conns)
    const holder = await hold({ ...target, path: contestant.paths.echo, conns }, bench.pinning)
    // Opening them is over, and what it left is collected.
    await server.memory()
    await server.ask('loop')
    await pause(seconds * 1_000)
    const longest = await server.ask<number>('loop')
    const after = await bench.calibration.slowness()
    const { pings } = await holder.stop()
    return { values: { longest, pings: pings / conns }, disturbed: disturbances(Math.max(slowness, after)) }
  }
})
