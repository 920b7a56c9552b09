/** Frames that are there before anybody is ready for them: sent before the 101, or while `onOpen` takes its time. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { closeFrameOf, Target, type TargetOptions, turns } from '../attack/harness.ts'
import { frame, jsonFrame, opcodes } from '../support/frames.ts'
import { handshakeRequest } from '../support/http-message.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { deferred, say } from './harness.ts'

const patient = { timeoutMs: 10_000 }
const much = { perSecond: 100_000, burst: 100_000 }

/** A handshake with frames behind it in the same segment. */
async function shakeHands(target: Target, behind: readonly Buffer[]): Promise<RawClient> {
  const client = await target.dial()
  await client.write(Buffer.concat([handshakeRequest({ path: '/echo', headers: target.headers() }), ...behind]))
  return client
}

function says(count: number): Buffer[] {
  return Array.from({ length: count }, (_, at) => jsonFrame(say(String(at))))
}

/** Notes what `say` is called with. */
function noting(seen: string[], route: TargetOptions['route'] = {}): NonNullable<TargetOptions['route']> {
  return { ...route, handlers: { say: ({ text }) => void seen.push(text), ask: () => ({ items: [] }) } }
}

test('M1: what is sent before the 101 and during an onOpen of 200 ms is served in order, when it is done', async (t) => {
  const seen: string[] = []
  const mayEnter = deferred()
  let entered = false
  const target = await Target.start(t, {
    route: noting(seen, {
      authorize: async () => {
        entered = true
        await mayEnter.promise
        return true
      },
      onOpen: async () => {
        await sleep(200)
        seen.push('open')
      }
    })
  })
  const client = await shakeHands(target, [jsonFrame(say('A'))])
  await until(() => entered, patient)
  await client.sendJson(say('B'))
  mayEnter.resolve()
  assert.equal((await client.answer(patient)).statusCode, 101)
  await client.sendJson(say('C'))
  await until(() => seen.length === 4, patient)
  assert.deepEqual(seen, ['open', 'A', 'B', 'C'])
})

test('M1, R3: messages sent before the 101 are counted like any other', async (t) => {
  const seen: string[] = []
  const target = await Target.start(t, {
    guard: { limits: { messages: { perSecond: 0.01, burst: 10 } } },
    route: noting(seen)
  })
  const client = await shakeHands(target, says(15))
  assert.equal((await client.answer(patient)).statusCode, 101)
  assert.equal((await client.nextJson<{ code: string }>(patient)).code, 'rate_limited')
  await turns(20)
  assert.deepEqual(
    seen,
    Array.from({ length: 10 }, (_, at) => String(at))
  )
})

test('M1, M11: what waits for onOpen is bounded as any queue is', async (t) => {
  const seen: string[] = []
  const opening = deferred()
  t.after(() => opening.resolve())
  const target = await Target.start(t, {
    guard: { limits: { messages: much } },
    route: noting(seen, { onOpen: () => opening.promise })
  })
  const client = await shakeHands(target, says(65))
  assert.deepEqual(await closeOfAnswered(client), { code: 1008, reason: 'overflow' })
  opening.resolve()
  await turns(20)
  assert.deepEqual(seen, [])
})

test('M1, R6, M9: control frames and binary ones sent before the 101 are counted and refused like any other', async (t) => {
  const target = await Target.start(t)
  const pongs = Array.from({ length: 21 }, () => frame({ opcode: opcodes.pong }))
  assert.deepEqual(await closeOfAnswered(await shakeHands(target, pongs)), { code: 1008, reason: 'rate_limited' })
  const binary = [frame({ opcode: opcodes.binary, payload: 'x' })]
  assert.deepEqual(await closeOfAnswered(await shakeHands(target, binary)), { code: 1003, reason: 'binary' })
})

test('M1: who sends without end before the 101 is not read: TCP pushes back until the handshake is over', async (t) => {
  const mayEnter = deferred<boolean>()
  let server: Socket | undefined
  const target = await Target.start(t, { route: { authorize: () => mayEnter.promise } })
  target.app.server.once('connection', (socket) => {
    server = socket
  })
  const client = await shakeHands(target, [])
  const chunk = Buffer.concat(says(4000))
  const sent = 200 * chunk.length
  for (let count = 0; count < 200; count++) client.socket.write(chunk)
  await until(() => server !== undefined && server.bytesRead > 0 && client.socket.writableLength < sent, patient)
  // Others go through a whole handshake meanwhile: there was time enough to read all of it.
  for (let count = 0; count < 5; count++) assert.equal(await target.knock('/nope'), 404)
  // What a stream of Node's holds, and a read that was under way.
  assert.ok((server as Socket).bytesRead <= 4 * 65_536, `${server?.bytesRead} bytes were read`)
  assert.ok(client.socket.writableLength > sent / 2, `${client.socket.writableLength} of ${sent} bytes wait`)
  mayEnter.resolve(false)
  assert.equal((await client.answer(patient)).statusCode, 403)
})

async function closeOfAnswered(client: RawClient): Promise<{ code: number; reason: string }> {
  assert.equal((await client.answer(patient)).statusCode, 101)
  return closeFrameOf(client, patient.timeoutMs)
}
