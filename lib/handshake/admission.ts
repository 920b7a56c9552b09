import { normalizeIP } from '@fastify/rate-limit'
import type { MaybePromise, Store } from '../limits/store.ts'
import type { Upgrade } from './upgrade.ts'

/**
 * Who may come in beside those who are in (threats R2, Z10). Slots are taken while the handshake runs and released
 * when its socket closes, once, whatever closed it.
 */
export class Admission {
  readonly #store: Store
  readonly #maxTotal: number
  #total = 0
  #unauthenticated = 0
  #refused = 0

  constructor(store: Store, maxTotal: number) {
    this.#store = store
    this.#maxTotal = maxTotal
  }

  /** Slots taken on this node. */
  get total(): number {
    return this.#total
  }

  get unauthenticated(): number {
    return this.#unauthenticated
  }

  get refused(): number {
    return this.#refused
  }

  /** @returns false when this node is full */
  takeTotal(upgrade: Upgrade): boolean {
    if (this.#total >= this.#maxTotal) return false
    this.#total++
    hold(upgrade, () => this.#total--)
    return true
  }

  /** @returns false when this address has all the connections it may have; an IPv6 address counts as its /64 */
  takeIp(upgrade: Upgrade, ip: string, max: number): MaybePromise<boolean> {
    return this.#take(upgrade, `ip:${normalizeIP(ip)}`, max)
  }

  /** @returns false when this user has all the connections they may have */
  takeUser(upgrade: Upgrade, subject: string, max: number): MaybePromise<boolean> {
    return this.#take(upgrade, `user:${subject}`, max)
  }

  /** A slot for the time until the first message has authenticated the connection. */
  takeUnauthenticated(upgrade: Upgrade, max: number): (() => void) | undefined {
    if (this.#unauthenticated >= max) return undefined
    this.#unauthenticated++
    return hold(upgrade, () => this.#unauthenticated--)
  }

  /** A slot for a socket that only says why it is refused, until it has closed. */
  takeRefused(upgrade: Upgrade, max: number): boolean {
    if (this.#refused >= max) return false
    this.#refused++
    hold(upgrade, () => this.#refused--)
    return true
  }

  async #take(upgrade: Upgrade, key: string, max: number): Promise<boolean> {
    if (!(await this.#store.acquireSlot(key, max))) return false
    hold(upgrade, () => this.#release(key))
    return true
  }

  /** Runs while a socket closes, where an error would end the process: the lease of a store that is down ends by itself. */
  #release(key: string): void {
    const release = async (): Promise<void> => this.#store.releaseSlot(key)
    // The next handshake that needs the store reports it.
    release().catch(() => {})
  }
}

/** Releases once: when the socket closes, at once when it already has, or earlier by the function returned. */
function hold(upgrade: Upgrade, release: () => void): () => void {
  let isHeld = true
  const once = (): void => {
    if (!isHeld) return
    isHeld = false
    release()
  }
  if (upgrade.socket.destroyed) once()
  else upgrade.releases.push(once)
  return once
}
