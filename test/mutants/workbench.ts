/** A copy of the project in which faults are tried, so that nobody's files are touched. */
import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import type { Mutant } from './mutants.ts'

const root = join(import.meta.dirname, '../..')
const copied = ['lib', 'test', 'example-app', 'package.json', 'tsconfig.json', 'README.md']
/** Tests that do not end by then have noticed the fault, too. */
const endsWithinMs = 240_000

export interface Outcome {
  readonly result: 'killed' | 'survived' | 'broken'
  /** The tests that failed; what the runner said when none of them ran. */
  readonly failed: readonly string[]
  readonly seconds: number
}

/** What is installed beside the benchmark is large, and none of the faults' tests needs it. */
function isOurs(source: string): boolean {
  return basename(source) !== 'node_modules'
}

/** The files a pattern such as `connection/*.test.ts` names, under test/. */
export function testFiles(pattern: string): string[] {
  const folder = dirname(pattern)
  const [start = '', end] = basename(pattern).split('*')
  const names = readdirSync(join(root, 'test', folder))
  return names
    .filter((name) => (end === undefined ? name === start : name.startsWith(start) && name.endsWith(end)))
    .map((name) => `test/${folder}/${name}`)
}

/** The file with the fault in it. @throws when it does not stand there exactly once */
export function mutate({ name, file, find, replace }: Mutant): string {
  const [before, after, ...more] = readFileSync(join(root, 'lib', file), 'utf8').split(find)
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(`${name}: what is to be replaced must stand exactly once in lib/${file}`)
  }
  return before + replace + after
}

export class Workbench {
  readonly #folder: string = mkdtempSync(join(tmpdir(), 'mutants-'))

  constructor() {
    for (const name of copied) cpSync(join(root, name), join(this.#folder, name), { recursive: true, filter: isOurs })
    symlinkSync(join(root, 'node_modules'), join(this.#folder, 'node_modules'), 'junction')
  }

  /** Puts the fault in, runs what should notice it, and takes it out again. */
  async try(mutant: Mutant, run = (): Promise<Outcome> => this.run(mutant.killedBy)): Promise<Outcome> {
    const file = join(this.#folder, 'lib', mutant.file)
    writeFileSync(file, mutate(mutant))
    try {
      return await run()
    } finally {
      cpSync(join(root, 'lib', mutant.file), file)
    }
  }

  /** Runs test files. */
  run(patterns: readonly string[], withinMs: number = endsWithinMs): Promise<Outcome> {
    const args = ['--test', '--test-reporter=tap', '--test-timeout=60000', ...patterns.flatMap(testFiles)]
    return this.#judge(args, withinMs, /^\s*not ok \d+ - (.*)$/gm)
  }

  /** Runs one campaign of the fuzzing, with the same cases each time. */
  fuzz(campaign: string, seconds: number): Promise<Outcome> {
    const args = ['test/fuzz/fuzz.ts', '--only', campaign, '--seconds', String(seconds), '--seed', '1']
    return this.#judge(args, endsWithinMs, /^(.*FUZZ_SEED=.*)$/gm)
  }

  async #judge(args: readonly string[], withinMs: number, failure: RegExp): Promise<Outcome> {
    const startedAt = performance.now()
    const { code, output } = await this.#node(['--import', 'tsx', ...args], withinMs)
    const seconds = Math.round((performance.now() - startedAt) / 100) / 10
    const failed = [...output.matchAll(failure)].map(([, title]) => title as string)
    if (code === 0) return { result: 'survived', failed, seconds }
    // A fault that does not even load shows nothing about the tests.
    const isBroken =
      /TransformError|SyntaxError: |ERR_MODULE_NOT_FOUND/.test(output) || (failed.length === 0 && code !== null)
    return isBroken
      ? { result: 'broken', failed: [output.slice(0, 2_000)], seconds }
      : { result: 'killed', failed, seconds }
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #node(args: readonly string[], withinMs: number): Promise<{ code: number | null; output: string }> {
    // Within a test run, node's runner would take its child for one of its own.
    const { NODE_TEST_CONTEXT: _context, NODE_V8_COVERAGE: _coverage, ...env } = process.env
    const child = spawn(process.execPath, args, { cwd: this.#folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    }
    const timer = setTimeout(() => child.kill('SIGKILL'), withinMs)
    return new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code) => {
        clearTimeout(timer)
        resolve({ code, output })
      })
    })
  }
}
