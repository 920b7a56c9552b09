import { normalizeIP } from '@fastify/rate-limit'
import type { MaybePromise, Store } from '../limits/store.ts'
import { type Held, slots } from './held.ts'
import type { Upgrade } from './upgrade.ts'

/**
 * Who may come in beside those who are in (threats R2, Z10). Slots are taken while the handshake runs and released
 * when its socket closes, once, whatever closed it.
 */
export class Admission {
  readonly #store: Store
  readonly #maxTotal: number
  readonly #taken = { total: 0, unauthenticated: 0, refused: 0 }

  constructor(store: Store, maxTotal: number) {
    this.#store = store
    this.#maxTotal = maxTotal
  }

  /** Slots taken on this node. */
  get total(): number {
    return this.#taken.total
  }

  get unauthenticated(): number {
    return this.#taken.unauthenticated
  }

  get refused(): number {
    return this.#taken.refused
  }

  /** @returns false when this node is full */
  takeTotal(upgrade: Upgrade): boolean {
    return this.#take(upgrade, 'total', this.#maxTotal)
  }

  /** @returns false when this address has all the connections it may have; an IPv6 address counts as its /64 */
  takeIp(upgrade: Upgrade, ip: string, max: number): MaybePromise<boolean> {
    return this.#acquire(upgrade, 'ip', ip, max)
  }

  /** @returns false when this user has all the connections they may have */
  takeUser(upgrade: Upgrade, subject: string, max: number): MaybePromise<boolean> {
    return this.#acquire(upgrade, 'user', subject, max)
  }

  /** A slot for the time until the first message has authenticated the connection. */
  takeUnauthenticated(upgrade: Upgrade, max: number): (() => void) | undefined {
    if (!this.#take(upgrade, 'unauthenticated', max)) return undefined
    const { held } = upgrade
    return () => this.#giveBack(held, 'unauthenticated')
  }

  /** A slot for a socket that only says why it is refused, until it has closed. */
  takeRefused(upgrade: Upgrade, max: number): boolean {
    return this.#take(upgrade, 'refused', max)
  }

  /** Releases whatever a socket held, when it has closed. */
  release(held: Held): void {
    for (const name of names) this.#giveBack(held, name)
    for (const name of holders) {
      const holder = held[name]
      held[name] = undefined
      if (holder !== undefined) this.#release(keyOf[name](holder))
    }
  }

  #take({ held, socket }: Upgrade, name: SlotName, max: number): boolean {
    if (this.#taken[name] >= max) return false
    // A socket that is gone has released what it held.
    if (!socket.destroyed) {
      this.#taken[name]++
      held.counted |= slots[name]
    }
    return true
  }

  #giveBack(held: Held, name: SlotName): void {
    if ((held.counted & slots[name]) === 0) return
    held.counted &= ~slots[name]
    this.#taken[name]--
  }

  async #acquire({ held, socket }: Upgrade, name: HolderName, holder: string, max: number): Promise<boolean> {
    const key = keyOf[name](holder)
    if (!(await this.#store.acquireSlot(key, max))) return false
    if (socket.destroyed) this.#release(key)
    else held[name] = holder
    return true
  }

  /** Runs while a socket closes, where an error would end the process: the lease of a store that is down ends by itself. */
  #release(key: string): void {
    const release = async (): Promise<void> => this.#store.releaseSlot(key)
    // The next handshake that needs the store reports it.
    release().catch(() => {})
  }
}

type SlotName = keyof typeof slots

const names = Object.keys(slots) as SlotName[]

/** The key of a slot in the store, by whom it is taken for. */
const keyOf = {
  ip: (ip: string): string => `ip:${normalizeIP(ip)}`,
  user: (subject: string): string => `user:${subject}`
} as const

type HolderName = keyof typeof keyOf

const holders = Object.keys(keyOf) as HolderName[]
