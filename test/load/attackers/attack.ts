/** What every attack has: a target, an end, accounts and addresses, and peers that are held until it is told to let go. */
import { setTimeout as delay } from 'node:timers/promises'
import { type AttackReport, handshakeOf, newReport, Peer, type Target } from './peer.ts'

export interface AttackSettings extends Target {
  readonly seconds: number
  readonly sockets: number
  /** Of the attacker's own accounts. */
  readonly tokens: readonly string[]
  /** Addresses of its own that it comes from. */
  readonly addresses: readonly string[]
}

/** So soon it is back when the server has ended a socket. */
const reconnectMs = 5

export class Attack {
  readonly settings: AttackSettings
  readonly report: AttackReport = newReport()
  readonly #endsAt: number
  readonly #peers = new Set<Peer>()
  #next = 0

  constructor(settings: AttackSettings) {
    this.settings = settings
    this.#endsAt = performance.now() + settings.seconds * 1_000
  }

  readonly isOver = (): boolean => performance.now() >= this.#endsAt

  /** A socket that has sent nothing yet. */
  dial(): Peer {
    const { port, addresses } = this.settings
    const peer = new Peer(port, addresses[this.#next++ % addresses.length] as string, this.report)
    this.#peers.add(peer)
    peer.onGone = () => void this.#peers.delete(peer)
    return peer
  }

  token(): string {
    return this.settings.tokens[this.#next % this.settings.tokens.length] as string
  }

  /**
   * As many connections as there are sockets, within the first half of the time; `act` is called with each as soon as
   * it is open.
   */
  openAll(act: (peer: Peer) => void): void {
    const { seconds, sockets } = this.settings
    const everyMs = (seconds * 500) / sockets
    for (let at = 0; at < sockets; at++) setTimeout(() => this.#open(act, [], false), at * everyMs)
  }

  /** The same, and each that is ended is opened again. */
  keepOpening(act: (peer: Peer) => void, more: readonly string[] = []): void {
    for (let at = 0; at < this.settings.sockets; at++) this.#open(act, more, true)
  }

  /** Resolves when the time is over; what is open then stays open. */
  async end(): Promise<void> {
    await delay(Math.max(0, this.#endsAt - performance.now()))
  }

  /** What the attacker has got so far. */
  soFar(): AttackReport {
    const held = [...this.#peers].reduce((sum, peer) => sum + peer.sentBytes, 0)
    return { ...this.report, sentBytes: this.report.sentBytes + held }
  }

  /** Lets go of everything, with a RST each. */
  release(): void {
    for (const peer of this.#peers) peer.leave('rst')
  }

  #open(act: (peer: Peer) => void, more: readonly string[], isAgain: boolean): void {
    const peer = this.dial()
    const gone = peer.onGone
    peer.onGone = () => {
      gone()
      if (isAgain && !this.isOver()) setTimeout(() => this.isOver() || this.#open(act, more, isAgain), reconnectMs)
    }
    peer.onAnswer = (status) => {
      if (status === 101) act(peer)
      else peer.leave('rst')
    }
    // Who is told to go, goes: only some attacks hold on to what the server has ended.
    if (isAgain) peer.socket.on('end', () => peer.leave('fin'))
    peer.socket.write(handshakeOf(this.settings, this.token(), more))
  }
}
