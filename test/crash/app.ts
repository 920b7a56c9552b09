/** The app of the child process: every place where code of a developer's runs can be armed. */
import { FormatRegistry, Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import wsGuard, { defineContract } from '../../lib/index.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { captureLogs, type LogCapture } from '../support/log-capture.ts'
import { at } from './armed.ts'
import { contract, origin } from './contract.ts'
import { armedStore } from './store.ts'

FormatRegistry.Set('crash', (value) => at('format', () => value.length > 0))

/** Timeouts of the routes on which something never settles. */
const hastyMs = 200
const hasty = { handshakeTimeoutMs: hastyMs, handlerTimeoutMs: hastyMs, closeTimeoutMs: hastyMs }

export interface Seen {
  /** How often `onClose` ran for each connection that `onOpen` ran for. */
  readonly closes: Map<string, number>
}

type Conn = import('../../lib/connection/types.ts').WsConnection<typeof contract, { sub: string }>
export type Action = (connection: Conn) => unknown

export interface CrashApp {
  readonly app: FastifyInstance
  readonly logs: LogCapture
  readonly seen: Seen
  /** What the message `act` and the hooks of `/act` do; set by a test. */
  readonly act: { action: (connection: Conn | undefined, where: string) => Promise<string> }
}

function hook(name: string): (request: FastifyRequest, reply: FastifyReply) => unknown {
  return (_request, _reply) => at(name, async () => {})
}

/** What every armed route has; `route` tells their places apart where it matters. */
function routeOptions(seen: Seen): object {
  const opened = ({ id }: Conn): void => void seen.closes.set(id, 0)
  return {
    authorize: () => at('authorize', () => true),
    data: () => at('data', () => ({ some: 'data' })),
    onClose: (connection: Conn) => {
      seen.closes.set(connection.id, (seen.closes.get(connection.id) ?? 0) + 1)
      return at('onClose', () => {})
    },
    onError: () => at('onError', () => {}),
    onRequest: hook('onRequest'),
    preParsing: (_request: unknown, _reply: unknown, payload: unknown) => at('preParsing', async () => payload),
    preValidation: [
      hook('preValidation'),
      async ({ headers }: FastifyRequest) => {
        if (headers['x-fail'] !== undefined) throw new Error('its own fault')
      }
    ],
    // The second of two runs where the promise of the first has settled.
    preHandler: [hook('preHandler'), hook('preHandler.second')],
    opened
  }
}

function handlersOf(app: FastifyInstance, act: CrashApp['act']): object {
  return {
    say: (message: { text: string }, connection: Conn) => {
      if (message.text === 'fail') throw new Error('its own fault')
      return at('handler', () => void connection.send('said', { text: message.text }))
    },
    ask: () => at('handler.reply', () => ({ text: 'x' })),
    locked: { authorize: () => at('handler.authorize', () => true), handler: () => {} },
    costly: { cost: 5, handler: () => {} },
    join: (_: unknown, connection: Conn) => connection.subscribe('topic'),
    send: ({ how }: { how: string }, connection: Conn) => sendAs(how, app, connection),
    guard: ({ what }: { what: string }) => callGuard(what, app),
    shaped: () => {},
    act: async ({ what }: { what: string }, connection: Conn) => ({ did: await act.action(connection, what) })
  }
}

/** Values whose reading runs code. */
function sendAs(how: string, app: FastifyInstance, connection: Conn): unknown {
  const getter = {
    get text() {
      return at('getter', () => 'x')
    }
  }
  const json = { text: { toJSON: () => at('toJSON', () => 'x') } }
  const value = how.endsWith('json') ? json : getter
  if (how.startsWith('reply')) return value
  if (how.startsWith('publish')) app.wsGuard.publish(contract, 'topic', 'said', value)
  else connection.send('said', value)
  return { text: 'sent' }
}

/** What ends in the store. */
function callGuard(what: string, app: FastifyInstance): unknown {
  const { wsGuard: guard } = app
  const calls: Readonly<Record<string, () => unknown>> = {
    disconnect: () => guard.disconnect({ sub: 'nobody' }),
    revoke: () => guard.revoke({ sub: 'nobody' }, { keepMs: 1 }),
    block: () => guard.block({ sub: 'nobody' }, { untilMs: Date.now() }),
    unblock: async () => {
      await guard.unblock({ sub: 'nobody' })
      return 'done'
    },
    putTicket: () => guard.issueTicket({ user: { sub: 'nobody' }, route: '/full', ttlMs: 1 }),
    sizes: () => guard.stats()
  }
  return calls[what]?.()
}

function serverOptions(logs: LogCapture): object {
  const serializers = {
    err: (error: unknown) => at('serializers.err', () => ({ message: String(Reflect.get(Object(error), 'message')) })),
    req: ({ method, url }: { method: string; url: string }) => at('serializers.req', () => ({ method, url }))
  }
  return {
    logger: { ...logs.logger, serializers },
    genReqId: () => at('genReqId', () => 'id'),
    rewriteUrl: ({ url }: { url: string }) => at('rewriteUrl', () => url),
    trustProxy: (address: string) => at('trustProxy', () => address === '127.0.0.1')
  }
}

function guardOptions(more: WsGuardOptions): WsGuardOptions {
  const verify = (token: string): { sub: string } => at('auth.verify', () => ({ sub: token }))
  return {
    origins: [origin],
    auth: {
      from: ['header', 'message', 'ticket'],
      verify,
      identity: (user) => at('auth.identity', () => ({ subject: (user as { sub: string }).sub }))
    },
    logSamplePerSecond: 10_000,
    limits: {
      attempts: {
        max: 1_000_000,
        keyGenerator: () => at('keyGenerator', () => 'one'),
        allowList: () => at('allowList', () => false)
      },
      userMessages: { perSecond: 10_000, burst: 10_000 }
    },
    ...more
  }
}

function addAppHooks(app: FastifyInstance): void {
  for (const name of ['onRequest', 'preValidation', 'preHandler', 'onResponse', 'onError'] as const) {
    app.addHook(name, (() => at(`app.${name}`, async () => {})) as never)
  }
  app.addHook('preParsing', ((_request: unknown, _reply: unknown, payload: unknown) =>
    at('app.preParsing', async () => payload)) as never)
  app.addHook('onSend', ((_request: unknown, _reply: unknown, payload: unknown) =>
    at('app.onSend', async () => payload)) as never)
  app.addHook('onRequestAbort', (() => at('app.onRequestAbort', async () => {})) as never)
  app.setErrorHandler((error) => at('setErrorHandler', () => error))
  app.setNotFoundHandler((_request, reply) => at('setNotFoundHandler', () => void reply.code(404).send('')))
}

export async function buildCrashApp(more: WsGuardOptions = {}): Promise<CrashApp> {
  const logs = captureLogs('info')
  const seen: Seen = { closes: new Map() }
  const act: CrashApp['act'] = { action: async () => 'nothing' }
  const app = Fastify(serverOptions(logs)) as unknown as FastifyInstance
  const websocket = {
    errorHandler: (_error: unknown, socket: { terminate(): void }) =>
      at('websocket.errorHandler', () => socket.terminate())
  }
  await app.register(wsGuard, guardOptions({ store: armedStore(), websocket: websocket as never, ...more }))
  addAppHooks(app)
  const { opened, ...shared } = routeOptions(seen) as { opened: (connection: Conn) => void }
  const onOpen = (connection: Conn): unknown => {
    opened(connection)
    return at('onOpen', () => {})
  }
  const full = {
    contract,
    ...shared,
    handlers: handlersOf(app, act),
    topics: () => at('topics', () => true),
    onOpen
  }
  const raw = {
    ...shared,
    handler: (connection: Conn) => {
      opened(connection)
      return at('rawHandler', () => {})
    }
  }
  const late = { auth: { messageTimeoutMs: hastyMs } }
  for (const [prefix, options] of [
    ['', {}],
    ['/hasty', { ...hasty, ...late }]
  ] as const) {
    app.wsRoute(`${prefix}/full`, { ...full, ...options } as never)
    app.wsRoute(`${prefix}/again`, { ...full, ...options, reauthorizeMs: 50 } as never)
    app.wsRoute(`${prefix}/raw`, { ...raw, ...options, auth: { from: ['header'] } } as never)
    app.wsRoute(`${prefix}/close`, { ...raw, ...options, auth: { from: ['header'] }, refuse: 'close' } as never)
  }
  addCalmRoute(app)
  app.route({
    method: 'GET',
    url: '/plain',
    handler: (_request, reply) => void reply.send(),
    wsHandler: () => {
      throw new Error('its own fault')
    }
  })
  addActingRoute(app, seen, act)
  app.wsRoute('/slow', {
    auth: { from: ['header'] },
    handler: () => {},
    preHandler: async () => {
      await new Promise((resolve) => setTimeout(resolve, hastyMs))
    }
  })
  return { app, logs, seen, act }
}

/** Of those who have nothing to do with it. */
function addCalmRoute(app: FastifyInstance): void {
  const calm = defineContract({
    name: 'calm',
    clientToServer: { say: Type.Object({ text: Type.String({ maxLength: 100 }) }) },
    serverToClient: { said: Type.Object({ text: Type.String() }) }
  })
  app.wsRoute('/calm', {
    contract: calm,
    limits: { userMessages: false },
    handlers: { say: ({ text }, connection) => void connection.send('said', { text }) }
  })
}

/** All that is called on a connection does `act`, and says where it is. */
function addActingRoute(app: FastifyInstance, seen: Seen, act: CrashApp['act']): void {
  app.wsRoute('/act', {
    contract,
    handlers: handlersOf(app, act) as never,
    authorize: async () => {
      await act.action(undefined, 'authorize')
      return true
    },
    onOpen: (connection) => {
      seen.closes.set(connection.id, 0)
      return act.action(connection as never, 'onOpen').then(() => {})
    },
    onClose: (connection) => {
      seen.closes.set(connection.id, (seen.closes.get(connection.id) ?? 0) + 1)
      return act.action(connection as never, 'onClose').then(() => {})
    }
  })
}
