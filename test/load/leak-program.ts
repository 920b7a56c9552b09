/** A program of a load test in a process of its own, which its parent asks by name: the parent's side, and the program's. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { within } from '../support/wait.ts'

interface Question {
  readonly id: number
  readonly name: string
  readonly argument: unknown
}

interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly error?: string
}

interface Asked {
  readonly resolve: (value: never) => void
  readonly reject: (error: Error) => void
}

const defaultTimeoutMs = 60_000

export class Program {
  readonly #child: ChildProcess
  readonly #asked = new Map<number, Asked>()
  #count = 0
  /** How it ended: its exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>

  private constructor(child: ChildProcess) {
    this.#child = child
    child.on('message', ({ id, value, error }: Answer) => {
      const asked = this.#asked.get(id)
      this.#asked.delete(id)
      if (error === undefined) asked?.resolve(value as never)
      else asked?.reject(new Error(error))
    })
    this.ended = once(child, 'exit').then(([code, signal]) => {
      for (const { reject } of this.#asked.values()) reject(new Error(`the program has ended: ${code ?? signal}`))
      return code ?? signal
    })
  }

  /** Starts a file of this folder. It ends with the test, if not before. */
  static start(t: TestContext, file: string, nodeOptions: readonly string[] = []): Program {
    const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
      execArgv: ['--import', 'tsx', ...nodeOptions],
      env: { ...process.env, NODE_ENV: 'test' }
    })
    const program = new Program(child)
    t.after(async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      await program.ended
    })
    return program
  }

  ask<T>(name: string, argument?: unknown, timeoutMs: number = defaultTimeoutMs): Promise<T> {
    const id = ++this.#count
    const answered = new Promise<T>((resolve, reject) => this.#asked.set(id, { resolve, reject }))
    this.#child.send({ id, name, argument } satisfies Question)
    return within(answered, { timeoutMs, what: `the answer to "${name}"` })
  }

  /** Hangs up: a program that holds nothing more ends by itself. @returns how it ended */
  hangUp(timeoutMs: number): Promise<number | string> {
    this.#child.disconnect()
    return within(this.ended, { timeoutMs, what: 'the end of the program' })
  }
}

/** A program whose parent has gone, and that something keeps, ends after this time. */
const orphanMs = 15_000

/** The program's side: answers by name until the parent hangs up. */
export function answerParent(answers: Readonly<Record<string, (argument: never) => unknown>>): void {
  process.on('message', ({ id, name, argument }: Question) => {
    const answer = async (): Promise<unknown> => answers[name]?.(argument as never)
    answer().then(
      (value) => process.send?.({ id, value } satisfies Answer),
      (error) => process.send?.({ id, error: String(error?.stack ?? error) } satisfies Answer)
    )
  })
  process.on('disconnect', () => setTimeout(() => process.exit(1), orphanMs).unref())
}
