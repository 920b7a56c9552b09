/** Whatever ends a connection, of what came in the same chunk behind it nothing is dispatched (RFC 6455 section 5.5.1). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { CloseInfo, WsConnection } from '../../lib/connection/types.ts'
import { CloseError } from '../../lib/errors.ts'
import { origin } from '../support/app.ts'
import { type Frame, frame, jsonFrame, opcodes, textFrame } from '../support/frames.ts'
import { handshakeRequest } from '../support/http-message.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { Target, type TargetOptions, turns } from './harness.ts'

const patient = { timeoutMs: 10_000 }
const say = (text: string): Buffer => jsonFrame({ type: 'say', text })
/** In the chunk behind what ends the connection. */
const behind = [say('a'), jsonFrame({ type: 'ask', count: 1, ref: 1 }), frame({ opcode: opcodes.ping }), say('b')]

type Connection = Pick<WsConnection, 'id' | 'close' | 'socket'>

/** What code of the developer's does to end a connection. */
const deeds: Readonly<Record<string, (connection: Connection, app: FastifyInstance) => unknown>> = {
  'connection.close()': (connection) => connection.close(),
  'connection.close() with a code that may not be sent': (connection) => connection.close(1005),
  'a close of its socket': ({ socket }) => socket.close(4001),
  'a terminate of its socket': ({ socket }) => socket.terminate(),
  'disconnect()': ({ id }, app) => void app.wsGuard.disconnect({ id }),
  'revoke()': (_, app) => void app.wsGuard.revoke({ sub: 'alice' }),
  'block()': (_, app) => void app.wsGuard.block({ sub: 'alice' }, { untilMs: Date.now() + 60_000 })
}

/** Deeds that only a handler of a contract route has. */
const thrown: typeof deeds = {
  'a CloseError': () => {
    throw new CloseError(4002, 'enough')
  }
}

interface Seen {
  readonly target: Target
  /** What the handler, or the listener of a raw route, was given. */
  readonly texts: string[]
  readonly closes: CloseInfo[]
}

async function start(
  t: Parameters<typeof Target.start>[0],
  deed: (connection: Connection, app: FastifyInstance) => unknown,
  options: TargetOptions = {}
): Promise<Seen> {
  const texts: string[] = []
  const closes: CloseInfo[] = []
  const onMessage = (text: string, connection: Connection): unknown => {
    texts.push(text)
    return text === 'end' ? deed(connection, target.app) : undefined
  }
  const target = await Target.start(t, {
    ...options,
    route: {
      handlers: {
        say: ({ text }, connection) => void onMessage(text, connection),
        ask: () => {
          texts.push('ask')
          return { items: [] }
        }
      },
      onClose: (_, info) => void closes.push(info),
      ...options.route
    },
    declare: (app) =>
      app.wsRoute('/raw', {
        auth: { from: ['header'] },
        handler: (connection) => {
          connection.socket.on('message', (data) => void onMessage(JSON.parse(String(data)).text ?? 'ask', connection))
        },
        onClose: (_, info) => void closes.push(info)
      })
  })
  return { target, texts, closes }
}

/** A peer with manners: it answers a close frame, and hangs up when the server does. */
async function leave(client: RawClient): Promise<void> {
  await until(() => client.serverEnded || client.frames.some(({ opcode }) => opcode === opcodes.close), patient)
  await client.sendClose(1000)
  await client.serverEnd(patient)
  client.halfClose()
}

/** It is over, once, and nothing was answered behind the close frame. */
async function assertOver({ target, closes }: Seen, client: RawClient): Promise<void> {
  await leave(client)
  await until(() => closes.length > 0 && target.app.wsGuard.stats().slots === 0, patient)
  await turns(20)
  assert.equal(closes.length, 1)
  assert.equal(target.logs.filter('ws.close').length, 1)
  const at = client.frames.findIndex(({ opcode }) => opcode === opcodes.close)
  assert.ok(at === -1 || at === client.frames.length - 1)
  const answered = client.frames.filter(({ opcode }: Frame) => opcode !== opcodes.close && opcode !== opcodes.text)
  assert.deepEqual(answered, [])
}

for (const path of ['/echo', '/raw']) {
  for (const [name, deed] of Object.entries(path === '/raw' ? deeds : { ...deeds, ...thrown })) {
    test(`M2: behind ${name} nothing is dispatched in the same chunk (${path})`, async (t) => {
      const seen = await start(t, deed)
      const client = await seen.target.open(path)
      await client.write(Buffer.concat([say('good'), say('end'), ...behind]))
      await assertOver(seen, client)
      assert.deepEqual(seen.texts, ['good', 'end'])
    })
  }
}

const strike = jsonFrame({ type: 'nothing' })
const endings: Readonly<Record<string, readonly Buffer[]>> = {
  'what is no JSON': [textFrame('{bad')],
  'a poisoned key': [textFrame('{"__proto__":{}}')],
  'a binary frame': [frame({ opcode: opcodes.binary, payload: '{}' })],
  'a frame against the RFC': [frame({ rsv: 1 })],
  'a frame too big': [frame({ declaredLength: 65_537, lengthBits: 64 })],
  'the 65th fragment': [frame({ fin: false }), ...Array(64).fill(frame({ fin: false, opcode: opcodes.continuation }))],
  'the sixth strike': Array(6).fill(strike),
  'the 21st pong': Array(21).fill(frame({ opcode: opcodes.pong })),
  'a close frame': [frame({ opcode: opcodes.close })]
}

for (const [name, frames] of Object.entries(endings)) {
  test(`M2: behind ${name} nothing is dispatched in the same chunk`, async (t) => {
    const seen = await start(t, () => {})
    const client = await seen.target.open()
    await client.write(Buffer.concat([say('good'), ...frames, ...behind]))
    await assertOver(seen, client)
    assert.deepEqual(seen.texts, ['good'])
  })
}

test('M2, R3: behind a message above the burst nothing is dispatched in the same chunk, with onExceeded: close', async (t) => {
  const messages = { perSecond: 0.01, burst: 1, onExceeded: 'close' } as const
  const seen = await start(t, () => {}, { guard: { limits: { messages } } })
  const client = await seen.target.open()
  await client.write(Buffer.concat([say('good'), say('above'), ...behind]))
  await assertOver(seen, client)
  assert.deepEqual(seen.texts, ['good'])
})

test('M2: behind a first message that is not one of auth nothing is dispatched in the same chunk', async (t) => {
  const seen = await start(t, () => {}, { guard: { auth: { from: ['message'] } } })
  const client = await seen.target.open('/echo', { Origin: origin })
  await client.write(Buffer.concat([say('first'), ...behind]))
  await leave(client)
  await until(() => seen.target.app.wsGuard.stats().slots === 0, patient)
  assert.deepEqual({ texts: seen.texts, closes: seen.closes }, { texts: [], closes: [] })
})

for (const [name, onOpen] of [
  ['closes', (connection: Connection) => connection.close(4000)],
  ['throws', () => assert.fail('in onOpen')]
] as const) {
  test(`M1, M2: behind an onOpen that ${name} nothing of the handshake's chunk is dispatched`, async (t) => {
    const seen = await start(t, () => {}, { route: { onOpen } })
    const client = await seen.target.dial()
    await client.write(Buffer.concat([handshakeRequest({ path: '/echo', headers: seen.target.headers() }), ...behind]))
    assert.equal((await client.answer(patient)).statusCode, 101)
    await assertOver(seen, client)
    assert.deepEqual(seen.texts, [])
  })
}
