/**
 * A guarded server with a contract route and a raw one, and a client that sends bytes on a connection of its own and
 * looks at everything that can be seen of it: what was dispatched, what came back, how it ended, and what is left.
 */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import type { CloseCause } from '../../lib/close-codes.ts'
import type { CloseInfo, WsConnection } from '../../lib/connection/types.ts'
import { defineContract } from '../../lib/index.ts'
import { Target, turns } from '../attack/harness.ts'
import { closeFrame, closeOf, type Frame, frame, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { connectionsOf, eventually, until, within } from '../support/wait.ts'

export type Route = 'contract' | 'raw'
export const routes: readonly Route[] = ['contract', 'raw']

/** A machine may be slow; nothing here waits for time to pass. */
const patient = { timeoutMs: 10_000 }

const contract = defineContract({
  name: 'protocol',
  clientToServer: { say: Type.Object({ text: Type.String({ maxLength: 100_000 }) }) },
  serverToClient: { said: Type.Object({ text: Type.String() }) }
})

/** How a connection ends. */
export interface Ending {
  /** In the server's close frame: 1005 for one without a code, 1006 for no frame. */
  readonly code: number
  /** A token of ours: in the close frame, and told to onClose. */
  readonly reason?: string
  /** In the close frame, where it is another one. */
  readonly sent?: string
  readonly cause: CloseCause
}

export const protocolError: Ending = { code: 1002, cause: 'invalid_frame' }
export const notUtf8: Ending = { code: 1007, cause: 'invalid_frame' }
export const tooBig: Ending = { code: 1009, cause: 'too_big' }

export interface Case {
  readonly bytes: Buffer
  /** Of the pieces it is written in; the rest comes last. */
  readonly sizes?: readonly number[]
  /** What the handler sees of it. */
  readonly seen?: readonly string[]
  /** What the server answers before anything else: the payloads of its pongs, as latin1. */
  readonly pongs?: readonly string[]
  /** None: the connection stays open. */
  readonly ends?: Ending
}

const heads: Readonly<Record<Route, string>> = { contract: '{"type":"say","text":"', raw: '' }
const tails: Readonly<Record<Route, string>> = { contract: '"}', raw: '' }

/** The payload of a message that says `text`, which needs no escapes. */
export function payloadOf(route: Route, text: string | Buffer, { whole = true } = {}): Buffer {
  return Buffer.concat([Buffer.from(heads[route]), Buffer.from(text), Buffer.from(whole ? tails[route] : '')])
}

export function message(route: Route, text: string | Buffer): Buffer {
  return frame({ payload: payloadOf(route, text) })
}

/** A text whose message has a payload of exactly `size` bytes. */
export function textOf(route: Route, size: number): string {
  return 'x'.repeat(size - payloadOf(route, '').length)
}

/** One message in a frame for each piece. */
export function fragments(pieces: readonly (string | Buffer)[], opcode: number = opcodes.text): Buffer[] {
  const last = pieces.length - 1
  return pieces.map((payload, at) =>
    frame({ payload, fin: at === last, opcode: at === 0 ? opcode : opcodes.continuation })
  )
}

export function ping(payload: string | Buffer = ''): Buffer {
  return frame({ opcode: opcodes.ping, payload })
}

export function pong(payload: string | Buffer = ''): Buffer {
  return frame({ opcode: opcodes.pong, payload })
}

export class Bench {
  readonly target: Target
  readonly #seen: Map<string, string[]>
  readonly #closes: Map<string, CloseInfo[]>
  #bystander: RawClient | undefined
  #sizes: object | undefined
  #users = 0

  private constructor(target: Target, seen: Map<string, string[]>, closes: Map<string, CloseInfo[]>) {
    this.target = target
    this.#seen = seen
    this.#closes = closes
  }

  static async start(t: TestContext): Promise<Bench> {
    const much = { perSecond: 100_000_000, burst: 100_000_000 }
    // Of the bounds only those of frames are what this is about: they keep their defaults.
    const limits = { attempts: { max: 100_000 }, messages: much, bytes: much }
    const [seen, closes] = [new Map<string, string[]>(), new Map<string, CloseInfo[]>()]
    const target = await Target.start(t, { guard: { limits }, declare: (app) => declareRoutes(app, seen, closes) })
    return new Bench(target, seen, closes)
  }

  /** A user of its own, by which everything of this connection is found. */
  async open(route: Route): Promise<{ client: RawClient; sub: string }> {
    const sub = `user-${this.#users++}`
    return { client: await this.target.open(`/${route}`, this.target.headers(sub)), sub }
  }

  seenBy(sub: string): readonly string[] {
    return this.#seen.get(sub) ?? []
  }

  /** Sends the case, and checks all that can be seen of it. */
  async check(route: Route, one: Case): Promise<void> {
    // Before anybody else: what is there then is what must be left.
    this.#bystander ??= await this.target.open('/contract', this.target.headers('bystander'))
    this.#sizes ??= this.#held()
    const { client, sub } = await this.open(route)
    if (one.ends === undefined) await this.#staysOpen(route, client, sub, one)
    else await this.#ends(route, client, sub, one, one.ends)
    await this.#assertAlone(this.#bystander)
  }

  /** The one close, as onClose and the log tell it. */
  async assertClosed(sub: string, { code, cause, reason = '' }: Ending): Promise<void> {
    const info = { code, reason, cause }
    await until(() => this.#closes.has(sub), { ...patient, what: `the onClose of ${sub}` })
    await turns()
    assert.deepEqual(this.#closes.get(sub), [info])
    const lines = this.target.logs.filter('ws.close').filter((line) => line.sub === sub)
    const events = lines.map((line) => ({ code: line.code, reason: line.reason, cause: line.cause }))
    assert.deepEqual(events, [info])
  }

  async #ends(route: Route, client: RawClient, sub: string, one: Case, ends: Ending): Promise<void> {
    // What is behind it in the same segment is never looked at.
    await client.write(Buffer.concat([one.bytes, message(route, 'behind')]), one.sizes)
    await assertEndedByServer(client)
    await this.assertClosed(sub, ends)
    const { seen = [], pongs = [] } = one
    assert.deepEqual(this.seenBy(sub), seen)
    const closing = ends.code === 1006 ? [] : [{ code: ends.code, reason: ends.sent ?? ends.reason ?? '' }]
    assert.deepEqual(answersOf(client), { pongs: pongs.map(String), texts: seen.length, closing })
  }

  async #staysOpen(route: Route, client: RawClient, sub: string, one: Case): Promise<void> {
    const { bytes, sizes, seen = [], pongs = [] } = one
    await client.write(bytes, sizes)
    await client.write(message(route, 'settled'))
    await until(() => this.seenBy(sub).includes('settled'), { ...patient, what: 'the message behind it' })
    assert.deepEqual(this.seenBy(sub), [...seen, 'settled'])
    await client.write(closeFrame(1000))
    await assertEndedByServer(client)
    // Each message is answered, also the last.
    const closing = [{ code: 1000, reason: '' }]
    assert.deepEqual(answersOf(client), { pongs: pongs.map(String), texts: seen.length + 1, closing })
    await this.assertClosed(sub, { code: 1000, cause: 'client' })
  }

  /** Whatever was done to the others: the bystander is served, and nobody else is left. */
  async #assertAlone(bystander: RawClient): Promise<void> {
    const text = `still here ${this.#users}`
    await bystander.sendJson({ type: 'say', text })
    assert.deepEqual(await bystander.nextJson(patient), { type: 'said', text })
    await eventually(() => assert.deepEqual(this.#held(), this.#sizes), patient)
    assert.equal(this.target.app.websocketServer.clients.size, 1)
    await eventually(async () => assert.equal(await connectionsOf(this.target.app.server), 1), patient)
  }

  /** Handshakes that were counted are remembered for a minute. */
  #held(): object {
    const { 'store.attempts': _attempts, ...held } = this.target.app.wsGuard.stats()
    return held
  }
}

function declareRoutes(app: FastifyInstance, seen: Map<string, string[]>, closes: Map<string, CloseInfo[]>): void {
  const note = (connection: Pick<WsConnection, 'user'>, text: string): void => {
    const { sub } = connection.user as { sub: string }
    seen.set(sub, [...(seen.get(sub) ?? []), text])
  }
  const onClose = ({ user }: Pick<WsConnection, 'user'>, info: CloseInfo): void => {
    const { sub } = user as { sub: string }
    closes.set(sub, [...(closes.get(sub) ?? []), info])
  }
  app.wsRoute('/contract', {
    contract,
    handlers: {
      say({ text }, connection) {
        note(connection, text)
        connection.send('said', { text })
      }
    },
    onClose
  })
  app.wsRoute('/raw', {
    handler(connection) {
      connection.socket.on('message', (data: Buffer, isBinary) => {
        note(connection, data.toString())
        connection.socket.send(data, { binary: isBinary })
      })
    },
    onClose
  })
}

/** The server ends its side of its own accord; only then do we. */
async function assertEndedByServer(client: RawClient): Promise<void> {
  await client.serverEnd(patient)
  client.halfClose()
  await within(client.closed, patient)
}

interface Answers {
  readonly pongs: readonly string[]
  /** How many data frames. */
  readonly texts: number
  readonly closing: ReadonlyArray<{ readonly code: number; readonly reason: string }>
}

/** All that the server ever sent; its frames must be whole and unmasked, and nothing comes behind its close frame. */
function answersOf({ frames, unparsed }: RawClient): Answers {
  assert.equal(unparsed.length, 0)
  assert.ok(frames.every(({ fin, rsv, masked }) => fin && rsv === 0 && !masked))
  const of = (...kinds: number[]): Frame[] => frames.filter(({ opcode }) => kinds.includes(opcode))
  const closing = of(opcodes.close)
  if (closing.length > 0) assert.equal(frames.at(-1), closing[0])
  const answers = {
    pongs: of(opcodes.pong).map(({ payload }) => payload.toString('latin1')),
    texts: of(opcodes.text, opcodes.binary).length,
    closing: closing.map(closeOf)
  }
  assert.equal(answers.pongs.length + answers.texts + closing.length, frames.length)
  return answers
}
