/**
 * The benchmark: `npm run bench`, with `-- --only <load,load>`, `--servers <name,name>`, `--rounds N`, `--seconds S`,
 * `--no-peers`, `--short` (all of it once through, judging nothing), `--guard-dist <folder>` (another build of this
 * package, as the server `before`), `--json <file>` (every run) and `--write` (docs/benchmark.md and .svg; with
 * `--to <folder>`, there).
 */
import { parseArgs } from 'node:util'
import { runBench } from './bench.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    servers: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    'no-peers': { type: 'boolean', default: false },
    short: { type: 'boolean', default: false },
    'guard-dist': { type: 'string' },
    json: { type: 'string' },
    write: { type: 'boolean', default: false },
    to: { type: 'string' }
  }
})

const isMet = await runBench({
  only: values.only?.split(','),
  servers: values.servers?.split(','),
  rounds: values.rounds === undefined ? undefined : Number(values.rounds),
  seconds: values.seconds === undefined ? undefined : Number(values.seconds),
  peers: !values['no-peers'],
  isShort: values.short,
  guardDist: values['guard-dist'],
  json: values.json,
  write: values.write,
  to: values.to
})
process.exitCode = isMet ? 0 : 1
