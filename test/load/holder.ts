/** The parent's side of holder.mjs. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { within } from '../support/wait.ts'

export interface Target {
  readonly port: number
  readonly path: string
  readonly origin: string
}

interface News {
  readonly opened?: number
  readonly failed?: string
  readonly closed?: number
  readonly code?: number
  readonly reason?: string
  readonly replied?: number
}

/** Many connections held by another process, by the order in which they were opened. */
export class Holder {
  /** What the server has closed so far: index → code and reason. */
  readonly closed: Map<number, string> = new Map()
  #opened = 0
  #failed: string | undefined
  #onNews: () => void = () => {}
  readonly #replied = new Set<number>()
  readonly #child: ChildProcess
  readonly #target: Target

  private constructor(child: ChildProcess, target: Target) {
    this.#child = child
    this.#target = target
    child.on('message', (news: News) => this.#hear(news))
    child.on('exit', (code, signal) => {
      this.#failed ??= `the holder has ended: ${code ?? signal}`
      this.#onNews()
    })
  }

  static start(t: TestContext, target: Target): Holder {
    const child = fork(fileURLToPath(new URL('holder.mjs', import.meta.url)), { execArgv: [] })
    // Its sockets go with it, before the app closes.
    t.after(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    })
    return new Holder(child, target)
  }

  /** Opens one connection for each token. */
  async open(tokens: readonly string[], timeoutMs: number): Promise<void> {
    const all = this.#opened + tokens.length
    this.#child.send({ target: this.#target, tokens })
    await this.#until(() => this.#opened === all, timeoutMs, `${all} connections`)
  }

  /** Asks each of these connections something, and waits for all answers. */
  async ask(indexes: readonly number[], timeoutMs = 10_000): Promise<void> {
    this.#replied.clear()
    this.#child.send({ ask: indexes })
    await this.#until(() => indexes.every((index) => this.#replied.has(index)), timeoutMs, `${indexes.length} answers`)
  }

  /** Asked whenever there is news: going round in the meantime would take the time of those who are waited for. */
  #until(probe: () => boolean, timeoutMs: number, what: string): Promise<void> {
    const settled = new Promise<void>((resolve, reject) => {
      this.#onNews = () => {
        if (this.#failed !== undefined) reject(new Error(this.#failed))
        else if (probe()) resolve()
      }
      this.#onNews()
    })
    return within(settled, { timeoutMs, what })
  }

  #hear({ opened, failed, closed, code, reason, replied }: News): void {
    if (opened !== undefined) this.#opened = opened
    if (failed !== undefined) this.#failed = failed
    if (closed !== undefined) this.closed.set(closed, `${code} ${reason}`)
    if (replied !== undefined) this.#replied.add(replied)
    this.#onNews()
  }
}
