import type { MaybePromise } from '../limits/store.ts'
import { bucketKey, type Rate } from '../limits/token-bucket.ts'
import type { Link } from './link.ts'
import type { Names } from './names.ts'
import { takeBudget } from './scripts.ts'

/**
 * Tokens are used up to this time after they were asked for, and given back then; Redis takes them back until a little
 * later. Over any time T all nodes together admit at most burst + perSecond × (T + 0.25 s).
 */
export const batchMs = 200
export const giveBackMs = 250
/**
 * An empty budget is asked for again after this time, or when it may be half full: every node asks, and each token that
 * comes would be a round trip of each of them.
 */
export const emptyRestMs = 100

interface Batch {
  readonly id: string
  readonly key: string
  readonly rate: Rate
  /** Tokens left of those granted. */
  left: number
  used: number
  usableUntil: number
  /** On the clock of Redis. */
  grantedAt: string
  /** Taken beyond what was left; asked for with the next batch. */
  owed: number
  /** Redis said that there is none before. */
  emptyUntil: number
  /** How many were used of the last batch: as many may be wanted again. */
  lastUsed: number
  /** The last answer came when its batch was over: of more than one token the others would be lost. */
  isLate: boolean
  asking: Promise<void> | undefined
  timer: NodeJS.Timeout | undefined
}

/**
 * The message budgets of users, taken from Redis in batches, so that not every message is a round trip. A batch begins
 * with one token and doubles while it is used up; what is not used goes back.
 */
export class Budgets {
  readonly #link: Link
  readonly #names: Names
  readonly #batches = new Map<string, Batch>()

  constructor(link: Link, names: Names) {
    this.#link = link
    this.#names = names
  }

  get size(): number {
    return this.#batches.size
  }

  /** @throws StoreDownError */
  take(subject: string, cost: number, rate: Rate): MaybePromise<boolean> {
    const batch = this.#batchOf(subject, rate)
    const isUsable = performance.now() < batch.usableUntil
    return this.#takeHere(batch, cost, isUsable) ?? this.#takeThere(batch, cost)
  }

  /** Owed to Redis when this node has none: it is paid with the next batch, or at the end of this one. */
  charge(subject: string, cost: number, rate: Rate): void {
    const batch = this.#batchOf(subject, rate)
    const paid = Math.max(0, Math.min(cost, batch.left))
    batch.left -= paid
    batch.used += paid
    batch.owed += cost - paid
    batch.timer ??= this.#endLater(batch)
  }

  close(): void {
    for (const { timer } of this.#batches.values()) clearTimeout(timer)
    this.#batches.clear()
  }

  #batchOf(subject: string, rate: Rate): Batch {
    const id = bucketKey(subject, rate)
    const known = this.#batches.get(id)
    if (known !== undefined) return known
    const batch: Batch = {
      id,
      key: this.#names.budget(id),
      rate,
      left: 0,
      used: 0,
      usableUntil: 0,
      grantedAt: '0',
      owed: 0,
      emptyUntil: 0,
      lastUsed: 0,
      isLate: false,
      asking: undefined,
      timer: undefined
    }
    this.#batches.set(id, batch)
    return batch
  }

  /** @returns undefined when Redis has to be asked */
  #takeHere(batch: Batch, cost: number, isUsable: boolean): boolean | undefined {
    if (isUsable && batch.left >= 1) {
      const paid = Math.min(cost, batch.left)
      batch.left -= paid
      batch.used += paid
      batch.owed += cost - paid
      return true
    }
    return performance.now() < batch.emptyUntil ? false : undefined
  }

  async #takeThere(batch: Batch, cost: number): Promise<boolean> {
    for (;;) {
      // Several connections of a user may wait for the same batch, and one of them use it up.
      batch.asking ??= this.#ask(batch).finally(() => {
        batch.asking = undefined
      })
      await batch.asking
      // Just granted, however long the way was: over a line as slow as a batch is short, messages still get through.
      const isTaken = this.#takeHere(batch, cost, true)
      if (isTaken !== undefined) return isTaken
    }
  }

  async #ask(batch: Batch): Promise<void> {
    const { rate, left, owed, grantedAt, used } = batch
    const wanted = batch.isLate ? 1 : Math.max(1, Math.min(2 * Math.max(used, batch.lastUsed), rate.burst))
    const askedAt = performance.now()
    Object.assign(batch, { left: 0, owed: 0, used: 0, lastUsed: used })
    clearTimeout(batch.timer)
    batch.timer = this.#endLater(batch)
    try {
      const [granted, at, emptyMs] = await this.#run(batch, wanted, left, grantedAt, owed)
      batch.left = granted
      batch.grantedAt = at
      batch.usableUntil = askedAt + batchMs
      batch.isLate = performance.now() >= batch.usableUntil
      // Not for longer than a batch lives: another node may give back.
      const restMs = Math.max(Math.min(emptyMs, batchMs), Math.min(emptyRestMs, (500 * rate.burst) / rate.perSecond))
      batch.emptyUntil = granted < 1 ? performance.now() + restMs : 0
    } catch (error) {
      batch.owed += owed
      throw error
    }
  }

  async #run(
    { key, rate }: Batch,
    wanted: number,
    left: number,
    grantedAt: string,
    owed: number
  ): Promise<[granted: number, at: string, emptyMs: number]> {
    const args = [rate.perSecond, rate.burst, wanted, left, grantedAt, giveBackMs, owed]
    return (await this.#link.run(takeBudget, [key], args)) as [number, string, number]
  }

  #endLater(batch: Batch): NodeJS.Timeout {
    return setTimeout(() => this.#end(batch), batchMs).unref()
  }

  /** Gives back what was not used. A batch that nobody uses any more is forgotten. */
  #end(batch: Batch): void {
    const { left, owed, grantedAt, used, asking } = batch
    batch.timer = undefined
    if (asking !== undefined) {
      batch.timer = this.#endLater(batch)
      return
    }
    Object.assign(batch, { left: 0, owed: 0, used: 0, lastUsed: used, usableUntil: 0 })
    if (left > 0 || owed > 0) void this.#run(batch, 0, left, grantedAt, owed).catch(() => {}) // lost, as Redis is down
    if (used > 0 || performance.now() < batch.emptyUntil) batch.timer = this.#endLater(batch)
    else this.#batches.delete(batch.id)
  }
}
