import type { Connection } from './connection.ts'
import type { Runtime } from './runtime.ts'
import { frameText } from './text-frame.ts'

/**
 * A buffer above a bound is judged after this time: what was written in this turn may be on its way. TLS reports it
 * as buffered until a later turn, and a reader must not be ended for the writer's burst.
 */
export const judgeAfterMs = 10

/**
 * Writes one encoded message within the bounds of `limits.sendBuffer` and `limits.totalBufferedBytes`
 * (threats O1, O2). What waits for the end of the turn counts, and what ws and the socket hold back; nothing waits
 * anywhere else.
 * @returns false when it was dropped
 */
export function write(connection: Connection, text: string): boolean {
  return hasRoom(connection) && put(connection, text)
}

/** The same for a message that was framed before. */
export function writeFrame(connection: Connection, frame: string): boolean {
  return hasRoom(connection) && putFrame(connection, frame)
}

/**
 * Asked before something is encoded: what would be dropped is not worth it, and a peer that does not read could ask for
 * a lot of it. The soft bound is for a backlog: what this turn and the one before have written is not one yet.
 * @returns false when it is dropped
 */
export function hasRoom(connection: Connection): boolean {
  const { socket, settings } = connection
  connection.runtime.topics.catchUp(connection)
  if (connection.state !== 'open' || socket.readyState !== socket.OPEN) return false
  const { softBytes, hardBytes } = settings.limits.sendBuffer
  const buffered = socket.bufferedAmount
  if (buffered > hardBytes || buffered - socket.freshBytes > softBytes) {
    connection.dropped++
    connection.report('ws.slow_consumer', { reason: 'dropped', bufferedBytes: buffered })
    return false
  }
  return true
}

/** Writes where there is room. @returns false when reading the message has ended the connection */
export function put(connection: Connection, text: string): boolean {
  return putFrame(connection, frameText(text))
}

function putFrame(connection: Connection, frame: string): boolean {
  if (connection.state !== 'open') return false
  if (!connection.isDirty) {
    connection.isDirty = true
    if (dirty.push(connection) === 1) setImmediate(flushAll)
  }
  connection.socket.join(frame)
  connection.sent++
  return true
}

/** Who was sent something in this turn of the event loop. */
let dirty: Connection[] = []

/**
 * One `setImmediate` for all: it runs when everything that this turn has read was served. A system call for each message
 * is most of what a small one costs.
 */
function flushAll(): void {
  const connections = dirty
  dirty = []
  for (const connection of connections) {
    connection.isDirty = false
    flush(connection)
  }
  setImmediate(endTurn, connections)
}

function flush(connection: Connection): void {
  const { socket } = connection
  try {
    socket.flush()
  } catch {
    // A duplex of the app's own that throws: the others are not to wait for it.
    socket.terminate()
  }
  socket.endTurn()
  countBuffered(connection)
}

/** What they wrote one turn ago is on its way, or a backlog. */
function endTurn(connections: readonly Connection[]): void {
  for (const { isDirty, socket } of connections) if (!isDirty) socket.endTurn()
}

function isOverdrawn({ sendBuffers }: Runtime): boolean {
  return sendBuffers.countedBytes > sendBuffers.maxBytes
}

function judgeLater(runtime: Runtime): void {
  if (runtime.sendBuffers.isJudging) return
  runtime.sendBuffers.isJudging = true
  setTimeout(() => {
    runtime.sendBuffers.isJudging = false
    judge(runtime)
  }, judgeAfterMs).unref()
}

/** Ends who is above the hard bound, and the largest buffers while the node's account is overdrawn. */
function judge(runtime: Runtime): void {
  for (const connection of [...runtime.registry.list]) {
    recount(connection)
    if (isAboveHardBound(connection)) endSlowConsumer(connection)
  }
  while (isOverdrawn(runtime)) {
    endSlowConsumer(runtime.registry.list.reduce((a, b) => (b.countedBytes > a.countedBytes ? b : a)))
  }
}

/** Terminates a peer that does not read: a close frame would wait behind what it does not read (threat O1). */
function endSlowConsumer(connection: Connection): void {
  connection.report('ws.slow_consumer', { reason: 'terminated', bufferedBytes: connection.countedBytes })
  connection.end('slow_consumer')
}

/**
 * Takes what a connection buffers into the node's account, and has it judged when a bound is passed. Also asked from
 * time to time: buffers shrink, and those of raw sockets grow, without telling.
 */
export function countBuffered(connection: Connection): void {
  recount(connection)
  if (isAboveHardBound(connection) || isOverdrawn(connection.runtime)) judgeLater(connection.runtime)
}

function isAboveHardBound({ countedBytes, settings }: Connection): boolean {
  return countedBytes > settings.limits.sendBuffer.hardBytes
}

/** Takes a connection that ended out of the account. */
export function releaseBuffered(connection: Connection): void {
  connection.runtime.sendBuffers.countedBytes -= connection.countedBytes
  connection.countedBytes = 0
}

function recount(connection: Connection): void {
  const buffered = connection.state === 'open' ? connection.socket.bufferedAmount : 0
  connection.runtime.sendBuffers.countedBytes += buffered - connection.countedBytes
  connection.countedBytes = buffered
}
