import type { Kick } from '../limits/store.ts'
import type { Connection } from './connection.ts'
import type { Registry } from './registry.ts'
import { revoke } from './session.ts'

/** Ends the connections that a kick is for (threat Z4). @returns how many */
export function kick(registry: Registry, order: Kick): number {
  const { query, reason, issuedBefore, openForMs } = order
  const found = registry
    .find(query)
    .filter(
      (connection) =>
        connection.state === 'open' &&
        (issuedBefore === undefined || isIssuedBefore(connection, issuedBefore)) &&
        (openForMs === undefined || connection.runtime.clock.now() - connection.askedAt >= openForMs)
    )
  for (const connection of found) revoke(connection, reason)
  return found.length
}

/** `iat` is in whole seconds: a credential of the same second is one of those that are revoked. */
function isIssuedBefore({ identity, openedAt }: Connection, issuedBefore: number): boolean {
  const issuedAt = identity?.issuedAt
  if (issuedAt === undefined || openedAt <= issuedBefore) return true
  return Math.floor(issuedAt / 1000) <= Math.floor(issuedBefore / 1000)
}
