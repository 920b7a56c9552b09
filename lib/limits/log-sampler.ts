/** Reasons told apart. They are names of ours, a few dozen; what comes above shares one count (threat L1). */
const maxReasons = 256
const otherReasons = Symbol('other reasons')
const windowMs = 1000

interface Window {
  startedAt: number
  lines: number
  suppressed: number
}

/**
 * Lets a flood write at most `perSecond` lines per reason and second; the rest is only counted, and the count goes out
 * with the next line that passes, so that nothing is lost but the detail. A second begins with its first line.
 */
export class LogSampler {
  readonly #perSecond: number
  readonly #windows = new Map<string | symbol, Window>()

  /** @param perSecond lines per reason and second; 0 lets none through */
  constructor(perSecond: number) {
    this.#perSecond = perSecond
  }

  /**
   * @param now in ms, from a clock that never jumps
   * @returns how many lines were left out since the last one that passed; `undefined` when this one is left out too
   */
  admit(reason: string, now: number): { readonly suppressed: number } | undefined {
    const window = this.#windowOf(reason, now)
    if (now - window.startedAt >= windowMs) {
      window.startedAt = now
      window.lines = 0
    }
    if (!(window.lines < this.#perSecond)) {
      window.suppressed++
      return undefined
    }
    const { suppressed } = window
    window.lines++
    window.suppressed = 0
    return { suppressed }
  }

  #windowOf(reason: string, now: number): Window {
    const known = this.#windows.get(reason)
    if (known !== undefined) return known
    const key = this.#windows.size < maxReasons ? reason : otherReasons
    let window = this.#windows.get(key)
    if (window === undefined) {
      window = { startedAt: now, lines: 0, suppressed: 0 }
      this.#windows.set(key, window)
    }
    return window
  }
}
