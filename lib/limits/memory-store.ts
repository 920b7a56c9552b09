import { OptionError } from '../errors.ts'
import { type ExpiringEntry, ExpiringMap } from './expiring-map.ts'
import { Refusals } from './refusals.ts'
import { type AttemptsStore, type Identity, type Revocation, type Store, StoreFullError, type Ticket } from './store.ts'
import { bucketKey, type Rate, TokenBucket } from './token-bucket.ts'

/** Keys per table, see `MemoryStoreOptions.maxKeys`. */
export const defaultMaxKeys = 100_000
/** A `Map` of V8 ends at 2 ** 24 keys, and slots have four times `maxKeys`. */
const highestMaxKeys = 4_000_000
/** A connection holds up to four slots (address, user, and those before it is known who it is). */
const slotKeysFactor = 4

export interface MemoryStoreOptions {
  /** Ms, from a clock that never jumps: windows, budgets, lifetimes. Default `performance.now()`. */
  readonly now?: () => number
  /** Ms since the epoch, for blocks. Default: `now` where that is given, else `Date.now()`. */
  readonly wall?: () => number
  /**
   * The bound of every table (attempts per limiter, punished attempts per limiter, user budgets, tickets, revocations,
   * blocks; slots: four times that). An entry takes some 200 bytes. 1 to 4 000 000, default 100 000.
   */
  readonly maxKeys?: number
}

interface Count {
  current: number
  /** `max` was exceeded in this window: must not be forgotten before the window ends. */
  punished: boolean
}

interface AttemptsHost {
  readonly now: () => number
  readonly maxKeys: number
  readonly tables: MemoryAttempts[]
}

/**
 * Fixed windows in two tables (threat R1). Those within their limit are forgotten, oldest first, when room is needed:
 * all that gains is the rest of an allowance. Those over it are kept until their window ends; when they fill their
 * table, a key that is not known counts as exceeded, because making room would pardon someone.
 */
class MemoryAttempts implements AttemptsStore {
  readonly counting: ExpiringMap<Count>
  readonly punished: ExpiringMap<Count>
  readonly #host: AttemptsHost

  constructor(host: AttemptsHost) {
    this.#host = host
    this.counting = new ExpiringMap(host.maxKeys)
    this.punished = new ExpiringMap(host.maxKeys)
    host.tables.push(this)
  }

  incr(
    key: string,
    callback: (error: Error | null, result?: { current: number; ttl: number }) => void,
    timeWindow: number,
    max: number
  ): void {
    callback(null, this.#count(key, timeWindow, max))
  }

  child(_routeOptions: object): MemoryAttempts {
    return new MemoryAttempts(this.#host)
  }

  #count(key: string, timeWindow: number, max: number): { current: number; ttl: number } {
    const now = this.#host.now()
    const known = this.punished.get(key, now) ?? this.counting.get(key, now)
    const count = known?.value ?? { current: 0, punished: false }
    const endsAt = known?.endsAt ?? now + timeWindow
    if (known === undefined && !this.#begin(key, count, endsAt, now)) return { current: max + 1, ttl: timeWindow }
    count.current++
    if (count.current > max && !count.punished) {
      count.punished = true
      this.#punish(key, count, endsAt, now)
    }
    return { current: count.current, ttl: endsAt - now }
  }

  #begin(key: string, count: Count, endsAt: number, now: number): boolean {
    this.punished.delete(key) // its last window, which has ended
    if (!this.punished.hasRoom(now)) return false
    if (!this.counting.hasRoom(now)) this.#evictOldest(now)
    return this.counting.set(key, count, endsAt, now)
  }

  /** Without room among the punished it stays where it is: as long as they are full, nothing is evicted. */
  #punish(key: string, count: Count, endsAt: number, now: number): void {
    if (this.punished.set(key, count, endsAt, now)) this.counting.delete(key)
  }

  #evictOldest(now: number): void {
    const oldest = this.counting.oldest() as ExpiringEntry<Count> // a full table is not empty
    // One that found no room among the punished gets it now: #begin has just seen that there is some.
    if (oldest.value.punished) this.punished.set(oldest.key, oldest.value, oldest.endsAt, now)
    this.counting.delete(oldest.key)
  }
}

/** The store of a single node. Everything is gone with the process; with several nodes each has its own limits. */
export class MemoryStore implements Store {
  readonly Attempts: new (
    options: object
  ) => AttemptsStore
  readonly #now: () => number
  readonly #maxSlotKeys: number
  readonly #attempts: MemoryAttempts[] = []
  readonly #slots = new Map<string, number>()
  readonly #budgets: ExpiringMap<TokenBucket>
  readonly #tickets: ExpiringMap<Ticket>
  readonly #refusals: Refusals

  /** @throws OptionError when `maxKeys` is not an integer from 1 to 4 000 000 */
  constructor(options: MemoryStoreOptions = {}) {
    const { maxKeys = defaultMaxKeys } = options
    if (!Number.isSafeInteger(maxKeys) || maxKeys < 1 || maxKeys > highestMaxKeys) {
      throw new OptionError(`store: maxKeys must be an integer from 1 to ${highestMaxKeys}`)
    }
    this.#now = options.now ?? (() => performance.now())
    this.#maxSlotKeys = maxKeys * slotKeysFactor
    this.#budgets = new ExpiringMap(maxKeys)
    this.#tickets = new ExpiringMap(maxKeys)
    this.#refusals = new Refusals({ now: this.#now, wall: options.wall ?? options.now ?? Date.now }, maxKeys)
    const host: AttemptsHost = { now: this.#now, maxKeys, tables: this.#attempts }
    this.Attempts = class extends MemoryAttempts {
      constructor(_options: object) {
        super(host)
      }
    }
  }

  acquireSlot(key: string, max: number): boolean {
    const taken = this.#slots.get(key) ?? 0
    if (!(taken < max) || (taken === 0 && this.#slots.size >= this.#maxSlotKeys)) return false
    this.#slots.set(key, taken + 1)
    return true
  }

  releaseSlot(key: string): void {
    const taken = this.#slots.get(key)
    if (taken === undefined) return
    if (taken > 1) this.#slots.set(key, taken - 1)
    else this.#slots.delete(key)
  }

  takeUserBudget(subject: string, cost: number, rate: Rate): boolean {
    return this.#useBudget(subject, rate, (bucket, now) => bucket.take(cost, now))
  }

  chargeUserBudget(subject: string, cost: number, rate: Rate): void {
    this.#useBudget(subject, rate, (bucket, now) => {
      bucket.charge(cost, now)
      return true
    })
  }

  #useBudget(subject: string, rate: Rate, use: (bucket: TokenBucket, now: number) => boolean): boolean {
    const now = this.#now()
    const key = bucketKey(subject, rate)
    const bucket = this.#budgets.get(key, now)?.value ?? new TokenBucket(rate, now)
    const admitted = use(bucket, now)
    // A full bucket is as good as none, so that is when the entry ends. No room: all are in use, fail closed.
    return this.#budgets.set(key, bucket, now + bucket.msUntil(rate.burst, now), now) && admitted
  }

  putTicket(hash: string, ticket: Ticket, ttlMs: number): void {
    const now = this.#now()
    if (!this.#tickets.set(hash, ticket, now + ttlMs, now)) throw new StoreFullError('ticket')
  }

  takeTicket(hash: string): Ticket | undefined {
    const found = this.#tickets.get(hash, this.#now())
    this.#tickets.delete(hash)
    return found?.value
  }

  revoke(revocation: Revocation): void {
    this.#refusals.revoke(revocation)
  }

  block(subject: string, untilMs: number): void {
    this.#refusals.block(subject, untilMs)
  }

  unblock(subject: string): void {
    this.#refusals.unblock(subject)
  }

  isRefused(identity: Identity): boolean {
    return this.#refusals.isRefused(identity)
  }

  /** There is no other node: what this one does to its own connections is all there is to do. */
  open(): void {}
  disconnect(): void {}
  subscribe(): void {}
  unsubscribe(): void {}
  publish(): void {}

  sizes(): Readonly<Record<string, number>> {
    const count = (table: ExpiringMap<unknown>): number => {
      table.sweep(this.#now())
      return table.size
    }
    return {
      attempts: this.#attempts.reduce((sum, { counting }) => sum + count(counting), 0),
      punished: this.#attempts.reduce((sum, { punished }) => sum + count(punished), 0),
      slots: this.#slots.size,
      userBudgets: count(this.#budgets),
      tickets: count(this.#tickets),
      ...this.#refusals.sizes()
    }
  }

  /** Forgets everything. There is no timer to stop. */
  close(): void {
    for (const { counting, punished } of this.#attempts) {
      counting.clear()
      punished.clear()
    }
    this.#budgets.clear()
    this.#tickets.clear()
    this.#refusals.clear()
    this.#slots.clear()
  }
}
