/** Loads that take a fresh server for each run, as what a server went through before would count. */
import type { Contestant } from './contestants.ts'
import { type Bench, contestantOf, type Load, withServers } from './load.ts'
import { type Run, type Take, takeRounds } from './rounds.ts'
import type { ServerProcess } from './server-process.ts'

export interface FreshLoad extends Omit<Load, 'measure'> {
  /** At most: each of them takes long. */
  readonly rounds: (bench: Bench) => number
  /** What the servers are told. */
  readonly env?: (bench: Bench) => Readonly<Record<string, string>>
  readonly take: (bench: Bench, contestant: Contestant, server: ServerProcess) => Promise<Take>
}

export function freshLoad({ rounds, env, take, ...about }: FreshLoad): Load {
  const load: Load = { ...about, measure }
  return load

  function measure(bench: Bench, contestants: readonly Contestant[]): Promise<Run[]> {
    return takeRounds({
      servers: contestants.map(({ name }) => name),
      rounds: Math.min(bench.settings.rounds, rounds(bench)),
      tries: bench.settings.tries,
      take: (name) => {
        const contestant = contestantOf(contestants, name)
        return withServers(bench, [contestant], env?.(bench) ?? {}, (servers) =>
          take(bench, contestant, servers.get(name) as ServerProcess)
        )
      },
      onRound: (runs) => bench.onRound(load, runs)
    })
  }
}
