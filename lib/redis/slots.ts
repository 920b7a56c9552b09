import { inBatches } from './in-batches.ts'
import type { Lease } from './lease.ts'
import type { Link } from './link.ts'
import type { Names } from './names.ts'
import { acquireSlots, writeSlots } from './scripts.ts'

/** A key that nothing has touched for so long is gone; what is held for longer is written again in time. */
export const slotTtlMs = 86_400_000
const rewriteAfterMs = slotTtlMs / 2

interface Held {
  readonly key: string
  /** What this node holds and what it is asking for. */
  claimed: number
  /** What Redis was last known to have; NaN when a command has failed and may or may not have been carried out. */
  written: number
  underWay: number
  writtenAt: number
}

/**
 * How many connections of an address or a user there are, on all nodes. Redis has a number for each node, and a node
 * always writes the whole of its own: whatever was lost, late or done twice, the next write makes right.
 */
export class Slots {
  readonly #link: Link
  readonly #names: Names
  readonly #node: string
  readonly #lease: Lease
  readonly #isUp: () => boolean
  readonly #held = new Map<string, Held>()

  constructor(link: Link, names: Names, node: string, lease: Lease, isUp: () => boolean) {
    this.#link = link
    this.#names = names
    this.#node = node
    this.#lease = lease
    this.#isUp = isUp
  }

  get size(): number {
    return this.#held.size
  }

  /** Asks Redis. @throws StoreDownError */
  async acquire(key: string, max: number): Promise<boolean> {
    const held = this.#claim(key, max)
    if (held === undefined) return false
    const isGranted = await this.#change(held, () => this.#ask(held, max)).catch((error: unknown) => {
      this.#giveBack(held)
      throw error
    })
    if (!isGranted) this.#giveBack(held)
    return isGranted
  }

  /** Without asking: as many as this node would give by itself. */
  acquireHere(key: string, max: number): boolean {
    return this.#claim(key, max) !== undefined
  }

  release(key: string): void {
    const held = this.#held.get(key)
    if (held !== undefined && held.claimed > 0) this.#giveBack(held)
  }

  /** Redis may have forgotten everything. */
  forgetWritten(): void {
    for (const held of this.#held.values()) held.written = Number.NaN
  }

  /** Writes what Redis does not have, or will forget soon. @throws StoreDownError */
  async writeAll(): Promise<void> {
    await inBatches([...this.#held.values()].filter(needsWrite), (held) => this.#write(held))
  }

  #claim(key: string, max: number): Held | undefined {
    const held = this.#held.get(key) ?? { key, claimed: 0, written: 0, underWay: 0, writtenAt: performance.now() }
    // All of them are here: Redis could only say the same.
    if (!(held.claimed < max)) return undefined
    held.claimed++
    this.#held.set(key, held)
    return held
  }

  async #ask(held: Held, max: number): Promise<boolean> {
    const others = await this.#tryAcquire(held, max, [])
    if (others === undefined) return true
    const dead = await this.#lease.deadAmong(others)
    return dead.length > 0 && (await this.#tryAcquire(held, max, dead)) === undefined
  }

  /** @returns the other nodes that hold slots, when there are too many; those that are dead are dropped */
  async #tryAcquire(held: Held, max: number, dead: readonly string[]): Promise<readonly string[] | undefined> {
    const args = [this.#node, held.claimed, max, slotTtlMs, ...dead]
    const answer = await this.#link.run(acquireSlots, [this.#names.slots(held.key)], args)
    if (Array.isArray(answer)) return answer as string[]
    held.written = answer as number
    return undefined
  }

  #giveBack(held: Held): void {
    held.claimed--
    this.#writeSoon(held)
  }

  /** Makes Redis have what is claimed. One write at a time: what changes meanwhile is written next. */
  async #write(held: Held): Promise<void> {
    if (held.underWay > 0 || this.#forget(held) || !needsWrite(held)) return
    const { claimed } = held
    await this.#change(held, async () => {
      await this.#link.run(writeSlots, [this.#names.slots(held.key)], [this.#node, claimed, slotTtlMs])
      held.written = claimed
    })
  }

  /** Something that changes what Redis has. When nothing else is under way, and it differs, it is written. */
  async #change<T>(held: Held, change: () => Promise<T>): Promise<T> {
    held.underWay++
    try {
      const result = await change()
      held.writtenAt = performance.now()
      return result
    } catch (error) {
      held.written = Number.NaN
      throw error
    } finally {
      held.underWay--
      if (held.underWay === 0 && !Number.isNaN(held.written)) this.#writeSoon(held)
    }
  }

  /** While Redis is down it is left to the first round that works. */
  #writeSoon(held: Held): void {
    if (!this.#forget(held) && this.#isUp()) void this.#write(held).catch(() => {})
  }

  /** A key of which neither this node nor Redis has anything. */
  #forget({ key, claimed, written, underWay }: Held): boolean {
    return claimed === 0 && written === 0 && underWay === 0 && this.#held.delete(key)
  }
}

/** Redis does not have it, or will forget it soon. */
function needsWrite({ claimed, written, writtenAt }: Held): boolean {
  return written !== claimed || performance.now() - writtenAt >= rewriteAfterMs
}
