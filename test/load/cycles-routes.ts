/**
 * The apps of the leak harness: a route for each way to be refused or to end. What is no route's own point is as long
 * as it may be, so that a timer that is forgotten is still there when it is looked for.
 */
import jwt from '@fastify/jwt'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import wsGuard from '../../lib/index.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { origin, secret } from '../support/app.ts'
import { cycle, handlersFor, type User } from './cycles-deeds.ts'
import { CyclesStore, entriesMs } from './cycles-store.ts'
import { news, watchObjects } from './cycles-watch.ts'

/** All connections at once; more than the harness has open but when it fills the server up. */
export const maxTotal = 80
/** Of those that still have to say who they are, on `/late/few`. */
export const maxWaiting = 4
/** The time limits that a route is about. */
const shortMs = 100

/** Settles once the client has left. */
function left(request: FastifyRequest): Promise<void> {
  const { socket } = request.raw
  return new Promise((resolve) => {
    socket.once('close', () => resolve())
    news.emit(`asked ${request.headers['x-client']}`)
  })
}

const never = (): Promise<never> => new Promise(() => {})
const fail = (): never => {
  throw new Error('a hook of the app threw')
}

/** Yes when it is asked about a user for the first time. */
function isFirst(user: User): boolean {
  user.asked = (user.asked ?? 0) + 1
  return user.asked === 1
}

const guardOptions: WsGuardOptions = {
  origins: [origin],
  auth: {},
  handshakeTimeoutMs: 30_000,
  closeTimeoutMs: 20_000,
  shutdown: { timeoutMs: 1_000 },
  limits: {
    attempts: { max: 1_000_000, timeWindow: entriesMs },
    connections: { total: maxTotal, perIp: 1_000, perUser: 5, unauthenticated: 50 }
  }
}

async function build(guard: WsGuardOptions, beforeGuard: (app: FastifyInstance) => void): Promise<FastifyInstance> {
  // Logged as usual, to nowhere.
  const app = Fastify({ logger: { level: 'info', stream: { write() {} } } }) as unknown as FastifyInstance
  beforeGuard(app)
  await app.register(jwt, { secret })
  await app.register(wsGuard, { ...guard, store: new CyclesStore() })
  watchObjects(app)
  return app
}

type Options = Record<string, unknown>

/** Contract routes by path. */
const contractRoutes: Readonly<Record<string, Options>> = {
  '/ws': { onOpen: (connection: { subscribe(topic: string): unknown }) => connection.subscribe('everybody') },
  // Refused.
  '/tls': { requireTls: true },
  '/attempts': {
    limits: {
      attempts: {
        max: 1,
        timeWindow: entriesMs,
        keyGenerator: (request: FastifyRequest) => request.headers['x-client']
      }
    }
  },
  '/ip': { limits: { connections: { perIp: 1 } } },
  '/user': { limits: { connections: { perUser: 1 } } },
  '/forbidden': { authorize: () => false },
  '/params/:id': { schema: { params: Type.Object({ id: Type.Integer() }) } },
  '/hook': { preHandler: async () => fail() },
  '/verifier': { auth: { verify: () => fail() } },
  '/close': { refuse: 'close', authorize: () => false },
  '/ticket': { auth: { from: ['ticket'] } },
  // Left while a hook runs.
  '/left/onRequest': { onRequest: left },
  '/left/preValidation': { preValidation: left },
  '/left/authorize': { authorize: (_: User, request: FastifyRequest) => left(request).then(() => true) },
  '/left/verify': { auth: { verify: (_: string, request: FastifyRequest) => left(request) } },
  '/left/signal': { preHandler: (request: FastifyRequest) => left(request).then(() => void request.signal.aborted) },
  // Ended by time.
  '/idle': { idleTimeoutMs: shortMs },
  '/heartbeat': { heartbeat: { intervalMs: shortMs, timeoutMs: shortMs } },
  '/lifetime': { maxLifetimeMs: shortMs },
  '/expiry': {
    auth: {
      verify: (token: string) => ({ sub: token }),
      identity: ({ sub }: User) => ({ subject: sub, expiresAt: Date.now() + 5 * shortMs })
    }
  },
  '/again': { reauthorizeMs: shortMs, authorize: isFirst },
  '/handler': { handlerTimeoutMs: shortMs },
  '/closing': { closeTimeoutMs: shortMs },
  '/past': { closeTimeoutMs: shortMs },
  // Ended by what the app's own code does.
  '/open/throws': { onOpen: fail },
  '/open/rejects': { onOpen: async () => fail() },
  '/open/waits': {
    handlerTimeoutMs: shortMs,
    onOpen: ({ signal }: { signal: AbortSignal }) =>
      new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
  },
  '/closed/throws': { onClose: fail, onError: fail },
  '/closed/rejects': { onClose: async () => fail(), onError: async () => fail() },
  '/closed/slowly': { onClose: () => new Promise((resolve) => setTimeout(resolve, 20)) },
  // Ended by limits.
  '/rate/close': { limits: { messages: { perSecond: 1, burst: 2, onExceeded: 'close' } } },
  '/rate/error': { limits: { messages: { perSecond: 1, burst: 2 } } },
  '/rate/delay': {
    limits: {
      maxPayloadBytes: 1_000,
      messages: { perSecond: 1, burst: 2, onExceeded: 'delay' },
      bytes: { perSecond: 100_000, burst: 1_000 }
    }
  },
  '/rate/spell': { limits: { messages: { perSecond: 10, burst: 100 } } },
  '/rate/shared': { limits: { userMessages: { perSecond: 200, burst: 20 } } },
  '/queue': { limits: { queue: { messages: 4 } } },
  '/slow': { limits: { sendBuffer: { softBytes: 65_536, hardBytes: 500_000 } } },
  // Who says who they are in the first message.
  '/late': { auth: { from: ['message', 'header'] } },
  '/late/few': { auth: { from: ['message'] }, limits: { connections: { unauthenticated: maxWaiting } } },
  '/late/short': { auth: { from: ['message'], messageTimeoutMs: shortMs } },
  '/late/stuck': {
    auth: {
      from: ['message'],
      messageTimeoutMs: shortMs,
      verify: (_: string, { signal }: FastifyRequest) =>
        new Promise((resolve) => signal.addEventListener('abort', resolve))
    }
  },
  '/late/user': { auth: { from: ['message', 'header'] }, limits: { connections: { perUser: 1 } } },
  '/late/forbidden': { auth: { from: ['message'] }, authorize: () => false },
  '/late/data': { auth: { from: ['message'] }, data: fail }
}

export async function mainApp(): Promise<FastifyInstance> {
  const app = await build(guardOptions, () => {})
  const handlers = handlersFor(app) as never
  for (const [path, options] of Object.entries(contractRoutes)) {
    app.wsRoute(path, { contract: cycle, handlers, ...(options as object) })
  }
  app.wsRoute('/raw', { handler: (at) => void at.socket.on('message', () => at.close(4100, 'done')) })
  app.wsRoute('/raw/throws', { handler: () => fail() })
  app.get('/plain', { websocket: true }, (socket) => void socket.on('message', () => socket.close()))
  app.get('/http', () => 'http')
  return app
}

/** Short of time for a handshake: what hangs in it, also where no route of the guard's is, is ended by a deadline. */
export function hastyApp(): Promise<FastifyInstance> {
  return build({ ...guardOptions, handshakeTimeoutMs: shortMs }, (app) => {
    app.addHook('onRequest', async (request) => {
      if (request.url.startsWith('/nowhere')) await never()
    })
  }).then((app) => {
    app.wsRoute('/ws', { handler() {} })
    app.wsRoute('/stuck', { auth: { verify: never }, handler() {} })
    app.wsRoute('/stuck/data', { data: never, handler() {} })
    return app
  })
}
