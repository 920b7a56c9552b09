/** The store of the leak harness: one whose clock can be moved, and that fails for some users. */
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { Identity } from '../../lib/limits/store.ts'

/** Its entries live for at most this long. */
export const entriesMs = 60_000

/** How far the clocks of the stores are ahead: what lives for a minute is over at once when it is wanted. */
let aheadMs = 0

/** Moves the clocks of the stores to where everything that expires has expired. */
export function expireEntries(): void {
  aheadMs += 2 * entriesMs
}

/** Ms since the epoch, as the stores see it. */
export function storeTime(): number {
  return Date.now() + aheadMs
}

/** A store that is down for some users: in the handshake, or once the connection is there. */
export class CyclesStore extends MemoryStore {
  readonly #asked = new Set<string>()

  constructor() {
    super({ now: () => performance.now() + aheadMs, wall: storeTime })
  }

  override isRefused(identity: Identity): boolean {
    const { subject } = identity
    if (subject.startsWith('down')) throw new Error('the store is down')
    // The handshake asks first, the connection when it begins.
    if (subject.startsWith('falls') && !this.#asked.delete(subject)) this.#asked.add(subject)
    else if (subject.startsWith('falls')) throw new Error('the store is down')
    return super.isRefused(identity)
  }
}
