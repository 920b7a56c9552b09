/** Frames on the wire, in any shape and order, against a reading of RFC 6455 and of the contract. */
import assert from 'node:assert/strict'
import { Type } from '@sinclair/typebox'
import { Ajv } from 'ajv'
import fc from 'fast-check'
import type { CloseInfo, WsConnection } from '../../lib/connection/types.ts'
import { defineContract } from '../../lib/index.ts'
import { closeFrame, closeOf, frame, opcodes } from '../support/frames.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { connect, type RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { type Campaign, campaign, part } from './campaign.ts'
import { bounds, type Stream, segmentsOf, stream } from './frame-bytes.ts'
import { isCodeOnTheWire, isUtf8 } from './frame-model.ts'
import { type Grounds, listen, patienceMs, unlimited } from './ground.ts'
import { isRef } from './json-model.ts'
import { type Checks, readSession, type Session } from './session-model.ts'

const wire = defineContract({
  name: 'wire',
  clientToServer: {
    say: Type.Object({ text: Type.String({ maxLength: 5_000 }) }),
    ask: {
      message: Type.Object({ count: Type.Integer({ minimum: 0, maximum: 3 }) }),
      reply: Type.Object({ items: Type.Array(Type.String(), { maxItems: 3 }) })
    },
    put: Type.Object({ value: Type.Unknown() })
  },
  serverToClient: { said: Type.Object({ text: Type.String() }) }
})

const text = { type: 'string', maxLength: 5_000 }
const count = { type: 'integer', minimum: 0, maximum: 3 }
const checks: Checks = new Map(
  Object.entries({ say: { text }, ask: { count }, put: { value: {} } }).map(([type, properties]) => {
    const check = new Ajv({ strict: false }).compile({
      type: 'object',
      properties: { type: { const: type }, ref: {}, ...properties },
      required: ['type', ...Object.keys(properties)],
      additionalProperties: false
    })
    return [
      type,
      (value) => check(value) && (!Object.hasOwn(value as object, 'ref') || isRef((value as { ref: unknown }).ref))
    ]
  })
)

/** What the server's own code saw of the connection of a case. */
interface Seen {
  readonly dispatched: unknown[]
  opened: number
  readonly closes: CloseInfo[]
}

type Kind = 'contract' | 'raw'
const ends = ['close', 'destroy', 'reset', 'halfClose'] as const

interface Case {
  readonly kind: Kind
  readonly sent: Stream
  /** The first segment comes with the handshake. */
  readonly early: boolean
  /** How the client leaves a connection that stays open. */
  readonly end: (typeof ends)[number]
}

const wireCase: fc.Arbitrary<Case> = fc.record({
  kind: fc.constantFrom<Kind>('contract', 'contract', 'raw'),
  sent: stream,
  early: fc.boolean(),
  end: fc.constantFrom(...ends)
})

const probe = Buffer.from('still there?')
const ping = frame({ opcode: opcodes.ping, payload: probe, mask: Buffer.alloc(4) })

export const frames: Campaign = campaign('frames', 6, async () => {
  let seen: Seen = { dispatched: [], opened: 0, closes: [] }
  const owners = new WeakMap<WsConnection, Seen>()
  const onOpen = (connection: WsConnection): void => {
    owners.set(connection, seen)
    seen.opened++
  }
  const onClose = (connection: WsConnection, info: CloseInfo): void => void owners.get(connection)?.closes.push(info)
  const take = (message: unknown, connection: WsConnection): void => {
    owners.get(connection)?.dispatched.push(structuredClone(message))
  }
  const { maxPayloadBytes, maxFragments, controlBurst, depth, keys, strikes } = bounds
  const limits = {
    ...unlimited,
    maxPayloadBytes,
    fragments: { perMessage: maxFragments },
    // Nothing to speak of comes back while a case runs.
    controlFrames: { perSecond: 0.001, burst: controlBurst },
    json: { depth, keys },
    strikes: { max: strikes }
  }
  const grounds = await listen((app) => {
    app.wsRoute('/contract', {
      contract: wire,
      limits,
      onOpen: onOpen as never,
      onClose: onClose as never,
      handlers: {
        say: (message, connection) => {
          take(message, connection as never)
          connection.send('said', { text: message.text })
        },
        ask: (message, connection) => {
          take(message, connection as never)
          return { items: Array.from({ length: message.count }, (_, at) => String(at)) }
        },
        put: (message, connection) => take(message, connection as never)
      }
    })
    app.wsRoute('/raw', {
      limits,
      onClose: onClose as never,
      handler: (connection) => {
        onOpen(connection as never)
        connection.socket.on('message', (data: Buffer, isBinary) =>
          take({ isBinary, data: data.toString('latin1') }, connection as never)
        )
      }
    })
  })
  const property = fc.asyncProperty(wireCase, async (one) => {
    seen = { dispatched: [], opened: 0, closes: [] }
    await runCase(grounds, one, seen)
    await grounds.bystanderAnswers()
  })
  return { parts: [part('any frames', 30, property)], end: grounds.end }
})

/** The stream, made whole: a frame that is cut off gets its rest, and a ping asks at the end. */
function complete({ kind, sent }: Case): { bytes: Buffer; session: Session } {
  let { bytes } = sent
  for (;;) {
    const session = readSession(bytes, kind, checks, bounds)
    if (session.end !== undefined || session.pongs.includes(probe.toString())) return { bytes, session }
    const more = session.missing > 0 ? Buffer.alloc(session.missing) : ping
    bytes = Buffer.concat([bytes, more])
  }
}

async function runCase({ port, assertIdle }: Grounds, one: Case, seen: Seen): Promise<void> {
  const { bytes, session } = complete(one)
  const client = await connect(port)
  try {
    await send(client, one, bytes)
    if (session.end === undefined) await pongOf(client)
    else await closeOrEnd(client)
    compare(client, session, seen)
    leave(client, session.end === undefined ? one.end : 'halfClose')
    await until(() => seen.closes.length > 0, { timeoutMs: patienceMs, what: 'onClose' })
  } finally {
    client.destroy()
  }
  await assertIdle()
  assert.deepEqual(seen.dispatched, session.dispatched, 'nothing is dispatched later')
  assert.equal(seen.opened, 1, 'onOpen')
  assert.equal(seen.closes.length, 1, 'onClose')
  if (session.end?.by === 'server')
    assert.ok(session.end.codes.includes(Number(seen.closes[0]?.code)), 'the code of onClose')
}

async function send(client: RawClient, { kind, sent, early }: Case, bytes: Buffer): Promise<void> {
  const [first = Buffer.alloc(0), ...rest] = segmentsOf(bytes, sent.cuts)
  const request = handshakeRequest({ path: `/${kind}` })
  await client.write(early ? Buffer.concat([request, first]) : request)
  assert.equal((await client.answer({ timeoutMs: patienceMs })).statusCode, 101)
  for (const segment of early ? rest : [first, ...rest]) await client.write(segment)
}

function pongOf(client: RawClient): Promise<unknown> {
  const isAnswer = (): boolean =>
    client.frames.some(({ opcode, payload }) => opcode === opcodes.pong && payload.equals(probe))
  return until(() => isAnswer() || client.serverEnded, { timeoutMs: patienceMs, what: 'the answer to a ping' })
}

function closeOrEnd(client: RawClient): Promise<unknown> {
  const isClose = (): boolean => client.frames.some(({ opcode }) => opcode === opcodes.close)
  return until(() => isClose() || client.serverEnded, { timeoutMs: patienceMs, what: 'the end' })
}

/** All of what the model says, in its order, and nothing else. */
function compare(client: RawClient, session: Session, seen: Seen): void {
  assert.deepEqual(seen.dispatched, session.dispatched, 'dispatched')
  const texts = client.frames
    .filter(({ opcode }) => opcode === opcodes.text)
    .map(({ payload }) => JSON.parse(String(payload)))
  assert.deepEqual(texts.map(essence), session.answers.map(essence), 'answers')
  const pongs = client.frames
    .filter(({ opcode }) => opcode === opcodes.pong)
    .map(({ payload }) => payload.toString('latin1'))
  // What ended the connection may have overtaken the last of them.
  assert.deepEqual(pongs, session.pongs.slice(0, session.end === undefined ? undefined : pongs.length), 'pongs')
  for (const { fin, rsv, masked, opcode } of client.frames) {
    assert.ok(fin && rsv === 0 && !masked && [1, 8, 9, 10].includes(opcode), 'frames that a server may send')
  }
  const closes = client.frames.filter(({ opcode }) => opcode === opcodes.close)
  if (session.end === undefined) return assert.equal(closes.length, 0, 'it stays open')
  assert.equal(closes.length, 1, 'one close frame')
  assert.equal(client.frames.at(-1), closes[0], 'nothing after the close frame')
  assertClose(closes[0] as (typeof closes)[0], session.end.codes)
}

function assertClose(last: RawClient['frames'][0], codes: readonly number[]): void {
  const { code } = closeOf(last)
  assert.ok(codes.includes(code), `closed with ${code}, not ${codes.join(' or ')}`)
  assert.ok(code === 1005 ? last.payload.length === 0 : isCodeOnTheWire(code), 'a code that may be sent')
  assert.ok(last.payload.length <= 125 && isUtf8(last.payload.subarray(2)), 'a reason that may be sent')
}

function essence(message: Record<string, unknown> | object): object {
  const { type, ref, code, text: said, data } = message as Record<string, unknown>
  return { type, ref, code, text: said, data }
}

function leave(client: RawClient, end: Case['end']): void {
  if (end === 'close') client.socket.end(closeFrame(1000))
  else client[end]()
}
