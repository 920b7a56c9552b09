import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { CloseCause } from '../close-codes.ts'
import type { Contract, ServerMessageOf, ServerType } from '../contract.ts'
import type { Limits } from '../limits/limits.ts'
import type { CompiledContract } from '../messages/compile-contract.ts'
import type { Session } from './session.ts'

export type ConnectionState = 'open' | 'closing' | 'closed'

/** One open socket, as handlers see it. */
export interface WsConnection<
  C extends Contract = Contract,
  User = unknown,
  Params = unknown,
  Query = unknown,
  Data = unknown
> {
  /** Unique on all nodes; it is on every log line about this connection. */
  readonly id: string
  /** What `auth.verify` returned; `undefined` with `auth: false`. */
  readonly user: User
  readonly params: Params
  readonly query: Query
  /** `request.ip` of the handshake. */
  readonly ip: string
  /** The subprotocol agreed on, or `''`. */
  readonly protocol: string
  /** When the 101 was sent, in ms since the epoch. */
  readonly openedAt: number
  /** When the credential expires, in ms since the epoch. */
  readonly expiresAt: number | undefined
  readonly state: ConnectionState
  /** Aborted as soon as the connection starts to end, whatever ends it. Made when first touched. */
  readonly signal: AbortSignal
  /** A child logger that names the connection. Made when first touched. */
  readonly log: FastifyBaseLogger
  /** What the route's `data` returned. */
  readonly data: Data
  /** The `ws` socket: an escape hatch, outside the contract and its outbound bounds. */
  readonly socket: WebSocket
  /**
   * Sends a message of the contract. Undeclared properties are left out.
   * @returns false when it was dropped: the connection is ending, or the peer reads too slowly (`limits.sendBuffer`)
   * @throws EncodeError when the message does not match its schema: a bug on this side
   */
  send<K extends ServerType<C>>(type: K, message: ServerMessageOf<C, K>): boolean
  /**
   * Subscribes to a topic of this contract.
   * @returns true once it is live, on all nodes: a snapshot taken afterwards misses nothing; false when the route's
   * `topics` refuses it, `limits.topics` is reached or the connection is ending
   * @throws StoreDownError when the other nodes cannot be heard (`whenDown: 'closed'`)
   */
  subscribe(topic: string): Promise<boolean>
  unsubscribe(topic: string): void
  /**
   * Closes with a close frame. Never throws: a code that may not be sent becomes 1011, a reason above 123 bytes is cut,
   * both are logged. Without arguments: 1000.
   */
  close(code?: number, reason?: string): void
}

/** Passed to `onClose`. `code` is what went over the wire (1006 where nothing did). */
export interface CloseInfo {
  readonly code: number
  /** A machine token of ours, or the developer's own reason; never the peer's. */
  readonly reason: string
  readonly cause: CloseCause
}

/** What `auth.identity` returns: what limits, kicks and expiry go by. Times in ms since the epoch. */
export type { Identity } from '../limits/store.ts'

/** A handler as the message path runs it. */
export interface Handler {
  readonly cost: number
  readonly authorize: ((connection: WsConnection) => boolean | Promise<boolean>) | undefined
  readonly run: (message: Record<string, unknown>, connection: WsConnection) => unknown
}

/** What an open connection needs of its route: resolved, frozen, shared by all connections of the route. */
export interface ConnectionSettings {
  /** Fastify's pattern with its prefix, such as `/chat/:room`. */
  readonly path: string
  readonly contract: CompiledContract | undefined
  readonly handlers: ReadonlyMap<string, Handler>
  readonly limits: Limits
  readonly heartbeat: { readonly intervalMs: number; readonly timeoutMs: number }
  readonly handlerTimeoutMs: number
  readonly closeTimeoutMs: number
  readonly idleTimeoutMs: number | false
  readonly maxLifetimeMs: number | false
  readonly reauthorizeMs: number | false
  readonly session: Session
  readonly topics: ((connection: WsConnection, topic: string) => boolean) | undefined
  readonly onOpen: ((connection: WsConnection, request: FastifyRequest) => unknown) | undefined
  readonly onClose: ((connection: WsConnection, info: CloseInfo) => unknown) | undefined
  readonly onError: ((error: unknown, connection: WsConnection) => unknown) | undefined
  readonly log: FastifyBaseLogger
}
