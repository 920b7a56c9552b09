/**
 * The benchmark: `npm run bench`, with `-- --only <load,load>`, `--servers <name,name>`, `--rounds N`, `--seconds S`,
 * `--no-peers`, `--short` (all of it once through, judging nothing), `--guard-dist [name=]<folder>` (another build
 * of this package, as the server `before` or of that name; several times for several), `--json <file>` (every run) and
 * `--write` (docs/benchmark.md and .svg; with `--to <folder>`, there). With `--from <file,file>` it measures nothing and
 * writes what `--json` has stored.
 */
import { parseArgs } from 'node:util'
import { runBench } from './bench.ts'
import { readBuild } from './contestants.ts'
import { writeReport } from './report.ts'
import { readReports } from './stored.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    servers: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    'no-peers': { type: 'boolean', default: false },
    short: { type: 'boolean', default: false },
    'guard-dist': { type: 'string', multiple: true },
    json: { type: 'string' },
    write: { type: 'boolean', default: false },
    to: { type: 'string' },
    from: { type: 'string' }
  }
})

if (values.from !== undefined) {
  writeReport(await readReports(values.from.split(',')), values.to)
} else {
  process.exitCode = (await measure()) ? 0 : 1
}

function measure(): Promise<boolean> {
  return runBench({
    only: values.only?.split(','),
    servers: values.servers?.split(','),
    rounds: values.rounds === undefined ? undefined : Number(values.rounds),
    seconds: values.seconds === undefined ? undefined : Number(values.seconds),
    peers: !values['no-peers'],
    isShort: values.short,
    builds: values['guard-dist']?.map(readBuild),
    json: values.json,
    write: values.write,
    to: values.to
  })
}
