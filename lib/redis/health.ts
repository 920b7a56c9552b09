import { errorCodeOf, readText } from '../errors.ts'
import { StoreDownError, type StoreListener } from '../limits/store.ts'

/** After a failure it is tried again so soon, and then half as often each time. */
const retryMs = { least: 250, most: 1_000 }

/**
 * Whether Redis can be asked. A command that fails, or does not answer in time, is the last one that anybody waits for:
 * until a whole round of what a node does anyway has worked again, everybody gets their answer at once (threat N2).
 */
export class Health {
  readonly #work: () => Promise<void>
  readonly #everyMs: number
  readonly #listener: StoreListener
  #isUp = false
  #hasSaid: 'up' | 'down' | undefined
  #failures = 0
  #round: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #isStopped = false

  /** `work` is what every node does every `everyMs`. */
  constructor(work: () => Promise<void>, everyMs: number, listener: StoreListener) {
    this.#work = work
    this.#everyMs = everyMs
    this.#listener = listener
  }

  get isUp(): boolean {
    return this.#isUp
  }

  /** @throws StoreDownError when it is down, or with this */
  async ask<T>(command: () => Promise<T>): Promise<T> {
    if (!this.#isUp) throw new StoreDownError('it does not answer')
    try {
      return await command()
    } catch (error) {
      this.fail(error)
      throw error
    }
  }

  /** A round now, unless one is under way. Never rejects. */
  check(): Promise<void> {
    if (this.#isStopped) return Promise.resolve()
    clearTimeout(this.#timer)
    this.#round ??= this.#work()
      .then(
        () => this.#succeed(),
        (error: unknown) => this.#sayDown(error)
      )
      .finally(() => {
        this.#round = undefined
        this.#schedule()
      })
    return this.#round
  }

  /** Something has failed: nobody waits for Redis until a round has worked. */
  fail(error: unknown): void {
    if (!this.#isUp) return
    this.#sayDown(error)
    if (this.#round === undefined) this.#schedule()
  }

  stop(): void {
    this.#isStopped = true
    this.#isUp = false
    clearTimeout(this.#timer)
  }

  #succeed(): void {
    if (this.#isStopped) return
    this.#failures = 0
    this.#isUp = true
    if (this.#hasSaid === 'down') this.#say('up')
  }

  #sayDown(error: unknown): void {
    if (this.#isStopped) return
    this.#failures++
    this.#isUp = false
    if (this.#hasSaid !== 'down') this.#say('down', wordsOf(error))
  }

  #say(state: 'up' | 'down', errorCode?: string): void {
    this.#hasSaid = state
    this.#listener.onState(state, errorCode)
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    if (this.#isStopped) return
    const backoff = Math.min(retryMs.least * 2 ** Math.min(this.#failures - 1, 10), retryMs.most)
    this.#timer = setTimeout(() => void this.check(), this.#isUp ? this.#everyMs : backoff).unref()
  }
}

/** What a StoreDownError says in brackets; nothing in it comes from a client. */
function wordsOf(error: unknown): string {
  return /\((.*)\)$/.exec(readText(error, 'message'))?.[1] ?? errorCodeOf(error)
}
