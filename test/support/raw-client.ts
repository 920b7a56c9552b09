/**
 * A client on a real TCP or TLS socket that sends any bytes it is told to: handshakes no browser would make, frames cut
 * anywhere, resets, half-closed and unread connections.
 */
import { connect as connectTcp, type Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { closeFrame, type Frame, type FrameOptions, frame, jsonFrame, opcodes, takeFrames } from './frames.ts'
import { type HandshakeOptions, type HttpAnswer, handshakeRequest, parseBody, parseHead } from './http-message.ts'
import { once } from './wait.ts'

export interface ConnectOptions {
  /** Default 127.0.0.1. */
  readonly host?: string
  /** `true` accepts any certificate. */
  readonly tls?: boolean | ConnectionOptions
  readonly localAddress?: string
}

export interface TimeoutOptions {
  /** Default 2000. */
  readonly timeoutMs?: number
}

export interface RawClose {
  /** The code of the socket's error, such as ECONNRESET; undefined for an orderly end. */
  readonly errorCode: string | undefined
}

const defaultTimeoutMs = 2000

export async function connect(port: number, options: ConnectOptions = {}): Promise<RawClient> {
  const { host = '127.0.0.1', tls = false, localAddress } = options
  const address = { port, host, ...(localAddress !== undefined && { localAddress }) }
  const tlsOptions = tls === true ? { rejectUnauthorized: false } : tls
  const socket =
    tlsOptions === false
      ? connectTcp({ ...address, allowHalfOpen: true })
      : connectTls({ ...address, ...tlsOptions, allowHalfOpen: true } as ConnectionOptions)
  const client = new RawClient(socket)
  await once(socket, tlsOptions === false ? 'connect' : 'secureConnect')
  return client
}

export class RawClient {
  readonly socket: Socket
  /** Every frame the server sent, also those that `nextFrame` has returned. */
  readonly frames: Frame[] = []
  /** The socket is gone, in whichever way. Never rejects. */
  readonly closed: Promise<RawClose>
  /** The server has ended its side (FIN). */
  serverEnded = false
  /** Bytes of the server's that are not yet part of an answer or a frame. */
  unparsed: Buffer = Buffer.alloc(0)
  #upgraded = false
  #nextFrame = 0
  #gone = false
  #errorCode: string | undefined
  readonly #observers = new Set<() => void>()

  constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay()
    socket.on('data', (chunk: Buffer) => {
      this.unparsed = Buffer.concat([this.unparsed, chunk])
      this.#takeFramess()
      this.#notify()
    })
    socket.on('end', () => {
      this.serverEnded = true
      this.#notify()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#errorCode = error.code
    })
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#gone = true
        this.#notify()
        resolve({ errorCode: this.#errorCode })
      })
    })
  }

  /** Writes in one piece, or in pieces of these sizes (the rest last), each in a turn and a segment of its own. */
  async write(bytes: string | Buffer, sizes: readonly number[] = []): Promise<void> {
    let rest = Buffer.from(bytes)
    for (const size of [...sizes, rest.length]) {
      const piece = rest.subarray(0, size)
      rest = rest.subarray(size)
      if (piece.length === 0) continue
      this.socket.write(piece)
      await nextTurn()
    }
  }

  /** Sends a handshake and returns the answer: 101 or a refusal. */
  async handshake(options: HandshakeOptions & TimeoutOptions = {}): Promise<HttpAnswer> {
    await this.write(handshakeRequest(options))
    return this.answer(options)
  }

  /** The next HTTP answer; after a 101 what follows are frames. */
  async answer(options: TimeoutOptions = {}): Promise<HttpAnswer> {
    const answer = await this.#wait('an HTTP answer', options, () => this.#takeAnswer())
    if (answer.statusCode === 101) {
      this.#upgraded = true
      this.#takeFramess()
    }
    return answer
  }

  async sendFrame(options: FrameOptions): Promise<void> {
    await this.write(frame(options))
  }

  async sendText(payload: string): Promise<void> {
    await this.write(frame({ payload }))
  }

  async sendJson(value: unknown): Promise<void> {
    await this.write(jsonFrame(value))
  }

  async sendClose(code?: number, reason?: string): Promise<void> {
    await this.write(closeFrame(code, reason))
  }

  /** The next frame that was not returned yet; with `opcode`, the next of that kind, passing over others. */
  nextFrame(options: TimeoutOptions & { readonly opcode?: number } = {}): Promise<Frame> {
    const { opcode } = options
    return this.#wait(opcode === undefined ? 'a frame' : `a frame of opcode ${opcode}`, options, () => {
      while (this.#nextFrame < this.frames.length) {
        const next = this.frames[this.#nextFrame++] as Frame
        if (opcode === undefined || next.opcode === opcode) return next
      }
      return undefined
    })
  }

  /** The next text frame, parsed. */
  async nextJson<T = unknown>(options: TimeoutOptions = {}): Promise<T> {
    const { payload } = await this.nextFrame({ ...options, opcode: opcodes.text })
    return JSON.parse(payload.toString())
  }

  /** Resolves when the server has ended its side or the socket is gone; rejects when it stays open. */
  async serverEnd(options: TimeoutOptions = {}): Promise<void> {
    await this.#wait('the end of the connection', options, () => this.serverEnded || this.#gone || undefined)
  }

  /** Sends a TCP RST; not behind a FIN, which libuv refuses, and then node never says 'close'. */
  reset(): void {
    if (this.socket.writableEnded) this.socket.destroy()
    else this.socket.resetAndDestroy()
  }

  /** Sends a FIN and goes on reading. */
  halfClose(): void {
    this.socket.end()
  }

  /** Stops reading, so that the server's writes pile up. */
  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  destroy(): void {
    this.socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.destroy()
    await this.closed
  }

  #takeAnswer(): HttpAnswer | undefined {
    const head = parseHead(this.unparsed)
    if (head === undefined) return undefined
    const rest = this.unparsed.subarray(head.size)
    const parsed = parseBody(head, rest, this.serverEnded || this.#gone)
    if (parsed === undefined) return undefined
    this.unparsed = rest.subarray(parsed.size)
    const { size: _size, ...answer } = head
    return { ...answer, body: parsed.body, json: () => JSON.parse(parsed.body) }
  }

  #takeFramess(): void {
    if (this.#upgraded) this.unparsed = takeFrames(this.unparsed, (frame) => this.frames.push(frame))
  }

  #notify(): void {
    for (const observer of this.#observers) observer()
  }

  /** Asks `take` now and whenever something arrives; rejects when the socket is gone or the time is over. */
  #wait<T>(what: string, { timeoutMs = defaultTimeoutMs }: TimeoutOptions, take: () => T | undefined): Promise<T> {
    const error = new Error()
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer)
        this.#observers.delete(observer)
      }
      const fail = (why: string): void => {
        leave()
        error.message = `expected ${what}: ${why}; unparsed: ${JSON.stringify(this.unparsed.toString('latin1', 0, 200))}`
        reject(error)
      }
      const observer = (): void => {
        try {
          const value = take()
          if (value !== undefined) {
            leave()
            resolve(value)
          } else if (this.#gone) fail(`the socket closed (${this.#errorCode ?? 'orderly'})`)
        } catch (cause) {
          fail(String(cause))
        }
      }
      const timer = setTimeout(() => fail(`none within ${timeoutMs} ms`), timeoutMs)
      this.#observers.add(observer)
      observer()
    })
  }
}
