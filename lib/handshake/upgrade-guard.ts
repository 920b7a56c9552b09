import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyBaseLogger } from 'fastify'
import type { Events } from '../connection/events.ts'
import { closeLost } from '../connection/inbound.ts'
import { systemClock } from '../connection/runtime.ts'
import { type Held, heldBy, holdBy } from './held.ts'
import { endSocket, type RefusalReason, refusalReasons, refuseSocket } from './refusal.ts'
import { checkUpgrade } from './request-shape.ts'
import type { Owned, ServerSockets } from './server-sockets.ts'
import { setUpgrade, upgradeOf } from './upgrade.ts'
import { takeSecretsOut } from './url-secrets.ts'

export type UpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

/** What the guard has to know; the routes registered so far fill it in. */
export interface GuardState {
  /** The next listener: @fastify/websocket's, which routes the request through Fastify. */
  readonly next: UpgradeListener
  readonly events: Events
  readonly log: FastifyBaseLogger
  /** Query parameters that carry credentials. */
  readonly secretNames: ReadonlySet<string>
  /** The largest `handshakeTimeoutMs` of all routes plus a second: the guard cannot know the route. */
  readonly deadlineMs: () => number
  readonly isDraining: () => boolean
  readonly sockets: ServerSockets
  /** Gives back the slots that a socket held. */
  readonly release: (held: Held) => void
  /** Header lines for refusals on the bare socket. */
  readonly headerLines: (isSecure: boolean) => readonly string[]
}

function destroy(this: Duplex): void {
  this.destroy()
}

/**
 * The first and only `upgrade` listener of the server. From its first byte a socket has an error listener (threat
 * H10) and a deadline (threat H8), also on paths that are not ours, until ws looks after it.
 */
export class UpgradeGuard {
  readonly #state: GuardState
  /** Sockets whose handshake is under way, also while a refusal is written. */
  readonly #pending = new Map<Duplex, IncomingMessage>()

  /** One for all sockets. */
  readonly #onClose: (this: Duplex) => void

  constructor(state: GuardState) {
    this.#state = state
    const end = (socket: Duplex): void => this.#end(socket)
    this.#onClose = function () {
      end(this)
    }
  }

  /** Sockets whose handshake is under way. */
  get pending(): number {
    return this.#pending.size
  }

  readonly listener: UpgradeListener = (request, socket, head) => {
    socket.on('error', destroy)
    const { url = '' } = request
    // Before anything can fail: from here on no log line and no 404 can show a credential of the URL (threat P1).
    const secrets = takeSecretsOut(request, this.#state.secretNames)
    // Another response owns the socket: this upgrade was pipelined behind its request (CVE-2026-130647).
    if ((socket as Owned)._httpMessage) {
      socket.destroy()
      return
    }
    const held = this.#hold(request, socket)
    const reason = this.#state.isDraining() ? 'draining' : checkUpgrade(request)
    if (reason !== undefined) return this.#refuse(request, socket, reason)
    setUpgrade(request, {
      socket,
      head,
      url,
      askedAt: systemClock.now(),
      secrets,
      held,
      settings: undefined,
      headers: {},
      protocol: '',
      verified: undefined,
      data: undefined,
      releaseUnauthenticated: undefined
    })
    this.#route(request, socket, head)
    // A response that ends is a refusal, whoever sent it: Fastify itself answers a URL it cannot route.
    ;(socket as Owned)._httpMessage?.once('finish', () => endSocket(socket))
  }

  /** Hands on to Fastify. Whoever answers by HTTP, also its router, says that the connection ends (threat T7). */
  #route(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // The response is given its socket, and listens for its end, in this call and before anybody can answer.
    const announce = (): void => {
      const response = (socket as Owned)._httpMessage
      if (!response) return
      socket.off('newListener', announce)
      response.setHeader('connection', 'close')
    }
    socket.on('newListener', announce)
    try {
      this.#state.next(request, socket, head)
    } catch {
      // @fastify/websocket logs what the app's own routing throws; what the logger fails at would end the process.
      socket.destroy()
    }
    socket.off('newListener', announce)
  }

  /** The 101 was sent: the deadline is over, the connection looks after the socket. */
  accepted(request: IncomingMessage): void {
    const upgrade = upgradeOf(request)
    if (upgrade === undefined) return
    clearTimeout(upgrade.held.deadline)
    upgrade.held.deadline = undefined
    this.#pending.delete(upgrade.socket)
    // From here on ws has a listener for it.
    upgrade.socket.off('error', destroy)
  }

  #hold(request: IncomingMessage, socket: Duplex): Held {
    this.#state.sockets.upgraded(socket)
    this.#pending.set(socket, request)
    socket.on('close', this.#onClose)
    return holdBy(
      socket,
      setTimeout(() => socket.destroy(), this.#state.deadlineMs())
    )
  }

  #end(socket: Duplex): void {
    const held = heldBy(socket) as Held
    clearTimeout(held.deadline)
    this.#state.release(held)
    if (held.accepted !== undefined) closeLost(held.accepted)
    // Whoever keeps the socket shall not keep what ws had read of an unfinished message.
    held.accepted = undefined
    this.#forget(socket)
  }

  /** The request is looked up: a listener that had it would keep it for as long as the connection is open. */
  #forget(socket: Duplex): void {
    const request = this.#pending.get(socket)
    this.#pending.delete(socket)
    this.#state.sockets.gone(socket)
    // Last, because listeners of the developer's may throw. Node says so of other requests, but not of those that asked
    // for an upgrade: `request.signal` would not tell a hook that its client is gone, and Fastify's timer would go on.
    // What app.injectWS makes is no emitter.
    request?.emit?.('close')
  }

  #refuse(request: IncomingMessage, socket: Duplex, reason: RefusalReason): void {
    const status = refusalReasons[reason]
    const ip = request.socket.remoteAddress
    this.#state.events.emit('ws.refused', this.#state.log, { status, reason, ip })
    refuseSocket(socket, status, this.#state.headerLines('encrypted' in socket && socket.encrypted === true))
  }
}

/** Puts the guard in front of @fastify/websocket, whose listener it takes over. @returns that listener */
export function takeOverUpgrades(server: Server, listenersBefore: readonly unknown[]): UpgradeListener {
  const added = server.listeners('upgrade').filter((listener) => !listenersBefore.includes(listener))
  for (const listener of added) server.removeListener('upgrade', listener as UpgradeListener)
  return added[0] as UpgradeListener
}
