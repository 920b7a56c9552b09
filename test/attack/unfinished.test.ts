/** Messages that begin and never end: what they hold is bounded, and gone with their sockets. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { frame, opcodes } from '../support/frames.ts'
import { collectGarbage, heapBytes } from '../support/gc.ts'
import type { RawClient } from '../support/raw-client.ts'
import { connectionsOf, eventually, until } from '../support/wait.ts'
import { Target } from './harness.ts'

const patient = { timeoutMs: 30_000 }
const sockets = 200
/** A chunk is a write and a read of its own: fewer sockets, so that it does not take minutes. */
const dribblers = 20
/** The defaults of `limits.maxPayloadBytes` and `limits.fragments`. */
const maxPayloadBytes = 65_536
const perMessage = 64
const bufferedChunks = 1_024
/** A fragment is a view into the chunk it came in, whose other bytes may be of a message that is long over. */
const chunkBytes = 65_536
/** What a fragment or a chunk costs beside its bytes: a Buffer, and the memory behind it. */
const overheadBytes = 512
/** What may be left of a socket that is gone: counters, lines of the captured log. */
const restBytes = 4_096
/** What the process makes of its own accord meanwhile, such as compiled code. */
const noiseBytes = 1_000_000

/** After everything that can be collected was. */
async function heldBytes(): Promise<number> {
  await collectGarbage()
  return heapBytes()
}

interface Attack {
  readonly target: Target
  readonly clients: readonly RawClient[]
  /** The server's side of each client. */
  readonly peers: readonly Socket[]
  readonly before: number
}

async function start(t: TestContext, sockets: number): Promise<Attack> {
  const limits = {
    attempts: { max: 10_000 },
    connections: { perIp: 1_000, perUser: 1_000 },
    bytes: { perSecond: 1e6, burst: 1e6 }
  }
  const target = await Target.start(t, { guard: { limits } })
  const clients: RawClient[] = []
  for (let count = 0; count < sockets; count++) clients.push(await target.open())
  const bySide = new Map([...target.app.websocketServer.clients].map((socket) => rawOf(socket)))
  const peers = clients.map(({ socket }) => bySide.get(socket.localPort) as Socket)
  return { target, clients, peers, before: await heldBytes() }
}

function rawOf(socket: unknown): [number | undefined, Socket] {
  const { _socket: raw } = socket as { _socket: Socket }
  return [raw.remotePort, raw]
}

/** All of it was read. */
async function sendAll({ clients, peers }: Attack, bytes: Buffer): Promise<void> {
  const before = peers.map(({ bytesRead }) => bytesRead)
  for (const { socket } of clients) socket.write(bytes)
  await until(() => peers.every(({ bytesRead }, at) => bytesRead === (before[at] as number) + bytes.length), patient)
}

async function assertBoundedAndFreed(
  t: TestContext,
  { target, clients, before }: Attack,
  bound: number
): Promise<void> {
  const count = clients.length
  assert.equal(target.app.wsGuard.connections, count)
  const perSocket = ((await heldBytes()) - before) / count
  t.diagnostic(`${Math.round(perSocket)} of ${bound} bytes for each of ${count} sockets`)
  assert.ok(perSocket <= bound, `${Math.round(perSocket)} bytes for each socket`)
  for (const client of clients) client.reset()
  await until(() => target.app.wsGuard.stats().slots === 0, patient)
  await eventually(async () => assert.equal(await connectionsOf(target.app.server), 0), patient)
  const left = (await heldBytes()) - before
  assert.ok(left <= count * restBytes + noiseBytes, `${left} bytes are left of ${count} sockets`)
  assert.equal(target.closes.length, count)
}

test(`R5: ${sockets} sockets, each with 64 fragments and no end, hold what a message may have, and nothing when they go`, async (t) => {
  const attack = await start(t, sockets)
  const payload = 'x'.repeat(Math.floor(maxPayloadBytes / perMessage))
  const rest = Array.from({ length: perMessage - 1 }, () =>
    frame({ fin: false, opcode: opcodes.continuation, payload })
  )
  await sendAll(attack, Buffer.concat([frame({ fin: false, payload }), ...rest]))
  const bound = maxPayloadBytes + chunkBytes + perMessage * overheadBytes
  await assertBoundedAndFreed(t, attack, bound)
})

test(`R5: ${dribblers} sockets, each with a frame in as many chunks as may be, hold no more than those, and nothing when they go`, async (t) => {
  const attack = await start(t, dribblers)
  const size = Math.floor(maxPayloadBytes / bufferedChunks)
  const chunk = Buffer.alloc(size, 'x')
  await sendAll(attack, frame({ declaredLength: maxPayloadBytes, lengthBits: 64 }))
  for (let count = 0; count < bufferedChunks - 1; count++) await sendAll(attack, chunk)
  const bound = maxPayloadBytes + chunkBytes + bufferedChunks * overheadBytes
  await assertBoundedAndFreed(t, attack, bound)
})

test(`R5: a chunk in which a message ends and the next begins is not held for long`, async (t) => {
  const attack = await start(t, sockets)
  const ask = frame({ payload: `${JSON.stringify({ type: 'ask', count: 0 })}${' '.repeat(60_000)}` })
  await sendAll(attack, Buffer.concat([ask, frame({ fin: false, payload: 'x' })]))
  await assertBoundedAndFreed(t, attack, chunkBytes + overheadBytes * 4)
})
