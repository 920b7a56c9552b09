/** What is found under a key. */
export interface ExpiringEntry<V> {
  readonly key: string
  readonly value: V
  readonly endsAt: number
}

interface Node<V> extends ExpiringEntry<V> {
  older: Node<V> | undefined
  newer: Node<V> | undefined
}

/** Entries whose lifetimes differ are only found by looking at all of them: at most this often, in ms. */
const fullSweepEveryMs = 1000

/**
 * A map of at most `maxKeys` entries that end at a time, in the order in which they were set. It has no timer: what
 * has ended is not found any more, and makes room when room is needed. Nothing that still lives is thrown away here.
 *
 * The order is a linked list of its own: a `Map` walks over the holes that deleted keys leave, which makes "the
 * oldest key" cost O(n) (95 µs with 100 000 keys) just when a flood asks for it.
 */
export class ExpiringMap<V> {
  readonly #nodes = new Map<string, Node<V>>()
  readonly #maxKeys: number
  #oldest: Node<V> | undefined
  #newest: Node<V> | undefined
  #nextFullSweep = Number.NEGATIVE_INFINITY

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys
  }

  get size(): number {
    return this.#nodes.size
  }

  /** The entry, unless it has ended. */
  get(key: string, now: number): ExpiringEntry<V> | undefined {
    const node = this.#nodes.get(key)
    return node === undefined || node.endsAt <= now ? undefined : node
  }

  /**
   * Sets the newest entry. Replacing always works.
   * @returns false when there is no room for another key, after everything that has ended was thrown away
   */
  set(key: string, value: V, endsAt: number, now: number): boolean {
    if (!this.delete(key) && !this.hasRoom(now)) return false
    const node: Node<V> = { key, value, endsAt, older: this.#newest, newer: undefined }
    if (this.#newest === undefined) this.#oldest = node
    else this.#newest.newer = node
    this.#newest = node
    this.#nodes.set(key, node)
    return true
  }

  /** O(1) amortised: the oldest that have ended are thrown away, all that have ended once per second. */
  hasRoom(now: number): boolean {
    if (this.size < this.#maxKeys) return true
    while (this.#oldest !== undefined && this.#oldest.endsAt <= now) this.delete(this.#oldest.key)
    if (this.size >= this.#maxKeys && now >= this.#nextFullSweep) {
      this.#nextFullSweep = now + fullSweepEveryMs
      this.sweep(now)
    }
    return this.size < this.#maxKeys
  }

  /** The entry set longest ago, whether it has ended or not. */
  oldest(): ExpiringEntry<V> | undefined {
    return this.#oldest
  }

  /** @returns whether it was there, ended or not */
  delete(key: string): boolean {
    const node = this.#nodes.get(key)
    if (node === undefined) return false
    if (node.older === undefined) this.#oldest = node.newer
    else node.older.newer = node.newer
    if (node.newer === undefined) this.#newest = node.older
    else node.newer.older = node.older
    return this.#nodes.delete(key)
  }

  /** Throws away everything that has ended. O(n). */
  sweep(now: number): void {
    for (const node of this.#nodes.values()) if (node.endsAt <= now) this.delete(node.key)
  }

  clear(): void {
    this.#nodes.clear()
    this.#oldest = undefined
    this.#newest = undefined
  }
}
