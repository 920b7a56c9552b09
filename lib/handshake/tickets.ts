import { createHash, randomBytes } from 'node:crypto'
import { OptionError } from '../errors.ts'
import type { Store, Ticket } from '../limits/store.ts'
import type { HandshakeSettings } from './settings.ts'

/** A ticket lives no longer than this: it is fetched and used in one go (threat A6). */
export const maxTicketTtlMs = 30_000
const ticketBytes = 16

export function takesTickets({ auth }: Pick<HandshakeSettings, 'auth'>): boolean {
  return auth !== false && auth.from.includes('ticket')
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
