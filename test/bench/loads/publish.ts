/** One message of the app to a thousand subscribers of a topic: on its own node, and on another one through Redis. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { pathOf } from '../../proxies/processes.ts'
import { RedisServer } from '../../support/redis.ts'
import { type Contestant, guarded } from '../contestants.ts'
import { publish as publishTo, type Rates } from '../generator.ts'
import { type Bench, type Load, sizeOf, targetOf } from '../load.ts'
import type { Pinning } from '../pinning.ts'
import { rateMetrics, takeRates } from '../rate.ts'
import { type Run, takeRounds } from '../rounds.ts'
import { ServerProcess } from '../server-process.ts'

const bytes = 120
const windows: readonly number[] = [1, 8]
const warmUpWindow = 8
const sizes = { full: { conns: 1_000, warm: 0.1, warmUp: 1.5 }, short: { conns: 200, warm: 0.05, warmUp: 0.25 } }

/** Where subscribers are connected, and where the app publishes: the same node, or two of them. */
interface Place {
  readonly name: string
  readonly contestant: Contestant
  readonly subscribers: ServerProcess
  readonly publisher: ServerProcess
}

export const publish: Load = publishLoad(() => pathOf('redis-server') !== undefined)

/** @param hasRedis whether a redis-server can be started: without one there is no second node */
export function publishLoad(hasRedis: () => boolean): Load {
  const load: Load = {
    name: 'publish',
    title: 'Publish by the app',
    about:
      '120 B by `app.wsGuard.publish` to 1,000 subscribers of a topic, who are connected to the node that publishes, or ' +
      'to another one that gets it through a Redis on the same machine. One or eight publishes are under way; p50 and ' +
      'p99 are of each single delivery, from the message that makes the app publish; CPU is that of the subscribers’ ' +
      'node. These are numbers of this machine, without a ratio and without a goal: no other server here does this.',
    metrics: rateMetrics('deliveries', false),
    servers: [guarded],
    measure: (bench, contestants) => measure(load, bench, contestants, hasRedis())
  }
  return load
}

async function measure(
  load: Load,
  bench: Bench,
  contestants: readonly Contestant[],
  hasRedis: boolean
): Promise<Run[]> {
  if (!hasRedis) bench.note('publish across two nodes did not run: there is no redis-server on the PATH')
  const redis = hasRedis ? await RedisServer.start() : undefined
  const started: ServerProcess[] = []
  try {
    if (redis !== undefined) await pinBesideLoad(redis.pid, bench.pinning)
    const places: Place[] = []
    for (const contestant of contestants) places.push(...(await placesOf(bench, contestant, redis, started)))
    const { warmUp } = sizeOf(bench, sizes)
    for (const place of places) await runAt(bench, place, warmUpWindow, warmUp)
    await bench.calibration.forget()
    return await takeAll(load, bench, places)
  } finally {
    await Promise.all(started.map((server) => server.stop()))
    await redis?.stop()
  }
}

/** @param started gets each server as soon as it runs */
async function placesOf(
  { pinning }: Bench,
  contestant: Contestant,
  redis: RedisServer | undefined,
  started: ServerProcess[]
): Promise<Place[]> {
  const start = async (env: Readonly<Record<string, string>>, on: Pinning | undefined): Promise<ServerProcess> => {
    const server = await ServerProcess.start({ file: 'publish.mjs', env: { ...contestant.env, ...env } }, on)
    started.push(server)
    return server
  }
  const alone = await start({}, pinning)
  const one: Place = { name: `${contestant.name}, one node`, contestant, subscribers: alone, publisher: alone }
  if (redis === undefined) return [one]
  const env = { BENCH_REDIS: redis.url }
  const subscribers = await start(env, pinning)
  // It does one thing where the other node does a thousand, and leaves it a CPU of its own.
  const publisher = await start(env, pinning && { ...pinning, server: pinning.load })
  return [one, { name: `${contestant.name}, two nodes`, contestant, subscribers, publisher }]
}

async function pinBesideLoad(pid: number, pinning: Pinning | undefined): Promise<void> {
  if (pinning === undefined) return
  await promisify(execFile)('taskset', ['--all-tasks', '--cpu-list', '--pid', String(pinning.load), String(pid)])
}

function takeAll(load: Load, bench: Bench, places: readonly Place[]): Promise<Run[]> {
  const { rounds, tries, seconds } = bench.settings
  const rows = new Map<string, { place: Place; window: number }>()
  for (const place of places) {
    for (const window of windows) rows.set(`${place.name}, ${window} under way`, { place, window })
  }
  return takeRounds({
    servers: [...rows.keys()],
    rounds,
    tries,
    take: (row) => {
      const { place, window } = rows.get(row) as { place: Place; window: number }
      return takeRates(bench, () => runAt(bench, place, window, seconds))
    },
    onRound: (runs) => bench.onRound(load, runs)
  })
}

function runAt(
  bench: Bench,
  { contestant, subscribers, publisher }: Place,
  window: number,
  seconds: number
): Promise<Rates> {
  const { conns, warm } = sizeOf(bench, sizes)
  const payload = bench.inputs.payload(contestant, bytes)
  const options = {
    ...targetOf(bench, contestant, subscribers, conns),
    port: `${subscribers.port},${publisher.port}`,
    path: '/subscribe',
    publishPath: '/publish',
    payload,
    // Asks for the topic; the answer says that it is subscribed to, on this node and with Redis.
    prelude: payload,
    preludeReplies: 1
  }
  return publishTo({ ...options, conns, window, warm, seconds }, bench.pinning)
}
