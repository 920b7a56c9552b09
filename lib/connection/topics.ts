import type { Store } from '../limits/store.ts'
import type { Connection } from './connection.ts'
import { writeFrame } from './outbound.ts'
import { catchLate, isPromise } from './promises.ts'
import { frameText } from './text-frame.ts'
import type { ConnectionSettings } from './types.ts'

/** A longer name is refused: `limits.topics` bounds how many, this bounds what they take. */
export const maxTopicLength = 256

/** A broadcast writes to so many subscribers in one turn of the event loop (threat O5). */
export const deliveriesPerTurn = 1_000

/** A broadcast that is not finished. */
interface Broadcast {
  readonly key: string
  readonly frame: string
  /** To whom it is still to be written. */
  readonly rest: Set<Connection>
}

/** What topics need of the store: the way to the other nodes. */
export type Bus = Pick<Store, 'subscribe' | 'unsubscribe' | 'publish'>

/**
 * Who is subscribed to what on this node. Keys carry the contract's name, so that a topic of one contract never
 * reaches a connection of another (threat Z9).
 */
export class Topics {
  readonly #subscribers = new Map<string, Set<Connection>>()
  /** At most one: the next broadcast finishes it first, so that none overtakes another. */
  #unfinished: Broadcast | undefined
  readonly #bus: Bus

  constructor(bus: Bus) {
    this.#bus = bus
  }

  get size(): number {
    return this.#subscribers.size
  }

  /**
   * @returns false when `limits.topics` is reached, the route's `topics` refuses it or the connection is ending
   * @throws StoreDownError when the other nodes cannot be heard
   */
  async subscribe(connection: Connection, topic: string): Promise<boolean> {
    const { contract } = connection.settings
    if (contract === undefined || connection.state !== 'open' || topic.length > maxTopicLength) return false
    const key = topicKey(contract.name, topic)
    connection.topicKeys ??= new Set()
    const isKnown = connection.topicKeys.has(key)
    if (!isKnown && !this.#join(connection, topic, key)) return false
    try {
      const live = this.#bus.subscribe(key)
      if (isPromise(live)) await live
    } catch (error) {
      if (!isKnown) this.#drop(connection, key)
      throw error
    }
    // It may have left, or ended, meanwhile.
    return connection.topicKeys.has(key)
  }

  #join(connection: Connection, topic: string, key: string): boolean {
    const { limits, topics } = connection.settings
    const topicKeys = connection.topicKeys as Set<string>
    if (topicKeys.size >= limits.topics) return false
    if (topics !== undefined && !isAllowed(connection, topic, topics)) return false
    topicKeys.add(key)
    const subscribers = this.#subscribers.get(key) ?? new Set()
    this.#subscribers.set(key, subscribers.add(connection))
    return true
  }

  unsubscribe(connection: Connection, topic: string): void {
    const { contract } = connection.settings
    if (contract !== undefined) this.#drop(connection, topicKey(contract.name, topic))
  }

  /** Ends the subscriptions that the route's `topics` would not grant any more. */
  recheck(connection: Connection): void {
    const { topicKeys, settings } = connection
    const { contract, topics } = settings
    if (contract === undefined || topics === undefined || topicKeys === undefined) return
    const start = topicKey(contract.name, '').length
    for (const key of topicKeys) {
      if (!isAllowed(connection, key.slice(start), topics)) this.#drop(connection, key)
    }
  }

  /** Ends every subscription of a connection that ends. */
  release(connection: Connection): void {
    for (const key of connection.topicKeys ?? []) this.#drop(connection, key)
  }

  /** To the subscribers of this node, and through the store to those of others. @returns how many of this node */
  publish(contractName: string, topic: string, text: string): number {
    const key = topicKey(contractName, topic)
    quietly(() => this.#bus.publish(key, busPayload(contractName, text)))
    return this.deliver(key, text)
  }

  /**
   * Writes one encoded message to every subscriber of this node; beyond `deliveriesPerTurn` in the next turns.
   * @returns how many it was written to, or will be
   */
  deliver(key: string, text: string): number {
    this.#continue(Number.POSITIVE_INFINITY)
    const subscribers = this.#subscribers.get(key)
    if (subscribers === undefined) return 0
    const rest = new Set(subscribers)
    this.#unfinished = { key, frame: frameText(text), rest }
    return this.#continue(deliveriesPerTurn) + rest.size
  }

  /** What was published before is written before whatever else this connection is sent. */
  catchUp(connection: Connection): void {
    const unfinished = this.#unfinished
    if (unfinished?.rest.delete(connection)) writeFrame(connection, unfinished.frame)
  }

  /** @returns how many it was written to */
  #continue(most: number): number {
    const unfinished = this.#unfinished
    if (unfinished === undefined) return 0
    const { rest, frame } = unfinished
    let delivered = 0
    let left = most
    for (const connection of rest) {
      if (left-- === 0) break
      rest.delete(connection)
      if (writeFrame(connection, frame)) delivered++
    }
    if (rest.size === 0) this.#unfinished = undefined
    else setImmediate(() => unfinished === this.#unfinished && this.#continue(deliveriesPerTurn))
    return delivered
  }

  #drop(connection: Connection, key: string): void {
    const subscribers = this.#subscribers.get(key)
    connection.topicKeys?.delete(key)
    subscribers?.delete(connection)
    if (this.#unfinished?.key === key) this.#unfinished.rest.delete(connection)
    if (subscribers?.size !== 0) return
    this.#subscribers.delete(key)
    quietly(() => this.#bus.unsubscribe(key))
  }
}

/** Where nobody waits for an answer, and an error of a store would end the process. */
function quietly(tell: () => unknown): void {
  try {
    catchLate(tell())
  } catch {
    // A store that is down says so where it is asked.
  }
}

/** A rule that throws has not said yes. */
function isAllowed(connection: Connection, topic: string, rule: NonNullable<ConnectionSettings['topics']>): boolean {
  try {
    const answer: unknown = rule(connection, topic)
    // No promise is a yes.
    catchLate(answer, (error) => connection.reportError(error, 'topics'))
    return answer === true && connection.state === 'open'
  } catch (error) {
    connection.reportError(error, 'topics')
    return false
  }
}

function topicKey(contractName: string, topic: string): string {
  return `${contractName}\n${topic}`
}

/** What is published: whose message it is, then its text. No name of a contract has a line break in it. */
function busPayload(contractName: string, text: string): string {
  return `${contractName}\n${text}`
}

/** The contract that a topic belongs to. */
export function contractNameOf(key: string): string {
  return key.slice(0, key.indexOf('\n'))
}
