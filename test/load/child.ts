/** A process of its own that is asked questions; every answer has a deadline, and its end is told in words. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { within } from '../support/wait.ts'

interface Reply {
  /** That of the question; 0 when it has started. */
  readonly id: number
  readonly answer?: unknown
  readonly error?: string
}

interface Waiting {
  readonly resolve: (answer: unknown) => void
  readonly reject: (error: Error) => void
}

/** A process may take so long to start on a busy machine. */
const startMs = 30_000
const answerMs = 60_000

export class Child {
  /** Why it is gone; undefined while it lives. */
  ended: string | undefined
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, Waiting>()
  #nextId = 1
  #errors = ''

  private constructor(child: ChildProcess) {
    this.#process = child
    child.on('message', (reply: Reply) => this.#settle(reply))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-2_000)
    })
    child.on('exit', (code, signal) => this.#end(`process ended (${signal ?? `exit ${code}`}) ${this.#errors}`.trim()))
  }

  /** Starts a file of this folder. */
  static async start(file: string): Promise<Child> {
    const path = fileURLToPath(new URL(file, import.meta.url))
    const execArgv = ['--import', 'tsx']
    // What it runs is covered by tests of this process; to write down that it was costs seconds.
    const env = { ...process.env, NODE_V8_COVERAGE: '' }
    const child = Child.of(fork(path, { execArgv, env, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] }))
    await child.started()
    return child
  }

  /** Of a process that was forked just now, with pipes for its stderr and the questions. */
  static of(process: ChildProcess): Child {
    return new Child(process)
  }

  /** @returns what it tells when it has started; one that does not start is ended */
  async started<T>(): Promise<T> {
    try {
      return await this.#expect<T>(0, startMs, 'the start')
    } catch (error) {
      await this.kill()
      throw error
    }
  }

  /** It ends with the test, if not before. */
  static async startFor(t: TestContext, file: string): Promise<Child> {
    const child = await Child.start(file)
    t.after(() => child.kill())
    return child
  }

  get pid(): number {
    return this.#process.pid as number
  }

  ask<T>(ask: string, given: object = {}, timeoutMs: number = answerMs): Promise<T> {
    const id = this.#nextId++
    const answered = this.#expect<T>(id, timeoutMs, `an answer to "${ask}"`)
    if (this.#process.connected) this.#process.send({ id, ask, given })
    return answered
  }

  /** Hangs up: a process that holds nothing more ends by itself. @returns its exit code, or the signal that ended it */
  async hangUp(timeoutMs: number): Promise<number | string> {
    const exited = once(this.#process, 'exit')
    this.#process.disconnect()
    const [code, signal] = await within(exited, { timeoutMs, what: 'the end of the process' })
    return code ?? signal
  }

  /** Ends it, by its pid. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exited = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await exited
  }

  async #expect<T>(id: number, timeoutMs: number, what: string): Promise<T> {
    if (this.ended !== undefined) throw new Error(this.ended)
    const answered = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }))
    try {
      return (await within(answered, { timeoutMs, what })) as T
    } finally {
      this.#waiting.delete(id)
    }
  }

  #settle({ id, answer, error }: Reply): void {
    const waiting = this.#waiting.get(id)
    if (error === undefined) waiting?.resolve(answer)
    else waiting?.reject(new Error(error))
  }

  #end(why: string): void {
    this.ended = why
    for (const { reject } of this.#waiting.values()) reject(new Error(why))
  }
}
