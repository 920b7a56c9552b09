import type { AttemptsStore } from '../limits/store.ts'
import type { Link } from './link.ts'
import type { Names } from './names.ts'
import { countAttempt } from './scripts.ts'

type Count = { current: number; ttl: number }
type Callback = Parameters<AttemptsStore['incr']>[1]

/** What the counters of all limiters share. */
export interface AttemptsHost {
  readonly link: Link
  readonly names: Names
  /** Asks Redis, or the counter of this node alone, as `whenDown` says. */
  readonly choose: (ask: () => Promise<Count>, here: () => Promise<Count>) => Promise<Count>
  readonly makeLocal: () => AttemptsStore
  /** How many limiters there are of one description. */
  readonly limiters: Map<string, number>
}

/**
 * Handshakes in a fixed window, counted in Redis. Nodes have to find each other's counts: a limiter goes by what it
 * allows, and limiters that allow the same by their order, which is that of the routes.
 */
export class RedisAttempts implements AttemptsStore {
  readonly #host: AttemptsHost
  readonly #limiter: string
  readonly #local: AttemptsStore

  constructor(host: AttemptsHost, options: object) {
    const { max, timeWindow } = options as { max?: unknown; timeWindow?: unknown }
    const description = `${Number(max)}/${Number(timeWindow)}`
    const ordinal = host.limiters.get(description) ?? 0
    host.limiters.set(description, ordinal + 1)
    this.#host = host
    this.#limiter = `${description}/${ordinal}`
    this.#local = host.makeLocal()
  }

  incr(key: string, callback: Callback, timeWindow: number, max: number): void {
    const { link, names, choose } = this.#host
    const ask = async (): Promise<Count> => {
      const answer = await link.run(countAttempt, [names.attempts(this.#limiter, key)], [timeWindow])
      const [current, ttl] = answer as [number, number]
      return { current, ttl }
    }
    const here = (): Promise<Count> =>
      new Promise((resolve) => {
        this.#local.incr(key, (_error, count) => resolve(count as Count), timeWindow, max)
      })
    choose(ask, here).then(
      (count) => callback(null, count),
      (error: Error) => callback(error)
    )
  }

  child(options: object): RedisAttempts {
    return new RedisAttempts(this.#host, options)
  }
}
