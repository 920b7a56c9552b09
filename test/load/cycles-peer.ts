/** A client of the leak harness: what the ways to end have in common. */
import assert from 'node:assert/strict'
import { origin, secret } from '../support/app.ts'
import { closeFrame, closeOf, jsonFrame, opcodes } from '../support/frames.ts'
import { type HandshakeOptions, handshakeRequest } from '../support/http-message.ts'
import { connect, type RawClient } from '../support/raw-client.ts'
import { claims, signJwt } from '../support/tokens.ts'

/** A busy machine may take its time. */
export const timeoutMs = 40_000

export interface Ports {
  readonly main: number
  readonly hasty: number
}

export interface Opening {
  /** `null`: no credential. */
  readonly token?: string | null
  readonly headers?: HandshakeOptions['headers']
  readonly hasty?: boolean
  readonly localAddress?: string
  readonly method?: string
  readonly body?: string
  /** Frames that follow the handshake in the same segment. */
  readonly behind?: Buffer
}

/** One cycle, with a user of its own and the connections that it makes. */
export class Peer {
  readonly sub: string
  readonly number: number
  readonly #ports: Ports
  readonly #clients: RawClient[] = []

  constructor(ports: Ports, number: number) {
    this.#ports = ports
    this.number = number
    this.sub = `user-${number}`
  }

  /** Connections made. */
  get count(): number {
    return this.#clients.length
  }

  tokenFor(sub: string): string {
    return signJwt(claims({ sub, sid: `session-${sub}`, jti: `token-${sub}` }), secret)
  }

  async connect({ hasty = false, localAddress }: Opening = {}): Promise<RawClient> {
    const { main, hasty: other } = this.#ports
    const client = await connect(hasty ? other : main, localAddress === undefined ? {} : { localAddress })
    this.#clients.push(client)
    return client
  }

  /** Sends a handshake, and waits for nothing. */
  async ask(path: string, opening: Opening = {}): Promise<RawClient> {
    const client = await this.connect(opening)
    client.socket.write(this.request(path, opening))
    return client
  }

  request(path: string, opening: Opening = {}): Buffer {
    const { token = this.tokenFor(this.sub), headers, method, body, behind } = opening
    const request = handshakeRequest({
      path,
      ...(method !== undefined && { method }),
      ...(body !== undefined && { body }),
      headers: {
        Origin: origin,
        'X-Client': this.sub,
        ...(token !== null && { Authorization: `Bearer ${token}` }),
        ...headers
      }
    })
    return behind === undefined ? request : Buffer.concat([request, behind])
  }

  async open(path: string, opening: Opening = {}): Promise<RawClient> {
    const client = await this.ask(path, opening)
    const { statusCode, body } = await client.answer({ timeoutMs })
    assert.equal(statusCode, 101, `${path}: ${body}`)
    return client
  }

  /** Refused with this status; the server ends the connection. */
  async refused(path: string, status: number, opening: Opening = {}): Promise<void> {
    const client = await this.ask(path, opening)
    const answer = await client.answer({ timeoutMs })
    assert.equal(answer.statusCode, status, path)
    await this.gone(client)
  }

  /** Opens a connection and has one deed done on it. */
  async told(path: string, what: string, opening: Opening = {}): Promise<RawClient> {
    const client = await this.open(path, opening)
    await client.sendJson({ type: 'do', what, ref: 1 })
    return client
  }

  /** A connection that gets a reply when something has happened on the server. The client leaves it. */
  async watch(news: string): Promise<RawClient> {
    const client = await this.open('/ws', { token: this.tokenFor(`watcher-${this.number}`) })
    const watch = { type: 'do', what: 'tell when', of: news, ref: 2 }
    // In one segment: when the first is answered, the second is being served.
    await client.write(Buffer.concat([jsonFrame({ type: 'do', what: 'nothing', ref: 1 }), jsonFrame(watch)]))
    await this.answered(client, 'reply')
    return client
  }

  /** The answer to a message with a `ref`, or to an auth message. */
  async answered(client: RawClient, type: string): Promise<Record<string, unknown>> {
    for (;;) {
      const message = await client.nextJson<Record<string, unknown>>({ timeoutMs })
      if (message.type === type) return message
    }
  }

  /** The server closes with this code; the client answers, and both are gone. */
  async closed(client: RawClient, code: number, reason?: string): Promise<void> {
    const close = closeOf(await client.nextFrame({ opcode: opcodes.close, timeoutMs }))
    assert.deepEqual(close, { code, reason: reason ?? close.reason })
    if (client.socket.writable) client.socket.write(closeFrame(code))
    await this.gone(client)
  }

  /** The client closes, and has its answer. */
  async leaves(client: RawClient, code: number | undefined = 1000): Promise<void> {
    client.socket.write(closeFrame(code))
    await client.nextFrame({ opcode: opcodes.close, timeoutMs })
    await this.gone(client)
  }

  /** The server ends the connection, in whatever way. */
  async gone(client: RawClient): Promise<void> {
    await client.serverEnd({ timeoutMs })
    client.halfClose()
    await client.closed
  }

  async reset(client: RawClient): Promise<void> {
    client.reset()
    await client.closed
  }

  /** Whatever a cycle has left open, after it failed. */
  destroy(): void {
    for (const client of this.#clients) client.destroy()
  }
}

/** So many messages as one write. */
export function messages(count: number, message: object): Buffer {
  return Buffer.concat(Array.from({ length: count }, () => jsonFrame(message)))
}
