import type { CloseCause } from '../close-codes.ts'
import type { Connection } from './connection.ts'
import { discardUnread } from './discard.ts'
import { isServed } from './dispatch.ts'
import type { GuardedSocket } from './guarded-socket.ts'
import { inflowOf } from './inflow.ts'
import { admit, endDrowned, endFlood, serve } from './rate.ts'

/** A text frame is a Buffer, a binary one what `socket.binaryType` says. */
export type RawFrame = Buffer | ArrayBuffer | Blob | readonly Buffer[]

/** Beyond our own deadline, so that ours says why. */
const closeSlackMs = 1_000

/**
 * Hands a socket over to its connection, in the tick of the 101 (threat M1): from here on `hear` is told what happens
 * on it. Whoever follows the raw socket calls `closeLost` when that is gone.
 */
export function listen(connection: Connection): void {
  const { socket } = connection
  socket.connection = connection
  socket._closeTimeout = connection.settings.closeTimeoutMs + closeSlackMs
  // The parent's error listener holds the request and the reply.
  socket.removeAllListeners('error')
}

/**
 * What ws says of a guarded socket, before any listener of the developer's. Listeners of ours would be most of what an
 * idle socket keeps, and somebody could take them off.
 * @returns true when listeners on the socket itself may hear it too
 */
export function hear(connection: Connection, event: string | symbol, values: readonly unknown[]): boolean {
  switch (event) {
    case 'message':
      return receive(connection, values[0] as RawFrame, values[1] as boolean)
    case 'ping':
    case 'pong':
      onControlFrame(connection)
      return true
    case 'close':
      onClose(connection, values[0] as number)
      return true
    case 'error':
      onError(connection, values[0] as Error)
      // Node would end the process for what a peer sends.
      return connection.socket.listenerCount('error') > 0
    default:
      return true
  }
}

/** ws may never say that it closed (a receiver that stopped in the middle): the socket below always does. */
export function closeLost(socket: GuardedSocket): void {
  setImmediate(onClose, socket.connection as Connection, 1006)
}

function onControlFrame(connection: Connection): void {
  const now = connection.runtime.clock.now()
  connection.heardAt = now
  connection.pingSentAt = 0
  // Pings and pongs cost the peer 6 bytes and us a turn (threat R6).
  if (hasTooManyPongs(connection.socket)) endDrowned(connection)
  else if (!inflowOf(connection).controlFrames.take(1, now)) endFlood(connection)
}

/** ws has terminated a peer whose pongs piled up, and says so nowhere. */
function hasTooManyPongs(socket: GuardedSocket): boolean {
  return socket.readyState !== socket.OPEN && socket._pendingAutoPongs >= socket._maxPendingAutoPongs
}

function onClose(connection: Connection, code: number): void {
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

function onError(connection: Connection, error: Error & { code?: string }): void {
  const { cause, code } = (
    error.code?.startsWith('WS_ERR_')
      ? (frameErrors[error.code] ?? { cause: 'invalid_frame', code: 1002 })
      : { cause: 'lost', code: 1006 }
  ) as { cause: CloseCause; code: number }
  // ws would read on for as long as the peer sends.
  discardUnread(connection.rawSocket)
  connection.endUnanswered(cause, code)
}

/**
 * One frame: closing? expired? → buckets (before any decoding) → text? → decode → check → authorize → handler.
 * @returns true when listeners on the socket itself may see it too
 */
function receive(connection: Connection, data: RawFrame, isBinary: boolean): boolean {
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
