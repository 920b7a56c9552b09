import type { FastifyRequest } from 'fastify'
import type { CloseCause } from '../close-codes.ts'
import { listenerCompactor } from '../connection/compact-listeners.ts'
import { Connection } from '../connection/connection.ts'
import { open } from '../connection/dispatch.ts'
import type { GuardedSocket } from '../connection/guarded-socket.ts'
import { listen } from '../connection/inbound.ts'
import { endUnavailable, expectAuth, startSession, type Verified } from '../connection/session.ts'
import { isInstance } from '../errors.ts'
import { addressOf } from './attempts.ts'
import { checkRights, checkUser, makeData, type Peer, Unavailable, type UserRefusal } from './checks.ts'
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
    askedAt: upgrade.askedAt,
    data: upgrade.data
  })
  rememberRequest(settings, request)
  letGo(upgrade, request)
  listen(connection)
  compactListeners(connection)
  upgrade.held.accepted = socket
  runtime.registry.add(connection)
  connection.report('ws.open', { protocol: socket.protocol, expiresAt: connection.expiresAt })
  // The drain began while the developer's hooks ran: it did not see this one.
  if (gate.isDraining()) return void connection.drain()
  startSession(connection, () => {
    if (settings.auth === false || upgrade.verified !== undefined) open(connection, request)
    else waitForAuth({ gate, request, upgrade, settings }, connection, settings.auth.messageTimeoutMs)
  })
}

/** What an open connection does not need: the response that owned the socket, and the handshake's notes. */
function letGo(upgrade: Upgrade, request: FastifyRequest): void {
  const { _httpMessage: response } = upgrade.socket as { _httpMessage?: { detachSocket(socket: unknown): void } | null }
  response?.detachSocket(upgrade.socket)
  forgetUpgrade(request.raw)
}

const compactRaw = listenerCompactor()
const compactSocket = listenerCompactor()
const compactReceiver = listenerCompactor()

/** All listeners are there that an idle connection has, and those of the handshake are gone. */
function compactListeners({ socket, rawSocket }: Connection): void {
  compactRaw(rawSocket)
  compactSocket(socket)
  compactReceiver(socket._receiver)
}

function waitForAuth(peer: Peer, connection: Connection, timeoutMs: number): void {
  connection.leaveWaiting = peer.upgrade.releaseUnauthenticated
  expectAuth(connection, peer.request, timeoutMs, (verified) => {
    connection.leaveWaiting?.()
    return admitLate(peer, connection, verified)
  })
}

/** After the 101 a refusal is a close code. */
const lateCauses: Readonly<Record<UserRefusal['reason'], CloseCause>> = {
  invalid_credential: 'session_expired',
  revoked: 'revoked',
  per_user: 'too_many_connections',
  forbidden: 'forbidden'
}

/** The checks that wait for a user: those of the handshake, once the first message has said who it is. */
async function admitLate(peer: Peer, connection: Connection, verified: Verified): Promise<CloseCause | undefined> {
  const { upgrade, request } = peer
  upgrade.verified = verified
  // As @fastify/jwt does it before the 101.
  Reflect.set(request, 'user', verified.user)
  let step: 'authorize' | 'data' = 'authorize'
  try {
    const refusal = (await checkUser(peer)) ?? (connection.state === 'open' ? await checkRights(peer) : undefined)
    if (refusal !== undefined) return lateCauses[refusal.reason]
    // Who has left meanwhile is asked nothing more.
    if (connection.state !== 'open') return undefined
    step = 'data'
    await makeData(peer)
    connection.data = upgrade.data
  } catch (error) {
    if (!isInstance(error, Unavailable)) {
      connection.reportError(error, step)
      return 'internal'
    }
    endUnavailable(connection, error.errorCode)
  }
  return undefined
}
