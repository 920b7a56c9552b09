/** What it costs to read a flood whose connection has ended already. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import type { WebSocket } from 'ws'
import { maxDiscardedBytes } from '../../lib/connection/discard.ts'
import { maxLateFrames } from '../../lib/connection/guarded-socket.ts'
import { closeFrameOf, Target } from '../attack/harness.ts'
import { frame, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { within } from '../support/wait.ts'

const mask = Buffer.alloc(4)
/** As much as a server reads at once. */
const chunkBytes = 65_536

function chunkOf(one: Buffer): Buffer {
  return Buffer.concat(Array(Math.floor(chunkBytes / one.length)).fill(one))
}

/** Counts the frames that ws takes out of what it has read. */
function countFrames(socket: WebSocket): () => number {
  const { emit } = socket
  let count = 0
  socket.emit = (event: string | symbol, ...values: unknown[]) => {
    if (event === 'message' || event === 'ping' || event === 'pong') count++
    return emit.call(socket, event, ...values)
  }
  return () => count
}

const floods: Readonly<Record<string, { readonly one: Buffer; readonly code: number; readonly served: number }>> = {
  'empty texts': { one: frame({ mask }), code: 1007, served: 1 },
  // limits.controlFrames.burst, and the one above it.
  pongs: { one: frame({ opcode: opcodes.pong, mask }), code: 1008, served: 21 },
  // limits.messages.burst, then ten times as many that are dropped, and the one above them.
  'valid messages': { one: frame({ payload: '{"type":"say","text":""}', mask }), code: 1008, served: 441 }
}

for (const [name, { one, code, served }] of Object.entries(floods)) {
  test(`R7, M2: of a chunk of ${name} little is parsed once the connection has ended`, async (t) => {
    const target = await Target.start(t)
    const client = await target.open()
    const framesParsed = countFrames(target.socket)
    const gone = new Promise((resolve) => target.socket.once('close', resolve))
    await client.write(chunkOf(one))
    assert.equal((await closeFrameOf(client)).code, code)
    await within(gone, { timeoutMs: 10_000, what: 'the end of the socket' })
    // A chunk may arrive in a few pieces: of each, one more frame is looked at.
    const most = served + maxLateFrames + 100
    assert.ok(framesParsed() <= most, `${framesParsed()} frames were parsed, at most ${most} may be`)
  })
}

const endless = frame({ fin: false, opcode: opcodes.continuation, payload: Buffer.alloc(16_000), mask })

const ends: Readonly<Record<string, { readonly first: Buffer; readonly more: Buffer; readonly code: number }>> = {
  'that the guard ends': { first: frame({ payload: '{bad' }), more: chunkOf(frame({ mask })), code: 1007 },
  'that ws ends': { first: frame({ fin: false, payload: 'x', mask }), more: endless, code: 1009 }
}

/** Many times what may be read: as fast as it is taken, until the server has had enough. */
function pump(client: RawClient, chunk: Buffer): void {
  let left = 64 * maxDiscardedBytes
  const turn = (): void => {
    left -= chunk.length
    if (client.socket.destroyed || left < 0) return
    if (client.socket.write(chunk)) setImmediate(turn)
    else client.socket.once('drain', turn)
  }
  turn()
}

for (const [name, { first, more, code }] of Object.entries(ends)) {
  test(`R7: a flood ${name} is not read for longer than its close frame needs`, async (t) => {
    const target = await Target.start(t)
    const client = await target.open()
    const raw = Reflect.get(target.socket, '_socket') as Socket
    const gone = new Promise((resolve) => raw.once('close', resolve))
    client.socket.write(first)
    pump(client, more)
    assert.equal((await closeFrameOf(client)).code, code)
    await within(gone, { timeoutMs: 10_000, what: 'the end of the socket' })
    // Handshake, a message up to its bound, and reads that were under way.
    const most = maxDiscardedBytes + 8 * chunkBytes
    assert.ok(raw.bytesRead <= most, `${raw.bytesRead} bytes were read, at most ${most} may be`)
  })
}
