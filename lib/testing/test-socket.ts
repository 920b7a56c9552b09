import type { IncomingHttpHeaders } from 'node:http'
import type { WebSocket } from 'ws'
import type { ClientType, Contract, PayloadOf, ReplyOf, ServerMessageOf, ServerType } from '../contract.ts'
import type { Client, CloseInfo, Handshake } from './open-client.ts'

/** `{ "type": "error", … }`: what the guard answers to a message it does not accept. */
export interface ErrorMessage {
  readonly type: 'error'
  readonly code: string
  readonly message: string
  readonly ref?: string | number
  readonly details?: unknown
  readonly retryAfterMs?: number
  readonly dropped?: number
  readonly refs?: ReadonlyArray<string | number>
}

/** `{ "type": "reply", … }`: the answer to a message that was sent with a `ref`. */
export interface ReplyMessage<C extends Contract | undefined = undefined> {
  readonly type: 'reply'
  readonly ref: string | number
  readonly data: ReplyData<C>
}

/** `{ "type": "auth_ok", … }`: the answer to an auth message. */
export interface AuthOkMessage {
  readonly type: 'auth_ok'
  readonly expiresInMs: number
}

type Replies<C extends Contract> = { [K in ClientType<C>]: Exclude<ReplyOf<C, K>, void> }[ClientType<C>]
/** Any of the replies that the contract declares. */
type ReplyData<C> = C extends Contract ? ([Replies<C>] extends [never] ? unknown : Replies<C>) : unknown

/** What `send` takes as type: the contract's, and `auth`, which the wire itself knows. */
export type SendType<C> = C extends Contract ? ClientType<C> | 'auth' : string
export type SendPayload<C, K> = K extends keyof SendPayloads<C> ? SendPayloads<C>[K] : never
/** By a map, because TypeScript 5.9 gives up on the same as nested conditions. */
type SendPayloads<C> = C extends Contract
  ? { readonly [K in ClientType<C>]: PayloadOf<C, K> } & { readonly auth: { readonly token: string } }
  : Readonly<Record<string, unknown>>

/** What `receive` takes as type: the contract's, and those of the wire itself. */
export type ReceiveType<C> = (C extends Contract ? ServerType<C> : string) | 'error' | 'reply' | 'auth_ok'
export type Received<C extends Contract | undefined, K> = K extends 'error'
  ? ErrorMessage
  : K extends 'reply'
    ? ReplyMessage<C>
    : K extends 'auth_ok'
      ? AuthOkMessage
      : C extends Contract
        ? K extends ServerType<C>
          ? ServerMessageOf<C, K> & { readonly type: K }
          : never
        : unknown

export interface ReceiveOptions {
  /** How long to wait for the message, in milliseconds. Default 1000. */
  readonly timeoutMs?: number | undefined
}

const receiveTimeoutMs = 1000
const disposeTimeoutMs = 1000

/** The outcome of `injectWs`: an open connection, or the refusal, told by `statusCode`. */
export class TestSocket<C extends Contract | undefined = undefined> {
  /** 101, the status of the refusal, or 0 when the server ended the connection without an answer. */
  readonly statusCode: number
  /** Of the 101 or of the refusal; the names are in lower case. */
  readonly headers: IncomingHttpHeaders
  /** The body of the refusal; empty after a 101. */
  readonly body: string
  /** The subprotocol that the server chose, or `''`. */
  readonly protocol: string
  /** Resolves when the connection has ended, with code 1006 also for a refusal. Never rejects. */
  readonly closed: Promise<CloseInfo>
  /** The client of ws: for pings, pausing and whatever else this class does not do. */
  readonly socket: WebSocket
  readonly #client: Client

  constructor({ statusCode, headers, body, client }: Handshake) {
    this.statusCode = statusCode
    this.headers = headers
    this.body = body
    this.protocol = client.socket.protocol
    this.closed = client.closed
    this.socket = client.socket
    this.#client = client
  }

  /**
   * The body of the refusal.
   * @throws SyntaxError when it is not JSON
   */
  json<T = unknown>(): T {
    return JSON.parse(this.body)
  }

  /**
   * Sends `{ type, …payload, ref? }` as one text frame. On a connection that has closed it does nothing, as any
   * WebSocket; `receive()` then tells how it closed.
   * @throws Error when the handshake was refused
   * @throws TypeError when `payload` is neither an object nor undefined
   */
  send<K extends SendType<C>>(
    type: K,
    payload: SendPayload<C, K>,
    options: { readonly ref?: string | number | undefined } = {}
  ): void {
    const fields: unknown = payload
    if (fields !== undefined && (typeof fields !== 'object' || fields === null || Array.isArray(fields))) {
      throw new TypeError('send: payload must be an object; sendRaw() sends anything else')
    }
    const envelope = options.ref === undefined ? { type } : { type, ref: options.ref }
    // Twice, so that the type comes first on the wire and no payload can replace it.
    this.sendRaw(JSON.stringify({ ...envelope, ...fields, ...envelope }))
  }

  /**
   * Sends one frame: a string as text, a Buffer as binary, unless `binary` says otherwise.
   * @throws Error when the handshake was refused
   */
  sendRaw(data: string | Buffer, options: { readonly binary?: boolean | undefined } = {}): void {
    if (this.statusCode !== 101) throw new Error(`send: the handshake was refused with ${this.statusCode} ${this.body}`)
    // With a callback ws reports the end of the connection there instead of throwing or emitting.
    this.socket.send(data, { binary: options.binary ?? typeof data !== 'string' }, () => {})
  }

  /**
   * The next message (of that type) that was not received yet, from the first frame on: text parsed as JSON, text that
   * is not JSON as a string, a binary frame as a Buffer.
   * @throws Error when none comes in time, and at once when the connection has ended; it lists what did arrive
   */
  receive(type?: undefined, options?: ReceiveOptions): Promise<Received<C, ReceiveType<C>>>
  receive<K extends ReceiveType<C>>(type: K, options?: ReceiveOptions): Promise<Received<C, K>>
  receive(type?: string, options: ReceiveOptions = {}): Promise<unknown> {
    return this.#client.inbox.take(type, options.timeoutMs ?? receiveTimeoutMs)
  }

  /** Starts the closing handshake; await `closed` for its end. */
  close(code?: number, reason?: string): void {
    this.socket.close(code, reason)
  }

  /** Ends the connection abruptly: the server sees a reset (ECONNRESET), no close frame. */
  terminate(): void {
    this.#client.ends.client.resetAndDestroy()
  }

  /** Closes, waits up to a second for the server's side to end too, then resets the connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.close()
    const timer = setTimeout(() => this.terminate(), disposeTimeoutMs)
    await this.#client.gone
    clearTimeout(timer)
  }
}
