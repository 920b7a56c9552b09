import secureJsonParse from 'secure-json-parse'
import { type ConnectionQuery, isConnectionQuery, type Kick, type RevocationKind } from '../limits/store.ts'

/** Stands for `Infinity`, which a script cannot be given: the last time that a Date can be. */
const forever = 8.64e15

/** What an order says, as it stands in Redis. */
export interface OrderText {
  readonly kind: RevocationKind | 'block' | 'disconnect'
  /** Whom a revocation or a block is for. */
  readonly value: string
  /** Of a disconnect. */
  readonly query?: ConnectionQuery
  readonly reason?: string | undefined
  /** The node that gave it, and has done its own part. */
  readonly node: string
}

/** An order as a script returns it: what it says, its number, and its times on the clock of Redis. */
export interface KeptOrder {
  readonly text: OrderText
  readonly number: number
  readonly at: number
  readonly endsAt: number
}

const kinds: readonly unknown[] = ['sub', 'sid', 'jti', 'block', 'disconnect'] satisfies OrderText['kind'][]

export function writeNumber(number: number): number {
  return Math.min(number, forever)
}

/** @returns undefined for what no node has written (threat N4) */
export function parseOrder(kept: string): KeptOrder | undefined {
  const [, number, at, endsAt, json] = /^(\S+) (\S+) (\S+) (.*)$/s.exec(kept) ?? []
  try {
    const text = secureJsonParse(String(json)) as OrderText
    if (!isOrder(text)) return undefined
    const written = Number(number)
    const order = {
      text,
      number: written >= forever ? Number.POSITIVE_INFINITY : written,
      at: Number(at),
      endsAt: Number(endsAt)
    }
    return [order.number, order.at, order.endsAt].some(Number.isNaN) ? undefined : order
  } catch {
    return undefined
  }
}

function isOrder({ kind, value, query, reason }: OrderText): boolean {
  if (!kinds.includes(kind) || typeof value !== 'string') return false
  return kind !== 'disconnect' || (isConnectionQuery(query) && (reason === undefined || typeof reason === 'string'))
}

/** The connections that an order ends, when it was given `ageMs` ago. */
export function kickOf({ kind, value, query, reason }: OrderText, number: number, ageMs: number): Kick {
  if (kind === 'block') return { query: { sub: value } }
  // Who has come in since is not meant.
  if (kind === 'disconnect') return { query: query as ConnectionQuery, reason, openForMs: ageMs }
  return { query: { [kind]: value }, issuedBefore: number }
}
