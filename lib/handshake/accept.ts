import type { FastifyRequest } from 'fastify'
import type { CloseCause } from '../close-codes.ts'
import { Connection } from '../connection/connection.ts'
import { open } from '../connection/dispatch.ts'
import type { GuardedSocket } from '../connection/guarded-socket.ts'
import { listen } from '../connection/inbound.ts'
import { expectAuth, startSession, type Verified } from '../connection/session.ts'
import { addressOf } from './attempts.ts'
import type { Gate } from './gate.ts'
import { rememberRequest } from './request-stand-in.ts'
import type { HandshakeSettings } from './settings.ts'
import { forgetUpgrade, type Upgrade, upgradeOf } from './upgrade.ts'

/** 101: the socket becomes a connection. Its listeners are attached in this tick (threat M1). */
export function accept(gate: Gate, socket: GuardedSocket, request: FastifyRequest): void {
  const upgrade = upgradeOf(request.raw) as Upgrade
  const settings = upgrade.settings as HandshakeSettings
  const { runtime } = gate
  const connection = new Connection(socket, upgrade.socket, settings, runtime, {
    user: upgrade.verified?.user,
    identity: upgrade.verified?.identity,
    params: request.params,
    query: request.query,
    ip: addressOf(request),
    data: upgrade.data
  })
  rememberRequest(settings, request)
  letGo(upgrade, request)
  listen(connection)
  runtime.registry.add(connection)
  startSession(connection, runtime.clock.now())
  connection.report('ws.open', { protocol: socket.protocol })
  // The drain began while the developer's hooks ran: it did not see this one.
  if (gate.isDraining()) void connection.drain()
  else if (settings.auth === false || upgrade.verified !== undefined) open(connection, request)
  else waitForAuth(gate, connection, upgrade, settings, settings.auth.messageTimeoutMs, request)
}

/** What an open connection does not need: the response that owned the socket, and the handshake's notes. */
function letGo(upgrade: Upgrade, request: FastifyRequest): void {
  const { _httpMessage: response } = upgrade.socket as { _httpMessage?: { detachSocket(socket: unknown): void } | null }
  response?.detachSocket(upgrade.socket)
  forgetUpgrade(request.raw)
}

function waitForAuth(
  gate: Gate,
  connection: Connection,
  upgrade: Upgrade,
  settings: HandshakeSettings,
  timeoutMs: number,
  request: FastifyRequest
): void {
  expectAuth(connection, request, timeoutMs, (verified) => {
    upgrade.releaseUnauthenticated?.()
    return admitLate(gate, connection, upgrade, settings, verified, request)
  })
}

/** The checks that wait for a user, run after the 101; what would be a 403 or a 429 is a close code now. */
async function admitLate(
  gate: Gate,
  connection: Connection,
  upgrade: Upgrade,
  settings: HandshakeSettings,
  { user, identity }: Verified,
  request: FastifyRequest
): Promise<CloseCause | undefined> {
  try {
    if (identity !== undefined) {
      if (await gate.runtime.store.isRefused(identity)) return 'revoked'
      const { perUser } = settings.limits.connections
      if (!(await gate.admission.takeUser(upgrade, identity.subject, perUser))) return 'too_many_connections'
    }
  } catch {
    return 'unavailable'
  }
  try {
    if (settings.authorize !== undefined && (await settings.authorize(user, request)) !== true) return 'forbidden'
    connection.data = await settings.makeData?.(request)
    return undefined
  } catch (error) {
    connection.reportError(error, 'authorize')
    return 'internal'
  }
}
