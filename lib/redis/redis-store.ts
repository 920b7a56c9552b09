import { randomBytes } from 'node:crypto'
import { OptionError } from '../errors.ts'
import { MemoryStore } from '../limits/memory-store.ts'
import {
  type AttemptsStore,
  type ConnectionQuery,
  type Identity,
  type MaybePromise,
  type Revocation,
  type Store,
  StoreDownError,
  type StoreListener,
  type Ticket
} from '../limits/store.ts'
import type { Rate } from '../limits/token-bucket.ts'
import { RedisAttempts } from './attempts.ts'
import { Budgets } from './budgets.ts'
import { Bus } from './bus.ts'
import { Health } from './health.ts'
import { Lease } from './lease.ts'
import { Link, type RedisClient } from './link.ts'
import { Names } from './names.ts'
import { Orders } from './orders.ts'
import { Slots } from './slots.ts'
import { Tickets } from './tickets.ts'

export interface RedisSettings {
  readonly prefix: string
  readonly whenDown: 'closed' | 'local'
  readonly commandTimeoutMs: number
  readonly leaseMs: number
  readonly secret: string
}

/** A node does its round so many times within its lease: two may fail. */
const roundsPerLease = 3
/** An app boots without Redis; so long it waits for it, so that the first handshakes find it there. */
const openMs = 1_000

/** The store of several nodes. Every part of it does one thing; here is who is asked when, and what happens without Redis. */
export class RedisStore implements Store {
  readonly Attempts: new (
    options: object
  ) => AttemptsStore
  readonly #settings: RedisSettings
  readonly #link: Link
  readonly #lease: Lease
  readonly #slots: Slots
  readonly #budgets: Budgets
  readonly #orders: Orders
  readonly #tickets: Tickets
  readonly #bus: Bus
  readonly #health: Health
  readonly #names: Names
  /** What a node does by itself while there is no Redis. */
  readonly #local = new MemoryStore()
  #listener: StoreListener | undefined

  constructor(client: RedisClient, settings: RedisSettings) {
    this.#settings = settings
    const names = new Names(settings.prefix, settings.secret)
    const node = randomBytes(9).toString('base64url')
    const listener: StoreListener = {
      onMessage: (topicKey, payload) => this.#listener?.onMessage(topicKey, payload),
      onKick: (kick) => this.#listener?.onKick(kick),
      onState: (state, errorCode) => this.#listener?.onState(state, errorCode)
    }
    const link = new Link(client, settings.commandTimeoutMs)
    this.#link = link
    this.#names = names
    this.#lease = new Lease(link, names, node, settings.leaseMs)
    this.#slots = new Slots(link, names, node, this.#lease, () => this.#health.isUp)
    this.#budgets = new Budgets(link, names)
    this.#orders = new Orders(link, names, node, listener)
    this.#tickets = new Tickets(link, names)
    this.#health = new Health(() => this.#round(), settings.leaseMs / roundsPerLease, listener)
    this.#bus = new Bus(link, names, node, {
      onMessage: listener.onMessage,
      onNews: () => void this.#orders.read().catch((error: unknown) => this.#health.fail(error))
    })
    this.Attempts = this.#makeAttempts()
  }

  /** @throws OptionError the second time: messages and kicks would reach one app only, and its end would close it for both */
  async open(listener: StoreListener): Promise<void> {
    if (this.#listener !== undefined) {
      throw new OptionError('option "store": this store belongs to another app already; call redisStore for each app')
    }
    this.#listener = listener
    await Promise.race([this.#link.connect(), new Promise((resolve) => setTimeout(resolve, openMs).unref())])
    for (const line of [this.#link.commands, this.#link.subscriber]) {
      line.on('ready', () => void this.#health.check())
      line.on('close', () => this.#health.fail(new StoreDownError('the connection was closed')))
    }
    await this.#health.check()
  }

  acquireSlot(key: string, max: number): Promise<boolean> {
    return this.#choose(
      () => this.#slots.acquire(key, max),
      () => this.#slots.acquireHere(key, max)
    )
  }

  releaseSlot(key: string): void {
    this.#slots.release(key)
  }

  /** Without Redis each node has a budget of its own: open connections go on, whatever `whenDown` says. */
  takeUserBudget(subject: string, cost: number, rate: Rate): MaybePromise<boolean> {
    const here = (): boolean => this.#local.takeUserBudget(subject, cost, rate)
    if (!this.#health.isUp) return here()
    const answer = this.#budgets.take(subject, cost, rate)
    if (typeof answer === 'boolean') return answer
    return this.#health.ask(() => Promise.resolve(answer)).catch(here)
  }

  chargeUserBudget(subject: string, cost: number, rate: Rate): void {
    if (this.#health.isUp) this.#budgets.charge(subject, cost, rate)
    else this.#local.chargeUserBudget(subject, cost, rate)
  }

  async putTicket(hash: string, ticket: Ticket, ttlMs: number): Promise<void> {
    await this.#choose(
      () => this.#tickets.put(hash, ticket, ttlMs),
      () => this.#local.putTicket(hash, ticket, ttlMs)
    )
  }

  /** One that this node has kept while there was no Redis is good here. @throws StoreDownError when it may be elsewhere */
  async takeTicket(hash: string): Promise<Ticket | undefined> {
    const kept = this.#local.takeTicket(hash)
    if (kept !== undefined) return kept
    return this.#health.ask(() => this.#tickets.take(hash))
  }

  async revoke(revocation: Revocation): Promise<void> {
    await this.#tell(() => this.#orders.revoke(revocation))
  }

  async block(subject: string, untilMs: number): Promise<void> {
    await this.#tell(() => this.#orders.block(subject, untilMs))
  }

  async unblock(subject: string): Promise<void> {
    await this.#tell(() => this.#orders.unblock(subject))
  }

  async disconnect(query: ConnectionQuery, reason: string | undefined): Promise<void> {
    await this.#tell(() => this.#orders.disconnect(query, reason))
  }

  isRefused(identity: Identity): boolean {
    return this.#orders.isRefused(identity)
  }

  subscribe(topicKey: string): MaybePromise<void> {
    return this.#bus.isLive(topicKey)
      ? undefined
      : this.#choose(
          () => this.#bus.subscribe(topicKey),
          () => this.#bus.subscribeLater(topicKey)
        )
  }

  unsubscribe(topicKey: string): void {
    this.#bus.unsubscribe(topicKey)
  }

  publish(topicKey: string, payload: string): void {
    this.#bus.publish(topicKey, payload)
  }

  sizes(): Readonly<Record<string, number>> {
    const { attempts = 0, punished = 0, userBudgets = 0, tickets = 0 } = this.#local.sizes()
    return {
      attempts,
      punished,
      slots: this.#slots.size,
      userBudgets: userBudgets + this.#budgets.size,
      tickets,
      ...this.#orders.sizes(),
      channels: this.#bus.size,
      commands: this.#link.pending,
      unpublished: this.#link.unpublished
    }
  }

  /** Gives back what this node holds, if Redis answers, and lets go of it. */
  async close(): Promise<void> {
    this.#health.stop()
    this.#budgets.close()
    this.#local.close()
    try {
      await this.#slots.writeAll()
      await this.#lease.giveUp()
    } catch {
      // Its lease ends by itself.
    }
    this.#link.close()
  }

  /** What every node does from time to time, and first of all. */
  async #round(): Promise<void> {
    // Without a lease nobody counts what this node holds: after a pause, or when Redis has lost its data.
    if (!(await this.#lease.renew())) this.#slots.forgetWritten()
    await this.#slots.writeAll()
    await this.#orders.read()
    await this.#orders.writeMissing()
    await this.#bus.restore()
  }

  /** Redis; without it as `whenDown` says: this node alone, or nobody. @throws StoreDownError */
  async #choose<T>(ask: () => MaybePromise<T>, here: () => MaybePromise<T>): Promise<T> {
    try {
      return await this.#health.ask(async () => ask())
    } catch (error) {
      if (this.#settings.whenDown === 'local') return here()
      throw error
    }
  }

  /** This node knows already, and tells the others as soon as it can. */
  async #tell(give: () => Promise<void>): Promise<void> {
    try {
      await give()
    } catch (error) {
      if (!(error instanceof StoreDownError)) throw error
      this.#health.fail(error)
      if (this.#settings.whenDown === 'closed') throw error
    }
  }

  #makeAttempts(): Store['Attempts'] {
    const host = {
      link: this.#link,
      names: this.#names,
      choose: <T>(ask: () => Promise<T>, here: () => Promise<T>) => this.#choose(ask, here),
      makeLocal: () => new this.#local.Attempts({}),
      limiters: new Map<string, number>()
    }
    return class extends RedisAttempts {
      constructor(options: object) {
        super(host, options)
      }
    }
  }
}
