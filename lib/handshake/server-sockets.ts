import type { EventEmitter } from 'node:events'
import type { Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { endSocket } from './refusal.ts'

/** What node keeps on a socket while a response owns it; private, so only looked at. */
export type Owned = Duplex & { _httpMessage?: ServerResponse | null }

/**
 * The sockets of the app's servers from their first byte on: a shutdown has to end also those that node's own `close()`
 * would wait for without end (threats H8, P5).
 */
export class ServerSockets {
  /** Every socket that asked for an upgrade, until it is gone. */
  readonly #upgraded = new Set<Duplex>()
  /** All other sockets: what their clients want is not known yet, or no upgrade. */
  readonly #others = new Set<Duplex>()
  /** One for all sockets. */
  readonly #unfollow: (this: Duplex) => void
  #whenNoneUpgraded = (): void => {}

  constructor() {
    const others = this.#others
    this.#unfollow = function () {
      others.delete(this)
    }
  }

  /** Follows the sockets of the app's servers, before they ask for anything. */
  watch(app: FastifyInstance): void {
    this.#watch(app.server)
    app.addHook('onListen', async () => {
      for (const further of furtherServers(app)) this.#watch(further)
    })
  }

  /** It has asked for an upgrade: its handshake, and then its connection, look after it. */
  upgraded(socket: Duplex): void {
    this.#others.delete(socket)
    socket.off('close', this.#unfollow)
    this.#upgraded.add(socket)
  }

  /** One that was upgraded is gone. */
  gone(socket: Duplex): void {
    this.#upgraded.delete(socket)
    if (this.#upgraded.size === 0) this.#whenNoneUpgraded()
  }

  /**
   * Resolves when every socket that asked for an upgrade is gone, and the servers are closed. After `timeoutMs` it does
   * not wait any longer: it destroys these sockets, and those whose client has asked nothing yet, for which node's
   * server would wait without end. A request that is being answered is for Fastify to wait for; it is the last one.
   */
  async drain(app: FastifyInstance, timeoutMs: number): Promise<void> {
    const servers = [app.server, ...furtherServers(app)].filter(({ listening }) => listening)
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

  #watch(server: Server): void {
    server.on('connection', this.#follow)
    server.on('secureConnection', this.#follow)
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
