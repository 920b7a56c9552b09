import { randomUUID } from 'node:crypto'
import { Refusals } from '../limits/refusals.ts'
import {
  type ConnectionQuery,
  type Identity,
  type Revocation,
  StoreDownError,
  StoreFullError,
  type StoreListener
} from '../limits/store.ts'
import { inBatches } from './in-batches.ts'
import type { Link } from './link.ts'
import type { Names } from './names.ts'
import { kickOf, type OrderText, parseOrder, writeNumber } from './order-text.ts'
import { readOrders, writeOrder } from './scripts.ts'

/** Orders that are kept at most, in Redis and by every node; some 400 bytes each. */
export const maxOrders = 100_000
/** What this node was given while it could not reach Redis comes on top. */
const copySize = 2 * maxOrders
/** A node that was cut off for longer does not catch up on a `disconnect`. */
export const disconnectKeepMs = 86_400_000
/** Nothing is kept for longer: ten years. */
const longestKeepMs = 315_360_000_000
const readAtOnce = 1_000
const sweepEveryMs = 60_000

/** What this node knows of an order. */
interface Order {
  readonly id: string
  readonly text: OrderText
  /** Of a revocation `issuedBefore`, of a block `untilMs`; 0 of a block that was lifted. */
  readonly number: number
  /** On this process's own clock. */
  readonly endsAt: number
  /** On the clock of Redis; undefined while Redis has not been told. */
  readonly at: number | undefined
  /** The log it was last seen in. */
  readonly epoch: string
}

/**
 * Revocations, blocks and disconnects: a log in Redis, of which every node has a copy. A node is told that there is
 * something new, and reads what it has not read; one that was not told reads it at its next look (threat N3). When Redis
 * has lost the log, the nodes write it again.
 */
export class Orders {
  readonly #link: Link
  readonly #names: Names
  readonly #node: string
  readonly #listener: StoreListener
  readonly #size: number
  readonly #refusals: Refusals
  readonly #orders = new Map<string, Order>()
  #epoch = ''
  #lastSeq = '0'
  #hasRead = false
  #reading: Promise<void> | undefined
  #readAgain = false
  #sweptAt = 0

  constructor(link: Link, names: Names, node: string, listener: StoreListener, size: number = copySize) {
    this.#link = link
    this.#names = names
    this.#node = node
    this.#listener = listener
    this.#size = size
    this.#refusals = new Refusals({ now: () => performance.now(), wall: () => Date.now() }, size)
  }

  sizes(): { readonly orders: number; readonly revocations: number; readonly blocks: number } {
    this.#dropEnded(performance.now())
    return { orders: this.#orders.size, ...this.#refusals.sizes() }
  }

  /** From this node's copy, however old. @throws StoreDownError as long as it has none */
  isRefused(identity: Identity): boolean {
    if (!this.#hasRead) throw new StoreDownError('revocations have not been read yet')
    return this.#refusals.isRefused(identity)
  }

  /** This node refuses from now on, the others once it has settled. @throws StoreDownError, StoreFullError */
  revoke({ kind, value, issuedBefore, keepMs }: Revocation): Promise<void> {
    const text: OrderText = { kind, value, node: this.#node }
    return this.#give(this.#names.hash(`${kind} ${value}`), text, issuedBefore, keepMs)
  }

  block(subject: string, untilMs: number): Promise<void> {
    return this.#giveBlock(subject, untilMs, untilMs - Date.now())
  }

  /** Remembered for as long as somebody may still know the block. */
  unblock(subject: string): Promise<void> {
    const known = this.#orders.get(this.#blockId(subject))
    const keepMs = known === undefined ? disconnectKeepMs : known.endsAt - performance.now()
    return this.#giveBlock(subject, 0, keepMs)
  }

  disconnect(query: ConnectionQuery, reason: string | undefined): Promise<void> {
    const text: OrderText = { kind: 'disconnect', value: '', query, reason, node: this.#node }
    return this.#give(randomUUID(), text, 0, disconnectKeepMs)
  }

  /** Reads what is new. A call that comes while it reads makes it read once more. @throws StoreDownError */
  read(): Promise<void> {
    if (this.#reading !== undefined) {
      this.#readAgain = true
      return this.#reading
    }
    this.#reading = this.#readAll().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  /** Writes what Redis does not have: given while it was down, or lost by it. @throws StoreDownError */
  async writeMissing(): Promise<void> {
    const missing = [...this.#orders.values()].filter(({ epoch }) => epoch !== this.#epoch)
    await inBatches(missing, (order) => this.#write(order).catch(unlessFull))
  }

  #giveBlock(subject: string, untilMs: number, keepMs: number): Promise<void> {
    return this.#give(this.#blockId(subject), { kind: 'block', value: subject, node: this.#node }, untilMs, keepMs)
  }

  #blockId(subject: string): string {
    return this.#names.hash(`block ${subject}`)
  }

  async #give(id: string, text: OrderText, number: number, keepMs: number): Promise<void> {
    const keep = Math.min(Math.max(keepMs, 1), longestKeepMs)
    const endsAt = performance.now() + keep
    const order = this.#remember({ id, text, number, endsAt, at: undefined, epoch: '' })
    await this.#write(order).catch((error: unknown) => {
      // No room for it: the caller knows, and it is not tried again.
      if (error instanceof StoreFullError) this.#orders.delete(id)
      throw error
    })
  }

  async #write(order: Order): Promise<void> {
    const { id, text, number, endsAt, at } = order
    const keepMs = Math.max(1, endsAt - performance.now())
    const mode = isRevocation(text) ? 'later' : 'last'
    const kept = [id, JSON.stringify(text), mode, writeNumber(number), keepMs, at ?? '']
    const args = [randomUUID(), ...kept, maxOrders, this.#names.news]
    const [epoch, writtenAt] = (await this.#link.run(writeOrder, this.#names.orders, args)) as string[]
    if (epoch === undefined) throw new StoreFullError(text.kind)
    // Its time is kept from now on: written again, for a Redis that has lost it, it is no newer than it was.
    if (this.#orders.get(id) === order) this.#orders.set(id, { ...order, at: Number(writtenAt), epoch })
  }

  async #readAll(): Promise<void> {
    do {
      this.#readAgain = false
      while ((await this.#readPage()) === readAtOnce);
    } while (this.#readAgain)
    this.#hasRead = true
    this.#sweep()
  }

  /** @returns how many there were */
  async #readPage(): Promise<number> {
    const args = [randomUUID(), this.#epoch, this.#lastSeq, readAtOnce]
    const [epoch, now, ...found] = (await this.#link.run(readOrders, this.#names.orders, args)) as string[]
    // Another log has numbers of its own.
    if (epoch !== this.#epoch) this.#lastSeq = '0'
    this.#epoch = String(epoch)
    for (let at = 0; at < found.length; at += 3) {
      this.#lastSeq = String(found[at + 1])
      this.#learn(String(found[at]), String(found[at + 2]), Number(now))
    }
    return found.length / 3
  }

  #learn(id: string, kept: string, redisNow: number): void {
    const order = parseOrder(kept)
    if (order === undefined || order.endsAt <= redisNow) return
    const { text, number, at } = order
    // This node's own is on its way, and later than what it has just read.
    if (!isRevocation(text) && this.#orders.get(id)?.epoch === '') return
    // Read once more, from a log that was lost: whom it was for has gone, and who has come back since is not meant.
    const isDone = text.node === this.#node || (text.kind === 'disconnect' && this.#orders.has(id))
    this.#remember({ id, text, number, at, endsAt: performance.now() + order.endsAt - redisNow, epoch: this.#epoch })
    if (!isDone && !isLifted(text, number)) {
      this.#listener.onKick(kickOf(text, number, redisNow - at))
    }
  }

  #remember(given: Order): Order {
    const order = this.#merge(given)
    const { id, text, number, endsAt } = order
    const { kind, value } = text
    if (kind === 'block') {
      if (number > 0) this.#refusals.block(value, number)
      else this.#refusals.unblock(value)
    } else if (kind !== 'disconnect') {
      this.#refusals.revoke({ kind, value, issuedBefore: number, keepMs: endsAt - performance.now() })
    }
    this.#orders.set(id, order)
    return order
  }

  /** As Redis does it. @throws StoreFullError */
  #merge(order: Order): Order {
    const known = this.#orders.get(order.id)
    if (known === undefined) {
      if (this.#orders.size >= this.#size) throw new StoreFullError(order.text.kind)
      return order
    }
    if (!isRevocation(order.text)) return order
    return { ...order, number: Math.max(order.number, known.number), endsAt: Math.max(order.endsAt, known.endsAt) }
  }

  #sweep(): void {
    const now = performance.now()
    if (now - this.#sweptAt < sweepEveryMs) return
    this.#sweptAt = now
    this.#dropEnded(now)
  }

  #dropEnded(now: number): void {
    for (const { id, endsAt } of this.#orders.values()) if (endsAt <= now) this.#orders.delete(id)
  }
}

/** A block that was lifted ends nothing. */
function isLifted({ kind }: OrderText, number: number): boolean {
  return kind === 'block' && number === 0
}

function isRevocation({ kind }: OrderText): boolean {
  return kind !== 'block' && kind !== 'disconnect'
}

function unlessFull(error: unknown): void {
  if (!(error instanceof StoreFullError)) throw error
}
