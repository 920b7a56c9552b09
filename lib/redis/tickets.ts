import secureJsonParse from 'secure-json-parse'
import type { Ticket } from '../limits/store.ts'
import type { Link } from './link.ts'
import type { Names } from './names.ts'
import { putTicket, takeTicket } from './scripts.ts'

/** Tickets as JSON, each under the hash of its hash. */
export class Tickets {
  readonly #link: Link
  readonly #names: Names

  constructor(link: Link, names: Names) {
    this.#link = link
    this.#names = names
  }

  /** @throws StoreDownError */
  async put(hash: string, ticket: Ticket, ttlMs: number): Promise<void> {
    await this.#link.run(putTicket, [this.#names.ticket(hash)], [JSON.stringify(ticket), ttlMs])
  }

  /** Once. @throws StoreDownError */
  async take(hash: string): Promise<Ticket | undefined> {
    const text = await this.#link.run(takeTicket, [this.#names.ticket(hash)], [])
    return typeof text === 'string' ? parseTicket(text) : undefined
  }
}

/** Whatever is no ticket lets nobody in. */
function parseTicket(text: string): Ticket | undefined {
  try {
    const { user, identity, route, origin } = secureJsonParse(text) as Ticket
    return typeof route === 'string' ? { user, identity: Object.freeze(identity), route, origin } : undefined
  } catch {
    return undefined
  }
}
