import { createHash, randomBytes } from 'node:crypto'
import secureJsonParse from 'secure-json-parse'
import { OptionError } from '../errors.ts'
import type { Store, Ticket } from '../limits/store.ts'
import type { HandshakeSettings } from './settings.ts'

/** A ticket lives no longer than this: it is fetched and used in one go (threat A6). */
export const maxTicketTtlMs = 30_000
const ticketBytes = 16

export function takesTickets({ auth }: Pick<HandshakeSettings, 'auth'>): boolean {
  return auth !== false && auth.from.includes('ticket')
}

/**
 * The user as every store gives it back: what the caller does to its object afterwards does not reach the connection,
 * and a network carries JSON. What is undefined is left out; what JSON would change without a word is refused.
 * @throws OptionError
 */
export function copyOfUser(user: unknown): unknown {
  try {
    // A clone first: it is read once, and what is looked at is what is written.
    return secureJsonParse(JSON.stringify(structuredClone(user), onlyJson))
  } catch {
    throw new OptionError(
      'issueTicket: "user" must be plain JSON: no Date, Map or function; it is kept as text until the ticket is used'
    )
  }
}

function onlyJson(this: unknown, key: string, value: unknown): unknown {
  // What a `toJSON` has made of it is something else.
  const isAsItIs = Object.is((this as Record<string, unknown>)[key], value)
  const isJson =
    typeof value === 'object'
      ? value === null || Array.isArray(value) || Object.prototype.toString.call(value) === '[object Object]'
      : ['string', 'boolean', 'undefined'].includes(typeof value) || Number.isFinite(value)
  if (!isAsItIs || !isJson) throw new TypeError('not JSON')
  return value
}

/** Only the hash is stored: who reads the store cannot come in. */
function hashTicket(value: string): string {
  return createHash('sha256').update(value).digest('base64url')
}

/** @throws OptionError when `ttlMs` is not within 1 to 30 000 */
export async function issueTicket(store: Store, ticket: Ticket, ttlMs: number): Promise<string> {
  if (!Number.isInteger(ttlMs) || ttlMs < 1 || ttlMs > maxTicketTtlMs) {
    throw new OptionError(`issueTicket: "ttlMs" must be an integer from 1 to ${maxTicketTtlMs}`)
  }
  const value = randomBytes(ticketBytes).toString('base64url')
  await store.putTicket(hashTicket(value), ticket, ttlMs)
  return value
}

/** Uses a ticket up, whether or not it fits: bound to its route and, where it names one, to its Origin. */
export async function redeemTicket(
  store: Store,
  value: string,
  route: string,
  origin: string | undefined
): Promise<Ticket | undefined> {
  const ticket = await store.takeTicket(hashTicket(value))
  if (ticket === undefined || ticket.route !== route) return undefined
  return ticket.origin === undefined || ticket.origin === origin ? ticket : undefined
}
