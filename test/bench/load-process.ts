/** The load generator in a process of its own, on a CPU of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { within } from '../support/wait.ts'
import type { Pinning } from './pinning.ts'

/** Options of load.c, by their names; there they are written with hyphens. */
export interface LoadOptions {
  readonly mode: 'echo' | 'shake' | 'fan' | 'publish' | 'hold' | 'pace' | 'flood'
  /** Several with commas between, as those of `pid`. */
  readonly port: string
  readonly pid?: string
  readonly path: string
  /** Of `publish`. */
  readonly publishPath?: string
  /** Names of files, as the next five. */
  readonly headers: string
  readonly tokens: string
  readonly payload?: string
  readonly reply?: string
  readonly prelude?: string
  readonly preludeReplies?: number
  readonly conns: number
  readonly window?: number
  readonly seconds?: number
  readonly warm?: number
  readonly perSecond?: number
  readonly serverCpu?: number
}

/** Beside the seconds that were asked for: opening, draining and closing have deadlines of their own in load.c. */
const patienceMs = 90_000

/** @returns the command line of load.c; what is undefined is left out */
export function argumentsOf(options: LoadOptions): string[] {
  return Object.entries(options).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`, String(value)]
  )
}

export class LoadProcess {
  readonly #process: ChildProcess
  readonly #exited: Promise<unknown[]>
  readonly #firstLine: Promise<unknown>
  readonly #read: string[] = []
  readonly #timeoutMs: number
  #errors = ''

  constructor(binary: string, options: LoadOptions, pinning?: Pinning) {
    const args = argumentsOf(options)
    const [command, ...rest] = pinning ? ['taskset', '-c', String(pinning.load), binary, ...args] : [binary, ...args]
    this.#timeoutMs = patienceMs + ((options.seconds ?? 0) + (options.warm ?? 0)) * 1_000
    this.#process = spawn(command as string, rest, { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#process.stdin?.on('error', () => undefined)
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-2_000)
    })
    const lines = createInterface({ input: this.#process.stdout as NodeJS.ReadableStream })
    lines.on('line', (line) => this.#read.push(line))
    this.#firstLine = once(lines, 'line')
    this.#exited = once(this.#process, 'close')
    // Whoever waits for them is told; until then it is nobody's error.
    for (const event of [this.#firstLine, this.#exited]) event.catch(() => undefined)
  }

  /** Runs it to its end. @returns the last line it has printed */
  static run<T>(binary: string, options: LoadOptions, pinning?: Pinning): Promise<T> {
    return new LoadProcess(binary, options, pinning).#result<T>()
  }

  /** Of `hold` and `flood`: all connections are open. */
  async opened(): Promise<void> {
    await this.#inTime(Promise.race([this.#firstLine, this.#exited]))
    if (this.#read.length === 0) throw this.#failure()
  }

  /** Tells `hold` and `flood` that it is over. @returns the last line it has printed */
  finish<T>(): Promise<T> {
    this.#process.stdin?.end()
    return this.#result<T>()
  }

  async #result<T>(): Promise<T> {
    await this.#inTime(this.#exited)
    const last = this.#read.at(-1)
    if (this.#process.exitCode !== 0 || last === undefined) throw this.#failure()
    return JSON.parse(last) as T
  }

  /** What does not end in time is ended, by its pid. */
  async #inTime(event: Promise<unknown>): Promise<void> {
    try {
      await within(event, { timeoutMs: this.#timeoutMs, what: 'the load generator' })
    } catch (error) {
      this.#process.kill('SIGKILL')
      throw error
    }
  }

  #failure(): Error {
    const { exitCode, signalCode } = this.#process
    return new Error(this.#errors.trim() || `load: ended with ${exitCode ?? signalCode}`)
  }
}
