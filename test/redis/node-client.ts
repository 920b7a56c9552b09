/** A client of a node: opens, says something, and keeps what it hears. */
import type { Socket } from 'node:net'
import { openWire } from '../load/wire.ts'
import { origin, secret } from '../support/app.ts'
import { closeFrame, closeOf, type Frame, frame, jsonFrame, opcodes } from '../support/frames.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { claims, signJwt } from '../support/tokens.ts'
import { within } from '../support/wait.ts'

export interface ClientOptions {
  readonly sub: string
  /** Default: a new one. */
  readonly token?: string
  readonly onMessage?: (message: Record<string, unknown>) => void
}

/** A node answers within its own deadline, on a busy machine somewhat later. */
const answerMs = 20_000
/** Not random: what measures must not be what is slow. */
const mask = Buffer.alloc(4)

export function tokenOf(sub: string): string {
  return signJwt(claims({ sub }), secret)
}

export class Client {
  /** The code of the close frame that came; 1006 when there was none. */
  readonly closed: Promise<number>
  /** True as soon as this side begins to end it, or the other side has. */
  isClosed = false
  readonly socket: Socket

  private constructor(socket: Socket, code: () => number) {
    this.socket = socket
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.isClosed = true
        resolve(code())
      })
    })
  }

  /** @throws Error with the answer when it is no 101 */
  static async open(port: number, { sub, token = tokenOf(sub), onMessage = () => {} }: ClientOptions): Promise<Client> {
    const request = handshakeRequest({ path: '/ws', headers: { Origin: origin, Authorization: `Bearer ${token}` } })
    let code = 1006
    const opened = openWire(port, request, ({ opcode, payload }: Frame, from) => {
      if (opcode === opcodes.text) onMessage(JSON.parse(payload.toString()))
      if (opcode === opcodes.ping) from.write(frame({ opcode: opcodes.pong, payload, mask }))
      if (opcode !== opcodes.close) return
      code = closeOf({ payload } as Frame).code
      from.end(closeFrame(code))
    })
    const socket = await within(opened, { timeoutMs: answerMs, what: `an answer to ${sub}` })
    return new Client(socket, () => code)
  }

  send(message: object): void {
    this.socket.write(jsonFrame(message))
  }

  /** Properly. */
  close(): void {
    this.isClosed = true
    this.socket.end(closeFrame(1000))
  }

  /** By a reset. */
  destroy(): void {
    this.isClosed = true
    this.socket.resetAndDestroy()
  }
}
