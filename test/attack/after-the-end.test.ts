import assert from 'node:assert/strict'
import type { EventEmitter } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { WebSocket } from 'ws'
import { maxLateFrames } from '../../lib/connection/guarded-socket.ts'
import type { CloseInfo, WsConnection } from '../../lib/connection/types.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { origin } from '../support/app.ts'
import { frame, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, Target } from './harness.ts'

/** Counts what ws parses, whoever gets to see it. */
function countParsed(socket: WebSocket): () => number {
  const receiver = (socket as unknown as { _receiver: EventEmitter })._receiver
  let parsed = 0
  for (const event of ['message', 'ping', 'pong']) receiver.on(event, () => parsed++)
  return () => parsed
}

const late = [opcodes.text, opcodes.ping, opcodes.pong].map((opcode) => frame({ opcode }))

function lateFrames(count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, at) => late[at % late.length] as Buffer))
}

interface End {
  readonly guard: WsGuardOptions
  readonly headers?: Readonly<Record<string, string>>
  readonly provoke?: (client: RawClient) => Promise<void>
  readonly code: number
}

const byMessage: End = {
  guard: { auth: { from: ['message'] } },
  headers: { Origin: origin },
  provoke: (client) => client.sendJson({ type: 'auth', token: 'none' }),
  code: 4001
}
const evil: End = { guard: { refuse: 'close' }, headers: { Origin: 'https://evil.example' }, code: 4003 }

const ends: Readonly<Record<string, End>> = {
  unauthorized: byMessage,
  session_expired: { guard: { maxLifetimeMs: 300 }, code: 4001 },
  idle: { guard: { idleTimeoutMs: 300 }, code: 4008 },
  "refuse: 'close'": evil
}

for (const [name, { guard, headers, provoke, code }] of Object.entries(ends)) {
  test(`M2, R7: after ${name} and ${maxLateFrames} late frames nothing is parsed, and the socket goes`, async (t) => {
    const target = await Target.start(t, { guard: { closeTimeoutMs: 30_000, ...guard } })
    const client = await target.open('/echo', headers ?? target.headers())
    const parsed = countParsed(target.socket)
    await provoke?.(client)
    assert.equal((await closeFrameOf(client)).code, code)
    const before = parsed()
    await client.write(lateFrames(maxLateFrames))
    await until(() => parsed() - before === maxLateFrames)
    await client.write(lateFrames(500))
    await client.serverEnd({ timeoutMs: 5000 })
    assert.equal(parsed() - before, maxLateFrames)
    await until(() => target.app.wsGuard.stats().slots === 0 && target.app.wsGuard.stats().refused === 0)
  })
}

test("M2, R7: the same after the developer's own socket.close() on a raw route", async (t) => {
  const closes: CloseInfo[] = []
  const target = await Target.start(t, {
    guard: { closeTimeoutMs: 30_000 },
    declare: (app) =>
      app.wsRoute('/raw', {
        handler: ({ socket }) => socket.close(4000, 'done'),
        onClose: (_connection, info) => void closes.push(info)
      })
  })
  const client = await target.open('/raw')
  const parsed = countParsed(target.socket)
  assert.deepEqual(await closeFrameOf(client), { code: 4000, reason: 'done' })
  await client.write(lateFrames(maxLateFrames))
  await until(() => parsed() === maxLateFrames)
  await client.write(lateFrames(500))
  await client.serverEnd({ timeoutMs: 5000 })
  assert.equal(parsed(), maxLateFrames)
  await until(() => closes.length === 1)
})

test('M2, L2: a peer that sends Close and keeps its TCP open is ended, once, as its own doing', async (t) => {
  let connection: WsConnection | undefined
  const target = await Target.start(t, {
    guard: { closeTimeoutMs: 30_000 },
    route: {
      onOpen: (opened) => {
        connection = opened
      }
    }
  })
  const client = await target.open()
  await until(() => connection !== undefined)
  const { signal } = connection as WsConnection
  await client.sendClose(1000)
  await until(() => connection?.state === 'closed', { timeoutMs: 8000 })
  assert.equal(signal.aborted, true)
  assert.deepEqual(target.closes, [{ code: 1000, reason: '', cause: 'client' }])
  await until(() => target.app.wsGuard.stats().slots === 0)
  assert.equal(target.app.wsGuard.connections, 0)
  assert.equal(target.closes.length, 1)
})

test("M2: who takes its time to answer the developer's own socket.close() has closeTimeoutMs", async (t) => {
  const closes: CloseInfo[] = []
  const target = await Target.start(t, {
    guard: { closeTimeoutMs: 30_000 },
    declare: (app) =>
      app.wsRoute('/raw', {
        handler: ({ socket }) => socket.close(4000, 'done'),
        onClose: (_connection, info) => void closes.push(info)
      })
  })
  const client = await target.open('/raw')
  assert.deepEqual(await closeFrameOf(client), { code: 4000, reason: 'done' })
  // Longer than a sweep of the heartbeat and the grace of an abusive end together.
  await sleep(800)
  assert.equal(client.serverEnded, false)
  await client.sendClose(4000, 'done')
  await client.serverEnd()
  client.halfClose()
  await until(() => closes.length === 1)
})
