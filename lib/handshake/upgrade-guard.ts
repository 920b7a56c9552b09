import type { EventEmitter } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { Events } from '../connection/events.ts'
import { endSocket, type RefusalReason, refusalReasons, refuseSocket } from './refusal.ts'
import { checkUpgrade } from './request-shape.ts'
import { setUpgrade, type Upgrade, upgradeOf } from './upgrade.ts'
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
  /** Header lines for refusals on the bare socket. */
  readonly headerLines: (isSecure: boolean) => readonly string[]
}

/** What node keeps on a socket while a response owns it; private, so only looked at. */
type Owned = Duplex & { _httpMessage?: ServerResponse | null }

/**
 * The first and only `upgrade` listener of the server. From its first byte to its disposal a socket has an error
 * listener (threat H10) and a deadline (threat H8), also on paths that are not ours.
 */
export class UpgradeGuard {
  readonly #state: GuardState
  /** Every socket that asked for an upgrade, until it is gone. */
  readonly #upgraded = new Set<Duplex>()
  /** Those of them whose handshake is under way, also while a refusal is written. */
  readonly #pending = new Map<Duplex, IncomingMessage>()
  /** All other sockets: what their clients want is not known yet, or no upgrade. */
  readonly #others = new Set<Duplex>()
  /** One for all sockets. */
  readonly #unfollow: (this: Duplex) => void
  #whenNoneUpgraded = (): void => {}

  constructor(state: GuardState) {
    this.#state = state
    const others = this.#others
    this.#unfollow = function () {
      others.delete(this)
    }
  }

  /** Sockets whose handshake is under way. */
  get pending(): number {
    return this.#pending.size
  }

  readonly listener: UpgradeListener = (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    const { url = '' } = request
    // Before anything can fail: from here on no log line and no 404 can show a credential of the URL (threat P1).
    const secrets = takeSecretsOut(request, this.#state.secretNames)
    // Another response owns the socket: this upgrade was pipelined behind its request (CVE-2026-130647).
    if ((socket as Owned)._httpMessage) {
      socket.destroy()
      return
    }
    const { deadline, releases } = this.#hold(request, socket)
    const reason = this.#state.isDraining() ? 'draining' : checkUpgrade(request)
    if (reason !== undefined) return this.#refuse(request, socket, reason)
    setUpgrade(request, {
      socket,
      head,
      url,
      secrets,
      deadline,
      releases,
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
    this.#state.next(request, socket, head)
    socket.off('newListener', announce)
  }

  /** The 101 was sent: the deadline is over, the connection looks after the socket. */
  accepted(request: IncomingMessage): void {
    const upgrade = upgradeOf(request)
    if (upgrade === undefined) return
    clearTimeout(upgrade.deadline)
    this.#pending.delete(upgrade.socket)
  }

  /** Follows the sockets of a server from their first byte on, before they ask for anything. */
  watch(server: Server): void {
    server.on('connection', this.#follow)
    server.on('secureConnection', this.#follow)
  }

  /**
   * Resolves when every socket that asked for an upgrade is gone, and the servers are closed. After `timeoutMs` it does
   * not wait any longer: it destroys these sockets, and those whose client has asked nothing yet, for which node's
   * server would wait without end. A request that is being answered is for Fastify to wait for; it is the last one.
   */
  async drain(servers: readonly Server[], timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, timeoutMs, true)
    })
    const closed = Promise.all([this.#noneUpgraded(), ...servers.map(closeOf)])
    const isLate = await Promise.race([closed.then(() => false), late])
    clearTimeout(timer)
    if (!isLate) return
    for (const socket of this.#others) (socket as Owned)._httpMessage?.once('finish', () => endSocket(socket))
    const rest = [...this.#upgraded, ...unanswered([...this.#others])]
    const gone = rest.map(closeOf)
    for (const socket of rest) socket.destroy()
    await Promise.all(gone)
  }

  async #noneUpgraded(): Promise<void> {
    if (this.#upgraded.size === 0) return
    await new Promise<void>((resolve) => {
      this.#whenNoneUpgraded = resolve
    })
  }

  readonly #follow = (socket: Duplex): void => {
    this.#others.add(socket)
    socket.on('close', this.#unfollow)
  }

  #hold(request: IncomingMessage, socket: Duplex): Pick<Upgrade, 'deadline' | 'releases'> {
    this.#others.delete(socket)
    socket.off('close', this.#unfollow)
    this.#upgraded.add(socket)
    this.#pending.set(socket, request)
    const deadline = setTimeout(() => socket.destroy(), this.#state.deadlineMs())
    const releases: (() => void)[] = []
    socket.once('close', () => {
      clearTimeout(deadline)
      this.#forget(socket)
      for (const release of releases) release()
    })
    return { deadline, releases }
  }

  #forget(socket: Duplex): void {
    const request = this.#pending.get(socket)
    this.#pending.delete(socket)
    this.#upgraded.delete(socket)
    // Node says so of other requests, but not of those that asked for an upgrade: `request.signal` would not tell a hook
    // that its client is gone, and Fastify's timer would go on. What app.injectWS makes is no emitter.
    request?.emit?.('close')
    if (this.#upgraded.size === 0) this.#whenNoneUpgraded()
  }

  #refuse(request: IncomingMessage, socket: Duplex, reason: RefusalReason): void {
    const status = refusalReasons[reason]
    const ip = request.socket.remoteAddress
    this.#state.events.emit('ws.refused', this.#state.log, { status, reason, ip })
    refuseSocket(socket, status, this.#state.headerLines('encrypted' in socket && socket.encrypted === true))
  }
}

/** Unlike `events.once` not rejected by an error. */
function closeOf(emitter: EventEmitter): Promise<void> {
  return new Promise((resolve) => emitter.once('close', resolve))
}

/** The sockets on which nobody waits for an answer. One with HTTP/2 is looked after by its session. */
function unanswered(sockets: readonly Duplex[]): Duplex[] {
  const answered = sockets.filter(
    (socket) => (socket as Owned)._httpMessage || ('alpnProtocol' in socket && socket.alpnProtocol === 'h2')
  )
  const peers = new Set(answered.map(peerOf))
  return sockets.filter((socket) => !peers.has(peerOf(socket)))
}

/** A TLS socket and the TCP socket below it have the same one. Others than TCP sockets have no port. */
function peerOf(socket: Duplex): unknown {
  const { remoteAddress, remotePort, localPort } = socket as Socket
  return remotePort === undefined ? socket : `${remoteAddress} ${remotePort} ${localPort}`
}

/**
 * The servers that Fastify listens with beside the main one, when `localhost` has several addresses. It keeps them under
 * a symbol only; none when a later Fastify keeps them elsewhere.
 */
export function furtherServers(app: FastifyInstance): Server[] {
  const key = Object.getOwnPropertySymbols(app).find((symbol) => symbol.description === 'fastify.serverBindings')
  return key === undefined ? [] : (Reflect.get(app, key) as Server[])
}

/** Puts the guard in front of @fastify/websocket, whose listener it takes over. @returns that listener */
export function takeOverUpgrades(server: Server, listenersBefore: readonly unknown[]): UpgradeListener {
  const added = server.listeners('upgrade').filter((listener) => !listenersBefore.includes(listener))
  for (const listener of added) server.removeListener('upgrade', listener as UpgradeListener)
  return added[0] as UpgradeListener
}
