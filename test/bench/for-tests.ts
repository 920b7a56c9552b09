/** What tests of the benchmark have in common: servers on the sources, and a bench that only shows that all runs. */
import { execFile } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { Calibration } from './calibrate.ts'
import { type Contestant, fieldOf } from './contestants.ts'
import { compile } from './generator.ts'
import { Inputs } from './inputs.ts'
import type { Bench } from './load.ts'

/** The load generator is written for it. */
export const skipUnlessLinux: string | false =
  process.platform === 'linux' ? false : 'the load generator is written for Linux'

const root = new URL('../../', import.meta.url)
const buildMs = 60_000
/** Types are checked elsewhere. */
const compilerOptions: readonly string[] = [
  '--noCheck',
  '--declaration',
  'false',
  '--isolatedDeclarations',
  'false',
  '--sourceMap',
  'false'
]

let built: Promise<string> | undefined

/** What makes a server use the sources, in the place of the built package, which need not be there. */
export async function sourcesEnv(): Promise<Readonly<Record<string, string>>> {
  built ??= build()
  return { BENCH_GUARD: await built, NODE_V8_COVERAGE: '' }
}

/** Compiled: what loads TypeScript would double the time in which a server starts. @returns the URL of its index */
async function build(): Promise<string> {
  const folder = fileURLToPath(new URL(`node_modules/.cache/fastify-ws-guard/sources-${process.pid}/`, root))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  const [tsc, project] = ['node_modules/typescript/bin/tsc', 'tsconfig.json'].map((path) =>
    fileURLToPath(new URL(path, root))
  ) as [string, string]
  const options = ['-p', project, '--outDir', folder, '--inlineSources', 'false', ...compilerOptions]
  await promisify(execFile)(process.execPath, [tsc, ...options], { timeout: buildMs })
  return pathToFileURL(join(folder, 'index.js')).href
}

/** Some of our own servers, by their names. */
export async function contestantsFromSources(names: readonly string[]): Promise<Contestant[]> {
  const { contestants } = await fieldOf({ peers: false })
  const env = await sourcesEnv()
  return contestants.filter(({ name }) => names.includes(name)).map((one) => ({ ...one, env }))
}

export interface ShortBench extends Bench {
  readonly notes: string[]
  /** How many runs there were after each round. */
  readonly rounds: number[]
  readonly stop: () => Promise<void>
}

/** One round, as short as it gets. The caller stops it. */
export async function shortBench(): Promise<ShortBench> {
  await compile()
  const calibration = await Calibration.start(undefined, false)
  const inputs = new Inputs()
  const [notes, rounds]: [string[], number[]] = [[], []]
  return {
    settings: { rounds: 1, seconds: 0.1, tries: 1, isShort: true },
    inputs,
    calibration,
    pinning: undefined,
    note: (text) => notes.push(text),
    onRound: (_load, runs) => rounds.push(runs.length),
    notes,
    rounds,
    stop: async () => {
      await calibration.stop()
      inputs.remove()
    }
  }
}
