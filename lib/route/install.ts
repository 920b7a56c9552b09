import type { IncomingMessage, Server } from 'node:http'
import websocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import type { WebSocketServer } from 'ws'
import { type CloseCodeName, type CloseCodes, closeCodePresets, closeCodes } from '../close-codes.ts'
import { drainConnections, type ShutdownOptions } from '../connection/drain.ts'
import { Events } from '../connection/events.ts'
import { GuardedSocket } from '../connection/guarded-socket.ts'
import { Heartbeat } from '../connection/heartbeat.ts'
import { Registry } from '../connection/registry.ts'
import { createSendBuffers, type Runtime, systemClock } from '../connection/runtime.ts'
import { Topics } from '../connection/topics.ts'
import { OptionError } from '../errors.ts'
import { coverAccessLog, coverClientErrors } from '../handshake/access-log.ts'
import { Admission } from '../handshake/admission.ts'
import { AttemptLimits, type AttemptsOptions } from '../handshake/attempts.ts'
import { ticketParam } from '../handshake/credentials.ts'
import type { Gate } from '../handshake/gate.ts'
import { compileOrigins, type OriginPolicy } from '../handshake/origin.ts'
import { addHandshakeHooks } from '../handshake/pipeline.ts'
import { furtherServers, ServerSockets } from '../handshake/server-sockets.ts'
import { checkTransport, slowClientsWarning } from '../handshake/transport.ts'
import { upgradeOf } from '../handshake/upgrade.ts'
import { takeOverUpgrades, UpgradeGuard } from '../handshake/upgrade-guard.ts'
import { headerLines, upgradeHeadersFor } from '../handshake/upgrade-headers.ts'
import { MemoryStore } from '../limits/memory-store.ts'
import type { Store } from '../limits/store.ts'
import { checkOwnVerifier, checkTogether, type QueryNames } from './check-options.ts'
import { listenToStore } from './listen-to-store.ts'
import type { WsGuardOptions } from './options.ts'
import { completeInjectWS, markPlainRoute, plainErrorHandler } from './plain-routes.ts'
import { type RouteContext, registerRoute } from './register-route.ts'
import { type OptionValues, readOptions, resolveOptions } from './resolve-options.ts'
import { createWsGuard } from './ws-guard.ts'

const where = 'register(wsGuard)'
/** The upgrade guard waits this much longer than the slowest route: Fastify's own answer should come first. */
const deadlineSlackMs = 1_000
/** A longer timer of node's would fire at once. */
const maxTimerMs = 2 ** 31 - 1

/** What the plugin builds before anything listens. */
interface Parts {
  readonly values: OptionValues
  readonly runtime: Runtime
  readonly heartbeat: Heartbeat
  readonly shutdown: Shutdown
  readonly sockets: ServerSockets
  readonly admission: Admission
  readonly queryNames: QueryNames
  readonly routes: RouteContext['routes']
}

/** Whether the app is closing, and how far the drain is. */
class Shutdown {
  drained: Promise<unknown> | undefined

  get hasBegun(): boolean {
    return this.drained !== undefined
  }
}

/** Registers @fastify/websocket hardened, and builds what the routes share. */
export async function install(app: FastifyInstance, options: WsGuardOptions): Promise<void> {
  checkPlace(app)
  const parts = makeParts(options)
  const { values, runtime } = parts
  checkTransport(app, values.get('allowUnsafeTrustProxy'))
  const guard = await takeUpgrades(app, parts)
  const attempts = await AttemptLimits.create(runtime.store)
  const gate: Gate = {
    runtime,
    admission: parts.admission,
    websocketServer: app.websocketServer as WebSocketServer,
    attempts: attempts.forRoute(values.group<AttemptsOptions>('limits.attempts')),
    queryCredentials: parts.queryNames.used,
    upgradeHeaders: values.get('upgradeHeaders'),
    isDraining: () => parts.shutdown.hasBegun
  }
  coverAccessLog(app.log, gate.queryCredentials)
  coverClientErrors(app.server as Server)
  addHandshakeHooks(app, gate)
  const context: RouteContext = {
    gate,
    attempts,
    pluginValues: values,
    routes: parts.routes,
    contracts: new Map(),
    queryNames: parts.queryNames
  }
  app.decorate('wsRoute', function (this: FastifyInstance, path: string, route: unknown) {
    registerRoute(context, this, path, route)
    return this
  } as FastifyInstance['wsRoute'])
  app.decorate('wsGuard', createWsGuard(context, guard))
  await runtime.store.open(listenToStore(app, context))
  app.addHook('onReady', async () => checkReady(app, context, guard))
  app.addHook('onClose', async () => {
    await parts.shutdown.drained
    parts.heartbeat.stop()
    await attempts.close()
  })
}

/** Once, at the root, before @fastify/websocket (threat L3). */
function checkPlace(app: FastifyInstance): void {
  if (app.hasDecorator('wsGuard')) throw new OptionError('it is registered twice: register it once, at the root')
  if (app.hasDecorator('websocketServer')) {
    throw new OptionError(
      'remove @fastify/websocket, fastify-ws-guard registers it; plain websocket routes keep working, and its errorHandler goes into option "websocket"'
    )
  }
  // Children inherit from the root, which inherits from nothing.
  if (Object.getPrototypeOf(app) !== Object.prototype) {
    throw new OptionError('register it at the root instance: it guards the upgrades of the whole server')
  }
}

function makeParts(given: WsGuardOptions): Parts {
  const options = readOptions(given, where)
  const values = resolveOptions(options, 'plugin', where)
  checkTogether(values, where)
  checkOwnVerifier(options.auth, values, where)
  const origins = values.get<OriginPolicy | undefined>('origins')
  if (origins !== undefined) compileOrigins(origins, values.get('hosts'), `${where}: origins`)
  const store = values.get<Store | undefined>('store') ?? new MemoryStore()
  const runtime: Runtime = {
    clock: systemClock,
    closeCodes: closeCodesOf(values.get('closeCodes')),
    events: new Events(values.get('logSamplePerSecond'), systemClock.now),
    registry: new Registry(),
    topics: new Topics(store),
    store,
    sendBuffers: createSendBuffers(values.get('limits.totalBufferedBytes'))
  }
  return {
    values,
    runtime,
    heartbeat: new Heartbeat(runtime),
    shutdown: new Shutdown(),
    sockets: new ServerSockets(),
    admission: new Admission(store, values.get('limits.connections.total')),
    queryNames: {
      secret: new Set([values.get<string>('auth.queryParam'), ticketParam]),
      used: new Set(),
      declared: new Set()
    },
    routes: []
  }
}

function closeCodesOf(option: WsGuardOptions['closeCodes']): CloseCodes {
  const own = typeof option === 'string' ? closeCodePresets[option] : option
  const defaults = Object.entries(closeCodes).map(([name, { code }]) => [name, code])
  return Object.freeze({ ...(Object.fromEntries(defaults) as Record<CloseCodeName, number>), ...own })
}

/** Registers @fastify/websocket and puts the guard where its upgrade listener was. */
async function takeUpgrades(app: FastifyInstance, parts: Parts): Promise<UpgradeGuard> {
  const { runtime, values, shutdown, routes } = parts
  const server = app.server as Server
  const before = server.listeners('upgrade')
  app.addHook('onRoute', markPlainRoute)
  await app.register(websocket, {
    errorHandler: plainErrorHandler(values.get('websocket.errorHandler')),
    preClose: (done: () => void) => beginShutdown(app, parts, done),
    options: { WebSocket: GuardedSocket as never, handleProtocols }
  })
  const guard = new UpgradeGuard({
    next: takeOverUpgrades(server, before),
    events: runtime.events,
    log: app.log,
    secretNames: parts.queryNames.secret,
    deadlineMs: () => {
      const longest = Math.max(values.get('handshakeTimeoutMs'), ...routes.map((route) => route.handshakeTimeoutMs))
      return Math.min(longest + deadlineSlackMs, maxTimerMs)
    },
    isDraining: () => shutdown.hasBegun,
    sockets: parts.sockets,
    release: (held) => parts.admission.release(held),
    headerLines: (isSecure) => headerLines(upgradeHeadersFor(values.get('upgradeHeaders'), isSecure))
  })
  server.prependListener('upgrade', guard.listener)
  parts.sockets.watch(app)
  app.injectWS = completeInjectWS(app.injectWS)
  app.websocketServer.on('connection', (_, request: IncomingMessage) => guard.accepted(request))
  app.websocketServer.on('headers', (headers: string[], request: IncomingMessage) => {
    headers.push(...headerLines(upgradeOf(request)?.headers ?? {}))
  })
  if (!('maxPendingAutoPongs' in app.websocketServer.options)) {
    throw new OptionError(
      'ws is older than 8.23, which leaves out a fix: update it (npm ls ws shows who holds it back)'
    )
  }
  return guard
}

/** Ours answer with the protocol the handshake chose, others as ws does: with the first one offered. */
function handleProtocols(offered: Set<string>, request: IncomingMessage): string | false {
  const upgrade = upgradeOf(request)
  if (upgrade?.settings !== undefined) return upgrade.protocol === '' ? false : upgrade.protocol
  // ws asks only when something is offered.
  return offered.values().next().value as string
}

/**
 * Only starts the drain: a preClose hook longer than `pluginTimeout` would make `app.close()` reject. Fastify stops
 * the listener next and waits for the sockets, so the app's own onClose hooks run after ours are gone.
 */
function beginShutdown(app: FastifyInstance, parts: Parts, done: () => void): void {
  const { runtime, values, shutdown, sockets } = parts
  const options = values.group<ShutdownOptions>('shutdown')
  runtime.events.emit('ws.drain', app.log, { connections: runtime.registry.size })
  shutdown.drained = Promise.all([drainConnections(runtime, options), sockets.drain(app, options.timeoutMs)])
  holdClose(app, shutdown.drained)
  for (const socket of app.websocketServer.clients) {
    if ((socket as GuardedSocket).connection === undefined) socket.close()
  }
  done()
}

/**
 * Fastify's next step stops the listener and waits for the sockets; its callback is where the app's own onClose hooks
 * begin. A handler or an `onClose` may outlive its socket: it is waited for too, and so are the sockets of the further
 * servers of `localhost`, which Fastify would only close afterwards.
 */
function holdClose(app: FastifyInstance, drained: Promise<unknown>): void {
  const { server } = app
  const close = server.close.bind(server)
  server.close = (callback) => {
    for (const further of furtherServers(app)) further.close()
    return close(callback && ((error) => void drained.then(() => callback(error))))
  }
}

/** What can only be known once all plugins are there. */
function checkReady(app: FastifyInstance, context: RouteContext, guard: UpgradeGuard): void {
  const listeners = app.server.listeners('upgrade')
  if (listeners.length !== 1 || listeners[0] !== guard.listener) {
    throw new OptionError('another "upgrade" listener is on the server: it would fight over every socket; remove it')
  }
  for (const { auth, path } of context.routes) {
    if (auth === false) continue
    auth.authenticator.prepare()
    if (auth.from.includes('cookie') && !app.hasRequestDecorator('cookies')) {
      throw new OptionError(`wsRoute('${path}'): option "auth.from" has 'cookie': register @fastify/cookie`)
    }
  }
  const warning = slowClientsWarning(
    app,
    context.routes.some(({ requireTls }) => requireTls)
  )
  if (warning !== undefined) app.log.warn(warning)
}
