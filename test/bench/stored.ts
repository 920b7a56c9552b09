/** Runs that `--json` has stored: a benchmark need not be measured at a stretch, and a reason is added without it. */
import { readFileSync } from 'node:fs'
import { fieldOf } from './contestants.ts'
import { judge } from './goals.ts'
import type { LoadResult } from './load.ts'
import { allLoads } from './loads/all.ts'
import type { Report, StoredReport } from './report.ts'

/**
 * @param paths a load that is in several of them is taken from the last one
 * @throws Error when they come from different machines, versions or rounds, or say what this benchmark does not know
 */
export async function readReports(paths: readonly string[]): Promise<Report> {
  const stored = paths.map((path) => JSON.parse(readFileSync(path, 'utf8')) as StoredReport)
  const [first] = stored
  if (first === undefined) throw new Error('there is nothing to read: --from <file,file>')
  if (stored.some((one) => circumstancesOf(one) !== circumstancesOf(first))) {
    throw new Error('they were not measured on one machine, with the same version and the same rounds')
  }
  const runs = new Map(stored.flatMap(({ loads }) => loads.map(({ load, runs }) => [load, runs])))
  const unknown = [...runs.keys()].find((name) => !allLoads.some((load) => load.name === name))
  if (unknown !== undefined) throw new Error(`there is no load ${unknown}`)
  const results = allLoads.flatMap((load): LoadResult[] => {
    const taken = runs.get(load.name)
    return taken === undefined ? [] : [{ load, runs: taken }]
  })
  const names = new Set(results.flatMap((result) => result.runs.map(({ server }) => server)))
  const known = (await fieldOf({ peers: true })).contestants.map(({ name }) => name)
  const builds = [...names].filter((name) => !known.includes(name)).map((name) => ({ name, dist: '' }))
  const { contestants } = await fieldOf({ peers: true, builds })
  return {
    settings: first.settings,
    machine: { ...first.machine, versions: Object.assign({}, ...stored.map(({ machine }) => machine.versions)) },
    contestants: contestants.filter(({ name }) => names.has(name)),
    results,
    verdicts: judge(results),
    notes: [...new Set(stored.flatMap(({ notes }) => notes)), ...(stored.length > 1 ? [severalNote] : [])]
  }
}

const severalNote = 'The loads were measured in several runs of the benchmark, each load with all its servers in one.'

/** What has to be the same; each file has the versions of the servers that took part. */
function circumstancesOf({ machine, settings }: StoredReport): string {
  const { cpu, cores, memoryGb, kernel, node, pinned, versions } = machine
  return JSON.stringify([cpu, cores, memoryGb, kernel, node, pinned, versions['fastify-ws-guard'], settings])
}
