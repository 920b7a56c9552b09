import type { Link } from './link.ts'
import type { Names } from './names.ts'
import { renewLease } from './scripts.ts'

/**
 * One lease per node, renewed every third of its time: what a node holds counts as long as its lease does, so a killed
 * one gives its slots back by itself (threat N1).
 */
export class Lease {
  readonly #link: Link
  readonly #names: Names
  readonly #node: string
  readonly #leaseMs: number
  /** When the lease of each other node ends at the earliest, on this process's own clock. */
  #others = new Map<string, number>()
  /** It had none when it last asked, and nobody has been told yet. */
  #wasLost = false

  constructor(link: Link, names: Names, node: string, leaseMs: number) {
    this.#link = link
    this.#names = names
    this.#node = node
    this.#leaseMs = leaseMs
  }

  /** @returns false when there was none: the first time, after a pause, or when Redis has lost its data */
  async renew(): Promise<boolean> {
    await this.#ask(this.#leaseMs)
    const wasLost = this.#wasLost
    this.#wasLost = false
    return !wasLost
  }

  async giveUp(): Promise<void> {
    await this.#ask(0)
  }

  /** Those of these nodes whose lease is over. Asks Redis only about one that may be gone. */
  async deadAmong(nodes: readonly string[]): Promise<readonly string[]> {
    if (nodes.every((node) => this.#isAlive(node))) return []
    await this.#ask(this.#leaseMs)
    return nodes.filter((node) => !this.#isAlive(node))
  }

  #isAlive(node: string): boolean {
    return (this.#others.get(node) ?? 0) > performance.now()
  }

  async #ask(leaseMs: number): Promise<void> {
    const askedAt = performance.now()
    const [had, nodes] = (await this.#link.run(renewLease, [this.#names.nodes], [this.#node, leaseMs])) as [
      number,
      (string | number)[]
    ]
    this.#others = new Map()
    for (let at = 0; at < nodes.length; at += 2) {
      this.#others.set(String(nodes[at]), askedAt + Number(nodes[at + 1]))
    }
    this.#wasLost ||= had !== 1
  }
}
