/** The bounds that ws keeps for us, each route's own: bytes, fragments and chunks of a message. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { buildApp, origin } from '../support/app.ts'
import { closeOf, frame, opcodes, textFrame } from '../support/frames.ts'
import { handshakeRequest } from '../support/http-message.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, Target } from './harness.ts'

const patient = { timeoutMs: 10_000 }
const { continuation } = opcodes

/** `/size-<n>` has a limit of its own; it says how many bytes came. */
const sizes = [1, 100, 200_000]
function declareSizes(app: FastifyInstance): void {
  for (const maxPayloadBytes of sizes) {
    app.wsRoute(`/size-${maxPayloadBytes}`, {
      limits: { maxPayloadBytes },
      handler: ({ socket }) => void socket.on('message', (data) => socket.send(String(String(data).length)))
    })
  }
}

/** `size` bytes in a frame, or in two. */
function message(size: number, isCut: boolean): Buffer {
  if (!isCut) return textFrame('x'.repeat(size))
  const [first, second] = [Math.floor(size / 2), Math.ceil(size / 2)].map((part) => 'x'.repeat(part))
  return Buffer.concat([
    frame({ fin: false, payload: first as string }),
    frame({ opcode: continuation, payload: second as string })
  ])
}

test('R4: each route has a bound of its own on one server: so many bytes are served, one more is 1009', async (t) => {
  const target = await Target.start(t, { declare: declareSizes })
  // All open at once, in the order in which their bounds would be confused.
  for (const size of [...sizes, ...sizes].reverse()) {
    for (const isCut of [false, true]) {
      const client = await target.open(`/size-${size}`)
      await client.write(message(size, isCut))
      assert.equal((await client.nextFrame(patient)).payload.toString(), String(size))
      await client.write(message(size + 1, isCut))
      assert.equal((await closeFrameOf(client)).code, 1009)
      client.destroy()
    }
  }
  await until(() => target.app.wsGuard.connections === 0, patient)
  assert.deepEqual(
    target.logs.filter('ws.close').map(({ cause }) => cause),
    Array(12).fill('too_big')
  )
})

test('R4, M1: the bound holds for what comes in the segment of the handshake', async (t) => {
  const target = await Target.start(t, { declare: declareSizes })
  for (const [behind, code] of [
    [message(101, false), 1009],
    [message(101, true), 1009],
    [frame({ declaredLength: 2 ** 40, lengthBits: 64 }), 1009],
    [message(100, true), undefined]
  ] as const) {
    const client = await target.dial()
    const request = handshakeRequest({ path: '/size-100', headers: target.headers() })
    await client.write(Buffer.concat([request, behind]))
    assert.equal((await client.answer(patient)).statusCode, 101)
    const { opcode, payload } = await client.nextFrame(patient)
    if (code === undefined) assert.equal(payload.toString(), '100')
    else assert.deepEqual([opcode, payload.readUInt16BE()], [opcodes.close, code])
    client.destroy()
  }
})

/** What ws, timers or JavaScript take for "no limit", or for another one. */
const none = [0, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 32 + 10, -1, 1.5, '64kb', '65536', null]
const wsBounds: Readonly<Record<string, (value: unknown) => object>> = {
  'limits.maxPayloadBytes': (maxPayloadBytes) => ({ maxPayloadBytes }),
  'limits.fragments.perMessage': (perMessage) => ({ fragments: { perMessage } }),
  'limits.fragments.bufferedChunks': (bufferedChunks) => ({ fragments: { bufferedChunks } }),
  'limits.controlFrames.pendingPongs': (pendingPongs) => ({ controlFrames: { pendingPongs } }),
  'limits.controlFrames.burst': (burst) => ({ controlFrames: { burst } })
}

for (const [name, limitsOf] of Object.entries(wsBounds)) {
  test(`R4: ${name} that is no bound boots neither in the plugin's options nor in a route's`, async (t) => {
    const app = await buildApp()
    t.after(() => app.close())
    for (const value of none) {
      const limits = limitsOf(value) as NonNullable<WsGuardOptions['limits']>
      const isTold = {
        code: 'WSG_ERR_OPTION',
        message: new RegExp(`"${name}" must be an integer from 1 to 2147483647`)
      }
      await assert.rejects(buildApp({ guard: { limits } }), isTold, String(value))
      assert.throws(() => app.wsRoute('/ws', { limits, handler() {} }), isTold, String(value))
    }
  })
}

function pieces(count: number): Buffer {
  const rest = Array.from({ length: count - 1 }, (_, at) =>
    frame({ opcode: continuation, fin: at === count - 2, payload: 'x' })
  )
  return Buffer.concat([frame({ fin: false, payload: 'x' }), ...rest])
}

test('R5: each route has its own number of fragments; one more is 1008, and so are empty ones', async (t) => {
  const target = await Target.start(t, {
    declare: (app) => {
      for (const [path, limits] of [
        ['/default', {}],
        ['/three', { fragments: { perMessage: 3 } }]
      ] as const) {
        app.wsRoute(path, {
          limits,
          handler: ({ socket }) => void socket.on('message', (data) => socket.send(String(String(data).length)))
        })
      }
    }
  })
  for (const [path, most] of [
    ['/three', 3],
    ['/default', 64]
  ] as const) {
    const client = await target.open(path)
    // Each message has its own count.
    await client.write(Buffer.concat([pieces(most), pieces(most)]))
    for (const _ of [1, 2]) assert.equal((await client.nextFrame(patient)).payload.toString(), String(most))
    await client.write(pieces(most + 1))
    assert.equal((await closeFrameOf(client)).code, 1008)
    const other = await target.open(path)
    const empty = frame({ opcode: continuation, fin: false })
    await other.write(Buffer.concat([frame({ fin: false }), ...Array(most).fill(empty)]))
    assert.equal((await closeFrameOf(other)).code, 1008)
    for (const one of [client, other]) one.destroy()
  }
  await until(() => target.logs.filter('ws.close').length === 4, patient)
  assert.ok(target.logs.filter('ws.close').every(({ code, cause }) => code === 1008 && cause === 'rate_limited'))
})

/** Sends bytes so that each is a chunk of its own to the server. */
async function dribble(client: RawClient, server: Socket, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length && !client.serverEnded; at++) {
    const read = server.bytesRead
    client.socket.write(bytes.subarray(at, at + 1))
    await until(() => server.bytesRead > read || client.serverEnded, patient)
  }
}

test('R5: 1 024 chunks are a message, the chunk behind them is 1008', async (t) => {
  const target = await Target.start(t, { declare: declareSizes })
  for (const [size, isServed] of [
    [1024, true],
    [1025, false]
  ] as const) {
    const client = await target.open('/size-200000')
    const server = (target.socket as unknown as { _socket: Socket })._socket
    const bytes = textFrame('x'.repeat(size))
    // The header in one piece: it is taken off at once.
    await client.write(bytes.subarray(0, bytes.length - size))
    await dribble(client, server, bytes.subarray(bytes.length - size))
    const answer = await client.nextFrame(patient)
    if (isServed) assert.equal(answer.payload.toString(), String(size))
    else assert.deepEqual(closeOf(answer), { code: 1008, reason: '' })
    client.destroy()
    await until(() => target.app.wsGuard.connections === 0, patient)
  }
  assert.deepEqual(
    target.logs.filter('ws.close').map(({ cause }) => cause),
    ['lost', 'rate_limited']
  )
})

test('R4: a bound of a guarded route is none of a plain websocket route, and the other way round', async (t) => {
  const target = await Target.start(t, {
    declare: (app) => {
      declareSizes(app)
      app.get('/plain', { websocket: true }, (socket) => {
        socket.on('message', (data) => socket.send(String(String(data).length)))
      })
    }
  })
  const plain = await target.open('/plain', { Origin: origin })
  const small = await target.open('/size-1')
  await plain.write(message(100_000, true))
  assert.equal((await plain.nextFrame(patient)).payload.toString(), '100000')
  await small.write(message(2, false))
  assert.equal((await closeFrameOf(small)).code, 1009)
})
