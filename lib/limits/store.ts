import createError, { type FastifyErrorConstructor } from '@fastify/error'
import type { Rate } from './token-bucket.ts'

/** A store in memory answers at once, one on the network with a promise: always `await`. */
export type MaybePromise<T> = T | Promise<T>

/** Who a credential speaks for: what limits, kicks and expiry go by. Times in ms since the epoch. */
export interface Identity {
  readonly subject: string
  readonly sessionId?: string
  readonly tokenId?: string
  readonly issuedAt?: number
  readonly expiresAt?: number
}

/** What a single-use handshake ticket stands for. `origin` undefined: any that the route admits. */
export interface Ticket {
  readonly user: unknown
  readonly identity: Identity | undefined
  readonly route: string
  readonly origin: string | undefined
}

/** The claim a revocation goes by: `Identity.subject`, `.sessionId` or `.tokenId`. */
export type RevocationKind = 'sub' | 'sid' | 'jti'

export interface Revocation {
  readonly kind: RevocationKind
  readonly value: string
  /**
   * Ms since the epoch. Credentials issued before, or in the same second, are refused: `iat` counts whole seconds
   * (RFC 7519 section 2, NumericDate), so an older one cannot be told from a newer one within a second.
   */
  readonly issuedBefore: number
  /** How long to remember it, in ms: as long as the longest-lived credential that it refuses. */
  readonly keepMs: number
}

/** Which connections a kick is for. Every criterion given must hold. */
export interface ConnectionQuery {
  readonly sub?: string
  readonly sid?: string
  readonly jti?: string
  readonly ip?: string
  readonly id?: string
  readonly route?: string
}

export const kickCriteria: readonly string[] = [
  'sub',
  'sid',
  'jti',
  'ip',
  'id',
  'route'
] satisfies (keyof ConnectionQuery)[]

/** A criterion that is missing, misspelt, undefined or of a newer version must not widen a kick to everybody else. */
export function isConnectionQuery(query: unknown): query is ConnectionQuery {
  const given = Object.entries(query ?? {})
  return given.length > 0 && given.every(([name, value]) => kickCriteria.includes(name) && typeof value === 'string')
}

/** Connections that shall end. */
export interface Kick {
  readonly query: ConnectionQuery
  readonly reason?: string | undefined
  /** Only those whose credential was issued before, or in the same second; ms since the epoch. */
  readonly issuedBefore?: number
  /** Only those whose handshake began at least so many ms ago: who came later is not meant. */
  readonly openForMs?: number
}

/** What a node does with what comes from the other nodes. Nothing here may throw. */
export interface StoreListener {
  /** Published elsewhere to a topic that is subscribed to here. It comes from outside: to be checked before use. */
  onMessage(topicKey: string, payload: string): void
  /** Revoked, blocked or disconnected elsewhere, perhaps a while ago. */
  onKick(kick: Kick): void
  /** `errorCode` says what was wrong when it went down. */
  onState(state: 'up' | 'down', errorCode?: string): void
}

/** The store contract of @fastify/rate-limit. `timeWindow` and `ttl` in ms; exceeded when `current > max`. */
export interface AttemptsStore {
  incr(
    key: string,
    callback: (error: Error | null, result?: { current: number; ttl: number }) => void,
    timeWindow: number,
    max: number
  ): void
  /** A store with its own counts, for a limiter with its own options. */
  child(routeOptions: object): AttemptsStore
}

/**
 * Where limits, tickets, revocations and topics live, and how a node reaches the others. An implementation fails closed:
 * when it cannot know, it answers as if the limit were reached, or throws; the handshake is then refused.
 */
export interface Store {
  /**
   * Called once, before anything else. Settles when the store answers, or after a moment in which it did not: an app
   * boots without it.
   */
  open(listener: StoreListener): MaybePromise<void>
  /** Passed to @fastify/rate-limit as its `store`. */
  readonly Attempts: new (
    options: object
  ) => AttemptsStore
  /** Takes one of `max` concurrent slots. Each true is given back with one `releaseSlot`. */
  acquireSlot(key: string, max: number): MaybePromise<boolean>
  releaseSlot(key: string): void
  /**
   * limits.userMessages: a token bucket shared by all connections of a user. False: not admitted. It is asked for every
   * message: a store on the network takes batches and answers from them at once; while it answers by a promise, the
   * connection is not read.
   */
  takeUserBudget(subject: string, cost: number, rate: Rate): MaybePromise<boolean>
  /** Takes from the same bucket whether it is there or not: what a handler costs beyond the token of its message. */
  chargeUserBudget(subject: string, cost: number, rate: Rate): void
  /** @throws StoreFullError */
  putTicket(hash: string, ticket: Ticket, ttlMs: number): MaybePromise<void>
  /** Atomic and single use: of any number of racing calls one gets the ticket. Expired or unknown: undefined. */
  takeTicket(hash: string): MaybePromise<Ticket | undefined>
  /** Twice for the same value: the later `issuedBefore` and the longer keep hold. @throws StoreFullError */
  revoke(revocation: Revocation): MaybePromise<void>
  /** Refuses a subject until a time on the wall clock, in ms since the epoch; the last call holds. @throws StoreFullError */
  block(subject: string, untilMs: number): MaybePromise<void>
  unblock(subject: string): MaybePromise<void>
  /**
   * Tells the other nodes to end connections, also those that do not listen just now.
   * @throws StoreDownError when that cannot be known
   */
  disconnect(query: ConnectionQuery, reason: string | undefined): MaybePromise<void>
  /** Messages published elsewhere to this topic reach `onMessage` once it has settled. @throws StoreDownError */
  subscribe(topicKey: string): MaybePromise<void>
  unsubscribe(topicKey: string): void
  /** To the other nodes that have subscribed; in the order of the calls, each at most once. */
  publish(topicKey: string, payload: string): void
  /** True when revoked or blocked. A credential without `issuedAt` counts as issued before any revocation. */
  isRefused(identity: Identity): MaybePromise<boolean>
  /** Live entries by table, for `stats()` and leak tests. */
  sizes(): Readonly<Record<string, number>>
  close(): MaybePromise<void>
}

/** What a store of your own must have, for the check at boot. */
export const storeMethods: readonly (keyof Store)[] = [
  'open',
  'Attempts',
  'acquireSlot',
  'releaseSlot',
  'takeUserBudget',
  'chargeUserBudget',
  'putTicket',
  'takeTicket',
  'revoke',
  'block',
  'unblock',
  'disconnect',
  'subscribe',
  'unsubscribe',
  'publish',
  'isRefused',
  'sizes',
  'close'
]

/**
 * A ticket, revocation or block that found no room, although everything expired was thrown away. `code` is
 * `WSG_ERR_STORE_FULL`, `statusCode` 503: in an HTTP handler that issues tickets it is the right answer as it is.
 */
export const StoreFullError: FastifyErrorConstructor<{ code: 'WSG_ERR_STORE_FULL'; statusCode: 503 }, [string]> =
  createError('WSG_ERR_STORE_FULL', 'fastify-ws-guard: no room for another %s', 503)

/**
 * The store cannot say, or could not be told: it does not answer, not in time, or with an error. `code` is
 * `WSG_ERR_STORE_DOWN`, `statusCode` 503: in an HTTP handler it is the right answer as it is.
 */
export const StoreDownError: FastifyErrorConstructor<{ code: 'WSG_ERR_STORE_DOWN'; statusCode: 503 }, [string]> =
  createError('WSG_ERR_STORE_DOWN', 'fastify-ws-guard: the store is down (%s)', 503)
