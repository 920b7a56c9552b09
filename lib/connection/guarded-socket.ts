import type { Duplex, Writable } from 'node:stream'
import { WebSocket } from 'ws'
import type { Limits } from '../limits/limits.ts'
import { abuseGraceMs, type Connection } from './connection.ts'
import { discardUnread } from './discard.ts'
import { hear } from './inbound.ts'

/** The bounds ws keeps for us; it takes them per server, we hand them over per socket. */
export type SocketBounds = Pick<Limits, 'maxPayloadBytes' | 'fragments' | 'controlFrames'>

/**
 * A peer that still sends so many frames after its connection began to end is not read any more: parsing what nobody
 * serves would cost the others their turn (threats M2, R7).
 */
export const maxLateFrames = 64

/** More is not joined: one copy of so much costs more than the system call that it saves. */
export const maxJoinedBytes = 65_536

const bounds = new WeakMap<Duplex, SocketBounds>()

/** Sets the bounds for the WebSocket that will be made on this socket. Sockets without bounds keep ws's defaults. */
export function boundSocket(socket: Duplex, limits: SocketBounds): void {
  bounds.set(socket, limits)
}

/**
 * ws ends both streams again at each step of a close, and Node makes an error with a stack trace of each further end,
 * for nobody: three of them are a tenth of what a short-lived connection costs.
 */
function endOnce(stream: Writable): void {
  const end = stream.end
  stream.end = function (this: Writable, ...given: unknown[]) {
    return this.writableEnded && given.length === 0 ? this : Reflect.apply(end, this, given)
  }
}

/** ws makes an object of them for each socket; most have none, and nothing writes into it. */
const noExtensions: object = Object.freeze({})

interface ReceiverOptions {
  maxPayload?: number
  maxFragments?: number
  maxBufferedChunks?: number
}

// ws exports the class, @types/ws hides the constructor and setSocket that a server calls.
const Base = WebSocket as unknown as new (
  address: null,
  protocols: undefined,
  options: object
) => WebSocket & { setSocket(socket: Duplex, head: Buffer, options: ReceiverOptions): void }

/** The WebSocket of every upgraded socket of the server; only those of guarded routes carry a connection. */
export class GuardedSocket extends Base {
  /** The connection it belongs to; none on plain websocket routes. */
  connection: Connection | undefined
  /** The largest number of pongs ws keeps waiting to be written (threat R6; ws >= 8.23). */
  declare _maxPendingAutoPongs: number
  /** How many wait now. */
  declare _pendingAutoPongs: number
  /** Ends a socket whose peer started to close and then stays, or that the developer closed past the connection. */
  declare _closeTimeout: number
  /** The socket below. */
  declare _socket: Duplex
  /** What both agreed on, for the receiver and the sender. */
  declare _extensions: object
  /** What the peer's close frame said; 1005 for no code, 1006 for no frame. */
  declare _closeCode: number
  /** What takes frames out of a chunk, one after the other while `_loop` is true. */
  declare _receiver: Writable & { _loop: boolean }

  /** Set on a socket that is only there to say a close code (`refuse: 'close'`). */
  isRefused = false
  #lateFrames = 0
  /** Frames that wait for `flush`; its characters are their bytes. */
  #joined = ''
  /** Bytes that were written in this turn of the event loop, and in the one before. */
  #written = 0
  #writtenBefore = 0

  /** ws makes one for each socket; one for each ping takes less. */
  get _autoPongComplete(): () => void {
    return () => {
      this._pendingAutoPongs--
    }
  }

  set _autoPongComplete(_: unknown) {}

  /**
   * Bytes that are no backlog yet: those that wait for `flush`, and those that may be on their way without the socket
   * having been told (TLS says so in a later turn).
   */
  get freshBytes(): number {
    return this.#joined.length + this.#written + this.#writtenBefore
  }

  /** @internal left out of the declarations, where @types/ws has a property */
  // @ts-expect-error a getter in its place
  override get bufferedAmount(): number {
    // @ts-expect-error the same
    return super.bufferedAmount + this.#joined.length
  }

  /** Takes a frame of `frameText` that leaves with the next `flush`, or at once where much has been joined. */
  join(frame: string): void {
    this.#joined += frame
    if (this.#joined.length >= maxJoinedBytes) this.flush()
  }

  /** Writes what was joined. What ws writes by itself comes after it. */
  flush(): void {
    const frames = this.#joined
    if (frames === '') return
    this.#joined = ''
    if (this.readyState !== this.OPEN) return
    this.#written += frames.length
    this._socket.write(frames, 'latin1')
  }

  /** A turn of the event loop has ended. */
  endTurn(): void {
    this.#writtenBefore = this.#written
    this.#written = 0
  }

  override send(...values: unknown[]): void {
    this.flush()
    Reflect.apply(super.send, this, values)
  }

  override ping(...values: unknown[]): void {
    this.flush()
    Reflect.apply(super.ping, this, values)
  }

  /** What was sent before leaves before the close frame, whoever closes (ws answers a close with this, too). */
  override close(code?: number, reason?: string | Buffer): void {
    this.flush()
    if (this.readyState === this.OPEN) {
      endOnce(this._receiver)
      endOnce(this._socket)
    }
    super.close(code, reason)
  }

  /** What was sent in this turn is discarded, as is what the socket holds back. */
  override terminate(): void {
    this.#joined = ''
    super.terminate()
  }

  /** The one way in: a frame that the connection does not serve reaches no listener, not even a developer's own. */
  override emit(event: string | symbol, ...values: unknown[]): boolean {
    const { connection } = this
    const isFrame = event === 'message' || event === 'ping' || event === 'pong'
    if (isFrame && (this.isRefused || (connection !== undefined && connection.state !== 'open'))) {
      if (++this.#lateFrames === maxLateFrames) this.#stopReading()
      // What was read already holds thousands more (10,922 empty frames in 64 KiB).
      if (this.#lateFrames >= maxLateFrames) this._receiver._loop = false
      return false
    }
    if (connection !== undefined && !hear(connection, event, values)) return false
    return super.emit(event, ...values)
  }

  #stopReading(): void {
    const { connection } = this
    if (connection !== undefined) connection.closeDeadline = connection.runtime.clock.now() + abuseGraceMs
    discardUnread(this._socket)
  }

  override setSocket(socket: Duplex, head: Buffer, options: ReceiverOptions): void {
    if (Object.keys(this._extensions).length === 0) this._extensions = noExtensions
    const own = bounds.get(socket)
    if (own === undefined) {
      super.setSocket(socket, head, options)
      return
    }
    bounds.delete(socket)
    this._maxPendingAutoPongs = own.controlFrames.pendingPongs
    super.setSocket(socket, head, {
      ...options,
      maxPayload: own.maxPayloadBytes,
      maxFragments: own.fragments.perMessage,
      maxBufferedChunks: own.fragments.bufferedChunks
    })
  }
}
