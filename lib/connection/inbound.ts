import type { EventEmitter } from 'node:events'
import type { CloseCause } from '../close-codes.ts'
import type { Connection } from './connection.ts'
import { discardUnread } from './discard.ts'
import { isServed } from './dispatch.ts'
import type { GuardedSocket } from './guarded-socket.ts'
import { admit, endDrowned, endFlood, serve } from './rate.ts'

/** A text frame is a Buffer, a binary one what `socket.binaryType` says. */
export type RawFrame = Buffer | ArrayBuffer | Blob | readonly Buffer[]

/** Beyond our own deadline, so that ours says why. */
const closeSlackMs = 1_000

/**
 * Attaches the listeners in the tick of the 101 (threat M1). They are shared by all connections and find theirs on the
 * socket: a closure for each would cost every idle connection its memory.
 */
export function listen(connection: Connection): void {
  const { socket, rawSocket } = connection
  socket.connection = connection
  socket._closeTimeout = connection.settings.closeTimeoutMs + closeSlackMs
  // The parent's error listener holds the request and the reply; ours takes its place.
  socket.removeAllListeners('error')
  const events: EventEmitter = socket
  events.on('error', onError)
  events.on('ping', onControlFrame)
  events.on('pong', onControlFrame)
  events.on('close', onClose)
  // ws may never say that it closed (a receiver that stopped in the middle): the socket itself always does.
  rawSocket.once('close', () => setImmediate(() => onClose.call(socket, 1006)))
}

function onControlFrame(this: GuardedSocket): void {
  const connection = this.connection as Connection
  const now = connection.runtime.clock.now()
  connection.heardAt = now
  connection.pingSentAt = 0
  // Pings and pongs cost the peer 6 bytes and us a turn (threat R6).
  if (hasTooManyPongs(this)) endDrowned(connection)
  else if (!connection.controlFrames.take(1, now)) endFlood(connection)
}

/** ws has terminated a peer whose pongs piled up, and says so nowhere. */
function hasTooManyPongs(socket: GuardedSocket): boolean {
  return socket.readyState !== socket.OPEN && socket._pendingAutoPongs >= socket._maxPendingAutoPongs
}

function onClose(this: GuardedSocket, code: number): void {
  const connection = this.connection as Connection
  endClosed(connection, code)
  void connection.finish()
}

/** RFC 6455 section 7.1.5: 1005 stands for the peer's close frame without a code, 1006 for none. */
export function endClosed(connection: Connection, code: number): void {
  connection.endUnanswered(code === 1006 ? 'lost' : 'client', code)
}

/** The errors of ws's receiver, by the close code it answered them with. */
const frameErrors: Readonly<Record<string, { cause: CloseCause; code: number }>> = {
  WS_ERR_UNSUPPORTED_MESSAGE_LENGTH: { cause: 'too_big', code: 1009 },
  WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH: { cause: 'too_big', code: 1009 },
  WS_ERR_TOO_MANY_BUFFERED_PARTS: { cause: 'rate_limited', code: 1008 },
  WS_ERR_INVALID_UTF8: { cause: 'invalid_frame', code: 1007 }
}

function onError(this: GuardedSocket, error: Error & { code?: string }): void {
  const { cause, code } = (
    error.code?.startsWith('WS_ERR_')
      ? (frameErrors[error.code] ?? { cause: 'invalid_frame', code: 1002 })
      : { cause: 'lost', code: 1006 }
  ) as { cause: CloseCause; code: number }
  const connection = this.connection as Connection
  // ws would read on for as long as the peer sends.
  discardUnread(connection.rawSocket)
  connection.endUnanswered(cause, code)
}

/**
 * One frame: closing? expired? → buckets (before any decoding) → text? → decode → check → authorize → handler.
 * @returns true when listeners on the socket itself may see it too
 */
export function receive(connection: Connection, data: RawFrame, isBinary: boolean): boolean {
  const { runtime, socket } = connection
  if (socket.readyState !== socket.OPEN || !isServed(connection)) return false
  const now = runtime.clock.now()
  connection.heardAt = now
  connection.messageAt = now
  connection.pingSentAt = 0
  connection.received++
  const frame = { data: data as Buffer, bytes: sizeOf(data), isBinary }
  if (admit(connection, frame, now)) serve(connection, frame, now)
  // The contract is the one way in: another listener would see what it refuses, and the credential of an auth message.
  return connection.settings.contract === undefined && connection.state === 'open'
}

function sizeOf(data: RawFrame): number {
  if ('byteLength' in data) return data.byteLength
  return 'size' in data ? data.size : data.reduce((sum, { length }) => sum + length, 0)
}
