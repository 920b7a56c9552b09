/** A store on a network, as far as its callers see: every answer is a promise, and a test says when it comes. */
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { AttemptsStore, Identity, Revocation, Store, Ticket } from '../../lib/limits/store.ts'
import type { Rate } from '../../lib/limits/token-bucket.ts'
import { deferred } from '../connection/harness.ts'

export type SlowMethod = 'acquireSlot' | 'putTicket' | 'takeTicket' | 'revoke' | 'block' | 'unblock' | 'isRefused'

/** Holds the calls of a method back, from when it is set until it is opened. */
export class Gate {
  /** Whether a held call has yet to reach the memory, or has its answer and keeps it. */
  readonly holds: 'question' | 'answer'
  /** How many calls wait, or waited. */
  held = 0
  readonly #way = deferred()

  constructor(holds: 'question' | 'answer') {
    this.holds = holds
    // Nobody need wait at a gate that fails.
    this.#way.promise.catch(() => {})
  }

  pass(): Promise<unknown> {
    this.held++
    return this.#way.promise
  }

  open(): void {
    this.#way.resolve(undefined)
  }

  fail(error: Error): void {
    this.#way.reject(error)
  }
}

export class SlowStore implements Store {
  readonly memory: MemoryStore = new MemoryStore()
  readonly #pace: () => Promise<unknown>
  readonly #gates = new Map<SlowMethod, Gate>()

  /** `pace`: how long each way of a call takes that no gate holds. */
  constructor(pace: () => Promise<unknown> = async () => {}) {
    this.#pace = pace
  }

  get Attempts(): new (
    options: object
  ) => AttemptsStore {
    return this.memory.Attempts
  }

  /** Every later call of this method waits at the gate returned, until `release`. */
  hold(method: SlowMethod, holds: Gate['holds'] = 'answer'): Gate {
    const gate = new Gate(holds)
    this.#gates.set(method, gate)
    return gate
  }

  /** Later calls of this method pass; those that wait go on waiting. */
  release(method: SlowMethod): void {
    this.#gates.delete(method)
  }

  async #call<T>(method: SlowMethod, ask: () => T): Promise<T> {
    const gate = this.#gates.get(method)
    if (gate?.holds === 'question') await gate.pass()
    else await this.#pace()
    const answer = ask()
    if (gate?.holds === 'answer') await gate.pass()
    else await this.#pace()
    return answer
  }

  acquireSlot(key: string, max: number): Promise<boolean> {
    return this.#call('acquireSlot', () => this.memory.acquireSlot(key, max))
  }

  releaseSlot(key: string): void {
    this.memory.releaseSlot(key)
  }

  takeUserBudget(subject: string, cost: number, rate: Rate): boolean {
    return this.memory.takeUserBudget(subject, cost, rate)
  }

  chargeUserBudget(subject: string, cost: number, rate: Rate): void {
    this.memory.chargeUserBudget(subject, cost, rate)
  }

  putTicket(hash: string, ticket: Ticket, ttlMs: number): Promise<void> {
    return this.#call('putTicket', () => this.memory.putTicket(hash, ticket, ttlMs))
  }

  takeTicket(hash: string): Promise<Ticket | undefined> {
    return this.#call('takeTicket', () => this.memory.takeTicket(hash))
  }

  revoke(revocation: Revocation): Promise<void> {
    return this.#call('revoke', () => this.memory.revoke(revocation))
  }

  block(subject: string, untilMs: number): Promise<void> {
    return this.#call('block', () => this.memory.block(subject, untilMs))
  }

  unblock(subject: string): Promise<void> {
    return this.#call('unblock', () => this.memory.unblock(subject))
  }

  isRefused(identity: Identity): Promise<boolean> {
    return this.#call('isRefused', () => this.memory.isRefused(identity))
  }

  open(): void {}
  disconnect(): void {}
  subscribe(): void {}
  unsubscribe(): void {}
  publish(): void {}

  sizes(): Readonly<Record<string, number>> {
    return this.memory.sizes()
  }

  close(): void {
    this.memory.close()
  }
}
