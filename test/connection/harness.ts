/** Real connections over real sockets, without Fastify: a test sets the clock, the settings, the store and the session. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyRequest } from 'fastify'
import { WebSocketServer } from 'ws'
import { type CloseCodeName, type CloseCodes, closeCodes } from '../../lib/close-codes.ts'
import { Connection } from '../../lib/connection/connection.ts'
import { open } from '../../lib/connection/dispatch.ts'
import { drainConnections, type ShutdownOptions } from '../../lib/connection/drain.ts'
import { Events } from '../../lib/connection/events.ts'
import { boundSocket, GuardedSocket } from '../../lib/connection/guarded-socket.ts'
import { visit } from '../../lib/connection/heartbeat.ts'
import { closeLost, listen } from '../../lib/connection/inbound.ts'
import type { Admitted } from '../../lib/connection/parts.ts'
import { refresh } from '../../lib/connection/refresh.ts'
import { Registry } from '../../lib/connection/registry.ts'
import { createSendBuffers, type Runtime } from '../../lib/connection/runtime.ts'
import { type AdmitLate, expectAuth, startSession, type VerifyOutcome } from '../../lib/connection/session.ts'
import { Topics } from '../../lib/connection/topics.ts'
import type { CloseInfo, ConnectionSettings, Handler, WsConnection } from '../../lib/connection/types.ts'
import { defineContract } from '../../lib/contract.ts'
import type { Limits } from '../../lib/limits/limits.ts'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { Store } from '../../lib/limits/store.ts'
import { compileContract } from '../../lib/messages/compile-contract.ts'
import { withAuthMessage } from '../../lib/route/handlers.ts'
import { closeOf, type Frame, jsonFrame, opcodes } from '../support/frames.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { captureLogs, type LogCapture } from '../support/log-capture.ts'
import { connect, type RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'

export const contract = defineContract({
  name: 'house',
  clientToServer: {
    say: Type.Object({ text: Type.String({ maxLength: 100_000 }) }),
    ask: {
      message: Type.Object({ count: Type.Integer({ minimum: 0, maximum: 100 }) }),
      reply: Type.Object({ items: Type.Array(Type.String(), { maxItems: 100 }) })
    }
  },
  serverToClient: { said: Type.Object({ text: Type.String() }) }
})

/** A clock that stands until it is moved. Far from zero, as clocks are. */
export class FakeClock {
  ms = 1_000_000
  readonly now = (): number => this.ms
  readonly wall = (): number => 1_700_000_000_000 + this.ms
}

type Run = (message: Record<string, unknown>, connection: WsConnection) => unknown
type HandlerOptions = Run | (Partial<Omit<Handler, 'run'>> & { readonly run: Run })
type Settings = { -readonly [K in keyof ConnectionSettings]?: ConnectionSettings[K] }
type Deep<T> = { -readonly [K in keyof T]?: T[K] extends object ? Partial<T[K]> | Extract<T[K], false> : T[K] }

export interface GuardOptions extends Omit<Settings, 'limits' | 'handlers' | 'contract' | 'session'> {
  readonly limits?: Deep<Limits>
  readonly handlers?: Readonly<Record<string, HandlerOptions>>
  /** A raw route: `onOpen` is its handler. */
  readonly raw?: boolean
  readonly session?: Partial<ConnectionSettings['session']>
  readonly store?: Store
  readonly totalBufferedBytes?: number
  readonly closeCodes?: Partial<CloseCodes>
  readonly logSamplePerSecond?: number
  /** What the handshake hands over; a function is asked for each connection. */
  readonly admitted?: Partial<Admitted> | (() => Partial<Admitted>)
  /** Waits for an auth message. */
  readonly auth?: { readonly timeoutMs?: number; readonly admit?: AdmitLate }
  readonly contractName?: string
}

const defaultLimits: Limits = {
  maxPayloadBytes: 65_536,
  messages: { perSecond: 1000, burst: 1000, onExceeded: 'error' },
  userMessages: false,
  bytes: { perSecond: 10_000_000, burst: 10_000_000 },
  fragments: { perMessage: 64, bufferedChunks: 1024 },
  controlFrames: { perSecond: 5, burst: 20, pendingPongs: 16 },
  json: { depth: 32, keys: 1000 },
  strikes: { max: 5, windowMs: 60_000 },
  queue: { messages: 64, bytes: 262_144 },
  sendBuffer: { softBytes: 262_144, hardBytes: 1_048_576 },
  topics: 50,
  connections: { perIp: 50, perUser: 10, unauthenticated: 100 }
}

export interface Opened {
  readonly client: RawClient
  readonly connection: Connection
}

export class Guard {
  readonly clock: FakeClock = new FakeClock()
  readonly log: LogCapture = captureLogs()
  readonly closes: CloseInfo[] = []
  readonly errors: unknown[] = []
  readonly runtime: Runtime
  readonly settings: ConnectionSettings
  readonly #options: GuardOptions
  readonly #server: Server
  readonly #clients: RawClient[] = []
  readonly #made: Connection[] = []

  private constructor(options: GuardOptions) {
    this.#options = options
    const codes = Object.entries(closeCodes).map(([name, { code }]) => [name, code])
    const store = options.store ?? new MemoryStore({ now: this.clock.now, wall: this.clock.wall })
    this.runtime = {
      clock: this.clock,
      closeCodes: { ...(Object.fromEntries(codes) as Record<CloseCodeName, number>), ...options.closeCodes },
      events: new Events(options.logSamplePerSecond ?? 1000, this.clock.now),
      registry: new Registry(),
      topics: new Topics(store),
      store,
      sendBuffers: createSendBuffers(options.totalBufferedBytes ?? 268_435_456)
    }
    this.settings = this.#makeSettings()
    this.#server = createServer()
    const wss = new WebSocketServer({ noServer: true, WebSocket: GuardedSocket as never, perMessageDeflate: false })
    this.#server.on('upgrade', (request, socket, head) => {
      boundSocket(socket, this.settings.limits)
      wss.handleUpgrade(request, socket, head, (webSocket) => this.#accept(webSocket as GuardedSocket, socket))
    })
  }

  static async start(t: TestContext, options: GuardOptions = {}): Promise<Guard> {
    const guard = new Guard(options)
    await new Promise<void>((resolve) => guard.#server.listen(0, '127.0.0.1', resolve))
    t.after(() => guard.close())
    return guard
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Opens a connection; `behind` follows the handshake in the same segment. */
  async connect(behind: Buffer = Buffer.alloc(0)): Promise<Opened> {
    const client = await connect(this.port)
    this.#clients.push(client)
    const count = this.#made.length
    await client.write(Buffer.concat([handshakeRequest(), behind]))
    await client.answer()
    return { client, connection: await until(() => this.#made[count], { what: 'the connection' }) }
  }

  /** What time does to all connections, after the clock moved. */
  tick(ms = 0): void {
    this.clock.ms += ms
    for (const connection of [...this.runtime.registry.list]) visit(connection, this.clock.now())
  }

  drain(options: Partial<ShutdownOptions> = {}): Promise<void> {
    return drainConnections(this.runtime, { timeoutMs: 5000, spreadMs: 0, ...options })
  }

  /** What the node still holds; all zero when nothing leaked. */
  held(): Record<string, number> {
    const { registry, topics, sendBuffers } = this.runtime
    return { ...registry.sizes(), topics: topics.size, bufferedBytes: sendBuffers.countedBytes }
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.destroy()
    for (const { rawSocket } of this.#made) rawSocket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
    await until(() => this.runtime.registry.size === 0, { what: 'an empty registry' })
  }

  #accept(socket: GuardedSocket, rawSocket: Connection['rawSocket']): void {
    const { auth, admitted } = this.#options
    const connection = new Connection(socket, rawSocket, this.settings, this.runtime, {
      user: { name: 'alice' },
      identity: auth ? undefined : { subject: 'alice' },
      params: {},
      query: {},
      ip: '203.0.113.7',
      askedAt: this.clock.now(),
      data: undefined,
      ...(typeof admitted === 'function' ? admitted() : admitted)
    })
    listen(connection)
    rawSocket.once('close', () => closeLost(socket))
    this.runtime.registry.add(connection)
    const request = { url: '/' } as unknown as FastifyRequest
    startSession(connection, () => {
      if (auth) expectAuth(connection, request, auth.timeoutMs ?? 5000, auth.admit ?? (async () => undefined))
      else open(connection, request)
    })
    this.#made.push(connection)
  }

  #makeSettings(): ConnectionSettings {
    const { limits, handlers, raw, session, contractName, ...rest } = this.#options
    const merged = Object.entries(defaultLimits).map(([name, value]) => {
      const own = limits?.[name as keyof Limits] as unknown
      return [name, typeof own === 'object' ? { ...(value as object), ...own } : (own ?? value)]
    })
    const named = { ...contract, name: contractName ?? contract.name }
    return {
      path: '/house',
      contract: raw ? undefined : withAuthMessage(compileContract(named, '/house')),
      handlers: makeHandlers(handlers ?? {}),
      heartbeat: { intervalMs: 30_000, timeoutMs: 10_000 },
      handlerTimeoutMs: 10_000,
      closeTimeoutMs: 5_000,
      idleTimeoutMs: false,
      maxLifetimeMs: false,
      reauthorizeMs: false,
      topics: undefined,
      onOpen: undefined,
      onClose: (_, info) => void this.closes.push(info),
      onError: (error) => void this.errors.push(error),
      log: Fastify({ logger: this.log.logger }).log,
      ...rest,
      limits: Object.fromEntries(merged) as Limits,
      session: {
        verify: async () => ({ ok: false, cause: 'unauthorized', errorCode: 'TEST' }) as VerifyOutcome,
        authorize: () => true,
        refresh: { perMinute: 6 },
        ...session
      }
    }
  }
}

function makeHandlers(own: NonNullable<GuardOptions['handlers']>): ReadonlyMap<string, Handler> {
  const all: Record<string, HandlerOptions> = {
    say: ({ text }, connection) => void connection.send('said', { text } as never),
    ask: ({ count }) => ({ items: Array.from({ length: count as number }, (_, at) => String(at)) }),
    auth: (message, connection) => refresh(message, connection as Connection),
    ...own
  }
  return new Map(
    Object.entries(all).map(([type, given]) => {
      const options = typeof given === 'function' ? { run: given } : given
      return [type, { cost: 1, authorize: undefined, ...options }]
    })
  )
}

/** Frames of several messages, as one write. */
export function frames(...messages: unknown[]): Buffer {
  return Buffer.concat(messages.map(jsonFrame))
}

export function say(text: string, ref?: string | number): Record<string, unknown> {
  return ref === undefined ? { type: 'say', text } : { type: 'say', text, ref }
}

/** The code and reason the server closes with. */
export async function closeFrameOf(client: RawClient): Promise<{ code: number; reason: string }> {
  return closeOf(await client.nextFrame({ opcode: opcodes.close }))
}

/** All text frames that have arrived, parsed. */
export function texts(client: RawClient): Record<string, unknown>[] {
  return client.frames
    .filter(({ opcode }: Frame) => opcode === opcodes.text)
    .map(({ payload }) => JSON.parse(payload.toString()))
}

/** A promise and its way out. */
export function deferred<T = void>(): {
  promise: Promise<T>
  resolve: (value: T) => void
  reject: (error: unknown) => void
} {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

/** A round trip: what was sent before has been dealt with. */
export async function settled(client: RawClient, ref = 'settled'): Promise<void> {
  await client.sendJson({ type: 'ask', count: 0, ref })
  await until(() => texts(client).some((message) => message.type === 'reply' && message.ref === ref), {
    what: 'a reply'
  })
}
