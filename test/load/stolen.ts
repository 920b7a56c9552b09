/**
 * What is late because the machine was taken away. The host of a virtual machine may give its processors to others for
 * hundreds of milliseconds, and Linux says how long ("steal" of /proc/stat): no server can answer in such a time.
 */
import { readFileSync } from 'node:fs'
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** So much of the processors' time may be missing from a time that still counts as ours. */
export const maxStolenShare = 0.02

/** Ticks of all processors since the start, by the columns of proc_stat(5); all 0 where there is no such file. */
function readTicks(): { readonly all: number; readonly stolen: number } {
  try {
    const [line = ''] = readFileSync('/proc/stat', 'latin1').split('\n')
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user as well.
    const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number)
    return { all: ticks.reduce((sum, count) => sum + count, 0), stolen: ticks[7] ?? 0 }
  } catch {
    return { all: 0, stolen: 0 }
  }
}

/** @returns a function that says which share of the processors' time was taken away since it was last asked */
export function watchStolen(): () => number {
  let last = readTicks()
  return () => {
    const now = readTicks()
    const all = now.all - last.all
    const share = all === 0 ? 0 : (now.stolen - last.stolen) / all
    last = now
    return share
  }
}

export interface Percentiles {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

export interface SecondsReport {
  /** In ms. */
  readonly all: Percentiles
  /** Of the seconds in which the machine was ours, in ms. */
  readonly ours: Percentiles
  readonly seconds: number
  readonly secondsOurs: number
}

/** Times, second by second, so that those in which the machine was ours can be told from the others. */
export class Seconds {
  readonly #all = createHistogram()
  readonly #ours = createHistogram()
  #current = createHistogram()
  readonly #stolenShare = watchStolen()
  #wasQuiet = true
  #seconds = 0
  #secondsOurs = 0
  readonly #timer = setInterval(() => this.#turn(), 1_000).unref()

  /** In ms. */
  record(ms: number): void {
    this.#current.record(Math.max(1, Math.round(ms * 1_000)))
  }

  /** What has not been a whole second counts for `all` only. */
  stop(): SecondsReport {
    clearInterval(this.#timer)
    this.#all.add(this.#current)
    return {
      all: percentiles(this.#all),
      ours: percentiles(this.#ours),
      seconds: this.#seconds,
      secondsOurs: this.#secondsOurs
    }
  }

  /** What was asked in the second before may be answered in this one, so both have to be ours. */
  #turn(): void {
    const isQuiet = this.#stolenShare() <= maxStolenShare
    this.#all.add(this.#current)
    this.#seconds++
    if (isQuiet && this.#wasQuiet) {
      this.#ours.add(this.#current)
      this.#secondsOurs++
    }
    this.#wasQuiet = isQuiet
    this.#current = createHistogram()
  }
}

function percentiles(histogram: RecordableHistogram): Percentiles {
  const ms = (microseconds: number): number => Math.round(microseconds / 10) / 100
  return { p50: ms(histogram.percentile(50)), p99: ms(histogram.percentile(99)), max: ms(histogram.max) }
}
