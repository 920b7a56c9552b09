/** How fast a bucket refills and how much it holds: tokens per second, and tokens at most. Both above 0. */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/** The bucket of a subject: routes may differ in their rate, and a bucket has one. */
export function bucketKey(subject: string, { perSecond, burst }: Rate): string {
  return `${perSecond}/${burst} ${subject}`
}

/**
 * A token bucket that may go into debt. Pure arithmetic: the caller passes the time in ms, from a clock that never
 * jumps (`performance.now()`); a clock that goes back adds nothing (threat R3). It starts full.
 */
export class TokenBucket {
  readonly #rate: Rate
  #tokens: number
  #refilledAt: number

  constructor(rate: Rate, now: number) {
    this.#rate = rate
    this.#tokens = rate.burst
    this.#refilledAt = now
  }

  /**
   * Admits while at least one token is left. `cost` (0 or more) may overdraw: what is costly or large is served now
   * and paid for by the wait before the next one, so a cost above `burst` cannot be refused for ever.
   * @returns false when nothing was taken
   */
  take(cost: number, now: number): boolean {
    // Written so that a NaN (a cost or rate that no one checked) refuses everything instead of nothing.
    if (!(this.available(now) >= 1)) return false
    this.#tokens -= cost
    return true
  }

  /** Takes `cost` tokens whether they are there or not: what a handler turned out to cost. */
  charge(cost: number, now: number): void {
    this.#refill(now)
    this.#tokens -= cost
  }

  /** Tokens left; negative while in debt. */
  available(now: number): number {
    this.#refill(now)
    return this.#tokens
  }

  /**
   * Whole ms until `tokens` are there: 0 when they are, at least 1 when they are not, `Infinity` when they never will
   * be (above `burst`). Timers may fire early, so check again afterwards.
   */
  msUntil(tokens: number, now: number): number {
    const missing = tokens - this.available(now)
    if (missing <= 0) return 0
    return tokens > this.#rate.burst ? Number.POSITIVE_INFINITY : Math.ceil(missing / (this.#rate.perSecond / 1000))
  }

  /** True when forgetting the bucket and making a new one would change nothing. */
  isFull(now: number): boolean {
    return this.available(now) >= this.#rate.burst
  }

  #refill(now: number): void {
    const elapsedMs = now - this.#refilledAt
    if (elapsedMs <= 0) return
    const { perSecond, burst } = this.#rate
    this.#tokens = Math.min(burst, this.#tokens + elapsedMs * (perSecond / 1000))
    this.#refilledAt = now
  }
}
