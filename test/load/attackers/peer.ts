/** One raw socket of an attacker: it sends what it is told to, and counts what comes of it. */
import { connect, type Socket } from 'node:net'
import { handshakeRequest } from '../../support/http-message.ts'

export interface Target {
  readonly port: number
  readonly path: string
  readonly origin: string
}

/** What the attacker got. */
export interface AttackReport {
  /** Handshakes answered, by status. */
  readonly statuses: Record<string, number>
  /** Close frames received, by code. */
  readonly closes: Record<string, number>
  /** Handshakes in which the server took up an extension. */
  extensions: number
  /** Sockets that the server ended, with a FIN or a RST. */
  ended: number
  /** Bytes that left for the server; some may still be in the buffers of the kernel. */
  sentBytes: number
  /** Messages received. */
  answers: number
  receivedBytes: number
}

export function newReport(): AttackReport {
  return { statuses: {}, closes: {}, extensions: 0, ended: 0, sentBytes: 0, answers: 0, receivedBytes: 0 }
}

export function handshakeOf({ path, origin }: Target, token: string | undefined, more: readonly string[] = []): Buffer {
  const headers = { Origin: origin, Authorization: token === undefined ? null : `Bearer ${token}` }
  return handshakeRequest({ path, headers, rawHeaders: more })
}

export class Peer {
  readonly socket: Socket
  /** Called with the answer to the handshake. */
  onAnswer: (status: number) => void = () => {}
  /** Called when it is gone, whoever ended it. */
  onGone: () => void = () => {}
  readonly #report: AttackReport
  #head = ''
  #isUpgraded = false
  #rest: Buffer = Buffer.alloc(0)
  #isOurs = false
  #isEnded = false

  constructor(port: number, localAddress: string, report: AttackReport) {
    this.#report = report
    this.socket = connect({ port, host: '127.0.0.1', localAddress, allowHalfOpen: true, noDelay: true })
    this.socket.on('data', (chunk) => this.#onData(chunk))
    this.socket.on('error', () => this.#noteEnd())
    this.socket.on('end', () => this.#noteEnd())
    this.socket.on('close', () => {
      report.sentBytes += this.sentBytes
      this.onGone()
    })
  }

  /** What has left for the kernel. */
  get sentBytes(): number {
    return this.socket.bytesWritten - this.socket.writableLength
  }

  /** Ends it from this side: with a FIN, or a RST. */
  leave(how: 'fin' | 'rst' = 'rst'): void {
    this.#isOurs = true
    if (how === 'rst') this.socket.resetAndDestroy()
    else this.socket.end()
  }

  /** Sends the same bytes again and again, as fast as they are taken, until `isOver`. */
  pump(chunk: Buffer, isOver: () => boolean): void {
    const { socket } = this
    const turn = (): void => {
      if (socket.destroyed || !socket.writable || isOver()) return
      if (socket.write(chunk)) setImmediate(turn)
      else socket.once('drain', turn)
    }
    turn()
  }

  #noteEnd(): void {
    if (this.#isOurs || this.#isEnded) return
    this.#isEnded = true
    this.#report.ended++
  }

  #onData(chunk: Buffer): void {
    this.#report.receivedBytes += chunk.length
    if (this.#isUpgraded) return this.#onFrames(chunk)
    this.#head += chunk.toString('latin1')
    const end = this.#head.indexOf('\r\n\r\n')
    if (end < 0) return
    const status = Number(this.#head.slice(9, 12))
    this.#report.statuses[status] = (this.#report.statuses[status] ?? 0) + 1
    this.#isUpgraded = status === 101
    if (/^sec-websocket-extensions:/im.test(this.#head)) this.#report.extensions++
    const rest = Buffer.from(this.#head.slice(end + 4), 'latin1')
    this.onAnswer(status)
    if (this.#isUpgraded && rest.length > 0) this.#onFrames(rest)
  }

  /** Only the heads are looked at: an attacker has no time for what is in them. */
  #onFrames(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    while (at + 4 <= bytes.length || (at + 2 <= bytes.length && (bytes[at + 1] as number) < 126)) {
      const short = bytes[at + 1] as number
      if (short === 127 && at + 10 > bytes.length) break
      const head = short === 127 ? 10 : short === 126 ? 4 : 2
      const length =
        short === 127 ? Number(bytes.readBigUInt64BE(at + 2)) : short === 126 ? bytes.readUInt16BE(at + 2) : short
      if (at + head + length > bytes.length) break
      this.#onFrame((bytes[at] as number) & 0xf, bytes, at + head, length)
      at += head + length
    }
    this.#rest = bytes.subarray(at)
  }

  #onFrame(opcode: number, bytes: Buffer, at: number, length: number): void {
    if (opcode !== 8) {
      this.#report.answers++
      return
    }
    const code = length < 2 ? 1005 : bytes.readUInt16BE(at)
    this.#report.closes[code] = (this.#report.closes[code] ?? 0) + 1
  }
}
