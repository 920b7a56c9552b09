import type { Connection } from '../connection/connection.ts'
import { kick } from '../connection/kick.ts'
import type { Contract, ServerMessageOf, ServerType } from '../contract.ts'
import { OptionError } from '../errors.ts'
import { compileOrigins, type OriginPolicy } from '../handshake/origin.ts'
import type { HandshakeSettings } from '../handshake/settings.ts'
import { copyOfUser, issueTicket, maxTicketTtlMs, takesTickets } from '../handshake/tickets.ts'
import type { UpgradeGuard } from '../handshake/upgrade-guard.ts'
import {
  type ConnectionQuery,
  isConnectionQuery,
  type Kick,
  kickCriteria,
  type MaybePromise,
  type Revocation,
  type RevocationKind,
  type Store
} from '../limits/store.ts'
import type { RouteContext } from './register-route.ts'

/** A revocation is kept as long as the longest-lived credential it refuses: 30 days unless said otherwise. */
export const defaultKeepMs = 2_592_000_000

/** How a route is protected. */
export interface RoutePosture {
  readonly path: string
  readonly kind: 'contract' | 'raw'
  readonly contract: string | undefined
  readonly origins: OriginPolicy
  readonly hosts: readonly string[] | undefined
  readonly missingOrigin: 'bearer-only' | 'refuse'
  readonly requireTls: boolean
  readonly auth: readonly string[] | false
  readonly authorize: boolean
  readonly protocols: readonly string[]
  readonly limits: HandshakeSettings['limits']
}

/** `app.wsGuard` */
export interface WsGuard {
  /** Open connections of this node. */
  readonly connections: number
  /**
   * Sends a message to all subscribers of a topic, on all nodes, encoded once. Another node gets it at most once: one
   * that the store cannot reach just now does not.
   * @returns to how many connections of this node it was written
   * @throws EncodeError when the message does not match its schema; OptionError for a contract no route has
   */
  publish<C extends Contract, K extends ServerType<C>>(
    contract: C,
    topic: string,
    type: K,
    message: ServerMessageOf<C, K>
  ): number
  /**
   * Closes with 4003 all connections for which every criterion given holds, on all nodes.
   * @returns how many were closed here; they are closed before the store is asked
   * @throws StoreDownError when the other nodes could not be told
   */
  disconnect(query: ConnectionQuery, options?: { readonly reason?: string }): Promise<number>
  /**
   * Closes connections and refuses credentials issued before `issuedBefore` (ms since the epoch; now by default) or in
   * the same second; logging in again works. On all nodes, kept for `keepMs`: as long as your longest-lived token, 30
   * days by default.
   * @returns how many were closed here; they are closed before the store is asked
   * @throws OptionError for seconds in place of ms; StoreDownError when the other nodes could not be told
   */
  revoke(
    query: { readonly sub?: string; readonly sid?: string; readonly jti?: string },
    options?: { readonly issuedBefore?: number; readonly keepMs?: number }
  ): Promise<number>
  /**
   * Closes a user's connections and refuses new ones until a time (ms since the epoch), on all nodes.
   * @returns how many were closed here
   */
  block(query: { readonly sub: string }, options: { readonly untilMs: number }): Promise<number>
  unblock(query: { readonly sub: string }): Promise<void>
  /**
   * A single-use credential for one handshake, at most 30 s old, bound to a route and, where given, an Origin. `user` is
   * plain JSON and becomes `connection.user` as it is now, as a copy. Without an `issuedAt` of its own (`iat`) the
   * credential counts as issued now: a later `revoke` refuses it, one before it does not, so ask your own session first.
   */
  issueTicket(options: {
    readonly user: unknown
    readonly route: string
    readonly origin?: string
    readonly ttlMs?: number
  }): Promise<{ readonly ticket: string; readonly expiresInMs: number }>
  /** How each route is protected. */
  routes(): readonly RoutePosture[]
  /** Sizes of everything that grows with use. */
  stats(): Readonly<Record<string, number>>
}

export function createWsGuard(context: RouteContext, guard: UpgradeGuard): WsGuard {
  const { runtime, admission } = context.gate
  const { registry, store, topics } = runtime
  /** Here at once; and again when the store knows of it, which may take its time: somebody may come in meanwhile. */
  const kickAll = async (order: Kick, tell: () => MaybePromise<void>): Promise<number> => {
    const closed = kick(registry, order)
    await tell()
    return closed + kick(registry, order)
  }
  return {
    get connections() {
      return registry.size
    },
    publish: (contract, topic, type, message) => {
      const outgoing = context.contracts.get(contract)?.outgoing.get(type)
      if (outgoing === undefined)
        throw new OptionError(`publish: no route has a contract with the message "${String(type)}"`)
      return topics.publish(contract.name, topic, outgoing.encode(message))
    },
    disconnect: async (query, { reason } = {}) => {
      checkQuery(query)
      const closed = kick(registry, { query, reason })
      await store.disconnect(query, reason)
      return closed
    },
    revoke: async (query, { issuedBefore, keepMs = defaultKeepMs } = {}) => {
      const criterion = criterionOf(query)
      if (issuedBefore !== undefined) checkTime('revoke: "issuedBefore"', issuedBefore)
      checkDuration('revoke: "keepMs"', keepMs)
      const names = { [criterion.kind]: criterion.value }
      const before = issuedBefore ?? latestIssue(registry.find(names), runtime.clock.wall())
      const revocation = makeRevocation(criterion, before, keepMs)
      return kickAll({ query: names, issuedBefore: revocation.issuedBefore }, () => store.revoke(revocation))
    },
    block: async ({ sub }, { untilMs }) => {
      checkQuery({ sub })
      checkTime('block: "untilMs"', untilMs)
      return kickAll({ query: { sub } }, () => store.block(sub, untilMs))
    },
    unblock: async ({ sub }) => {
      checkQuery({ sub })
      await store.unblock(sub)
    },
    issueTicket: async ({ user, route, origin, ttlMs = maxTicketTtlMs }) => {
      const settings = context.routes.find((candidate) => candidate.path === route && takesTickets(candidate))
      if (settings === undefined || settings.auth === false) {
        throw new OptionError(`issueTicket: "route" must be the path of a wsRoute with 'ticket' in auth.from`)
      }
      if (user === undefined || user === null) throw new OptionError('issueTicket: "user" is missing')
      if (origin !== undefined) checkTicketOrigin(origin)
      const copy = copyOfUser(user)
      const identity = settings.auth.authenticator.identify(copy, copy)
      if (identity === undefined) throw new OptionError('issueTicket: "user" needs a "sub", or the route auth.identity')
      const issued = Object.freeze({ ...identity, issuedAt: identity.issuedAt ?? runtime.clock.wall() })
      const ticket = await issueTicket(store, { user: copy, identity: issued, route, origin }, ttlMs)
      return { ticket, expiresInMs: ttlMs }
    },
    routes: () => context.routes.map(postureOf),
    stats: () => ({
      ...registry.sizes(),
      ...sizesOf(store),
      topics: topics.size,
      slots: admission.total,
      unauthenticated: admission.unauthenticated,
      refused: admission.refused,
      handshakes: guard.pending,
      bufferedBytes: runtime.sendBuffers.countedBytes
    })
  }
}

/** One page's own Origin: a ticket is compared with it, and no browser sends a wildcard. */
function checkTicketOrigin(origin: string): void {
  compileOrigins([origin], undefined, 'issueTicket: "origin"')
  if (origin.includes('*')) throw new OptionError('issueTicket: "origin" must be one origin, without a *')
}

function checkQuery(query: ConnectionQuery): void {
  if (!isConnectionQuery(query)) {
    throw new OptionError(`name at least one of ${kickCriteria.join(', ')}, each a string and none undefined`)
  }
}

/** Seconds, or a duration, taken for a time lie before this one, in 1973. */
const earliestMs = 1e11

/** Neither NaN nor Infinity, which a store could not compare. */
function checkTime(name: string, ms: unknown): void {
  if (!Number.isFinite(ms) || (ms as number) < earliestMs) {
    throw new OptionError(`${name} must be a time in ms since the epoch, such as Date.now()`)
  }
}

function checkDuration(name: string, ms: unknown): void {
  if (!Number.isFinite(ms) || (ms as number) < 1) throw new OptionError(`${name} must be a number of ms from 1`)
}

/** A store's tables are named by whoever wrote it. */
function sizesOf(store: Store): Readonly<Record<string, number>> {
  const sizes = store.sizes()
  // Not what the interface says; but a promise that rejects and that nobody catches would end the process.
  Promise.resolve(sizes).catch(() => {})
  return Object.fromEntries(Object.entries(sizes).map(([name, size]) => [`store.${name}`, size]))
}

function criterionOf(query: { sub?: string; sid?: string; jti?: string }): { kind: RevocationKind; value: string } {
  const [[kind, value] = [], ...others] = Object.entries(query ?? {})
  if (typeof value !== 'string' || others.length > 0 || !['sub', 'sid', 'jti'].includes(String(kind))) {
    throw new OptionError('revoke: name exactly one of sub, sid, jti, as a string')
  }
  return { kind: kind as RevocationKind, value }
}

/** Who is here now was let in before now, whatever the clock of the issuer said. */
function latestIssue(connections: readonly Connection[], wallMs: number): number {
  return connections.reduce((latest, { identity }) => Math.max(latest, identity?.issuedAt ?? 0), wallMs)
}

/** A jti names one token: it is refused whatever its issuer's clock said. */
function makeRevocation(
  criterion: { kind: RevocationKind; value: string },
  before: number,
  keepMs: number
): Revocation {
  const issuedBefore = criterion.kind === 'jti' ? Number.POSITIVE_INFINITY : before
  return { ...criterion, issuedBefore, keepMs }
}

function postureOf(settings: HandshakeSettings): RoutePosture {
  const { path, contract, originPolicy, hosts, missingOrigin, requireTls, auth, authorize, protocols, limits } =
    settings
  return {
    path,
    kind: contract === undefined ? 'raw' : 'contract',
    contract: contract?.name,
    origins: originPolicy,
    hosts,
    missingOrigin,
    requireTls,
    auth: auth === false ? false : auth.from,
    authorize: authorize !== undefined,
    protocols,
    limits
  }
}
