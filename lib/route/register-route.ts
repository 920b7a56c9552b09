import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { GuardedSocket } from '../connection/guarded-socket.ts'
import type { ConnectionSettings } from '../connection/types.ts'
import type { Contract } from '../contract.ts'
import { OptionError } from '../errors.ts'
import { accept } from '../handshake/accept.ts'
import { serializeRequest } from '../handshake/access-log.ts'
import type { AttemptLimits, AttemptsOptions } from '../handshake/attempts.ts'
import { type AuthSettings, createAuthenticator } from '../handshake/authenticate.ts'
import { ticketParam } from '../handshake/credentials.ts'
import type { Gate } from '../handshake/gate.ts'
import { compileOrigins, type OriginPolicy } from '../handshake/origin.ts'
import { makeErrorHandler } from '../handshake/refuse.ts'
import { standInFor } from '../handshake/request-stand-in.ts'
import type { HandshakeSettings } from '../handshake/settings.ts'
import { takesTickets } from '../handshake/tickets.ts'
import { guardedConfig } from '../handshake/upgrade.ts'
import type { Limits } from '../limits/limits.ts'
import { type CompiledContract, compileContract } from '../messages/compile-contract.ts'
import { isObject } from '../messages/is-object.ts'
import {
  checkDecisions,
  checkDelimiter,
  checkOwnVerifier,
  checkQueryNames,
  checkTickets,
  checkTogether,
  type QueryNames,
  queryNamesOf
} from './check-options.ts'
import { handlersOf, rawHandlerOf, withAuthMessage } from './handlers.ts'
import { guardedHandlers } from './plain-routes.ts'
import { type OptionValues, type RouteOptions, readOptions, resolveOptions } from './resolve-options.ts'

/** What a route shares with its plugin. */
export interface RouteContext {
  readonly gate: Gate
  readonly attempts: AttemptLimits
  readonly pluginValues: OptionValues
  readonly routes: HandshakeSettings[]
  /** Contracts by the developer's own object, and by name: two of one name would share topics. */
  readonly contracts: Map<Contract, CompiledContract>
  readonly queryNames: QueryNames
}

const hookNames = ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const
const fastifyNames = [...hookNames, 'config', 'constraints', 'logLevel', 'prefixTrailingSlash'] as const
const ownNames = [
  'contract',
  'handlers',
  'handler',
  'schema',
  'data',
  'topics',
  'onOpen',
  'onClose',
  'onError'
] as const
const foreignNames = new Set<string>([...fastifyNames, ...ownNames])

/** `app.wsRoute()`: one Fastify GET route whose handler takes the socket over. */
export function registerRoute(context: RouteContext, app: FastifyInstance, path: string, given: unknown): void {
  const where = `wsRoute('${app.prefix}${path}')`
  if (typeof path !== 'string' || !path.startsWith('/')) throw new OptionError(`${where}: the path must begin with "/"`)
  if (!isObject(given)) throw new OptionError(`${where}: the options must be an object`)
  const options: RouteOptions = readOptions(given, where)
  const settings = resolveRoute(context, app, path, options, where)
  checkTickets(context.routes, settings, where)
  const { gate } = context
  const wsHandler = (socket: GuardedSocket, request: FastifyRequest): void => accept(gate, socket, request)
  guardedHandlers.add(wsHandler)
  app.route({
    ...pick(options, fastifyNames),
    method: 'GET',
    url: path,
    exposeHeadRoute: false,
    // A copy: @fastify/websocket and Fastify write into it.
    schema: { ...(options.schema as object | undefined), hide: true } as object,
    // The app's own @fastify/rate-limit would count handshakes a second time; config.rateLimit asks for it.
    config: guardedConfig({ rateLimit: false, ...(options.config as object | undefined) }, settings),
    handlerTimeout: settings.handshakeTimeoutMs,
    errorHandler: makeErrorHandler(gate),
    // The answer says nothing of it; and where the app's own throws, behind an async hook, it would end the process.
    schemaErrorFormatter: () => new Error('params, querystring or headers do not match'),
    logSerializers: { req: serializeRequest },
    preHandler: [...listOf(options.preHandler), endIfBegun],
    // Never reached: onRequest answers a GET without an upgrade with 426.
    handler: (_: FastifyRequest, reply: FastifyReply) => reply.code(426).send(),
    wsHandler
  } as unknown as Parameters<FastifyInstance['route']>[0])
  context.routes.push(settings)
}

/** The last of all hooks: one before it may have begun an answer past Fastify, which no 101 can follow. */
function endIfBegun(request: FastifyRequest, reply: FastifyReply, done: () => void): void {
  if (!reply.raw.headersSent) return done()
  reply.hijack()
  request.raw.socket.destroy()
}

function listOf(hooks: unknown): unknown[] {
  if (hooks === undefined) return []
  return Array.isArray(hooks) ? hooks : [hooks]
}

function resolveRoute(
  context: RouteContext,
  app: FastifyInstance,
  path: string,
  options: RouteOptions,
  where: string
): HandshakeSettings {
  const values = resolveOptions(options, 'route', where, context.pluginValues, foreignNames)
  const isRaw = options.contract === undefined
  checkFunctions(options, where)
  checkTogether(values, where)
  checkDecisions(values, where, isRaw)
  checkOwnVerifier(options.auth, values, where)
  const auth = resolveAuth(context, app, values)
  checkQuery(context.queryNames, options.schema, auth, where)
  if (auth !== false) checkDelimiter(app, auth.from, where)
  const contract = isRaw ? undefined : contractOf(context, options.contract as Contract, where)
  const originPolicy = values.get<OriginPolicy>('origins')
  const authorize = values.get<HandshakeSettings['authorize']>('authorize')
  // The plugin's hosts are for its 'same-origin', which a route may replace by a list.
  const hosts = originPolicy === 'same-origin' ? values.get<readonly string[]>('hosts') : (options.hosts as undefined)
  const settings: HandshakeSettings = {
    ...connectionSettings(values, options, app, contract, where),
    path: app.prefix + path,
    originPolicy,
    hosts,
    origins: compileOrigins(originPolicy, hosts, `${where}: origins`),
    missingOrigin: values.get('missingOrigin'),
    requireTls: values.get('requireTls') ?? process.env.NODE_ENV === 'production',
    auth,
    authorize,
    makeData: options.data as HandshakeSettings['makeData'],
    protocols: values.get('protocols'),
    refuse: values.get('refuse'),
    handshakeTimeoutMs: values.get('handshakeTimeoutMs'),
    upgradeHeaders: values.get<Record<string, string> | undefined>('upgradeHeaders'),
    attempts: context.attempts.forRoute(values.group<AttemptsOptions>('limits.attempts')),
    session: {
      refresh: auth === false ? false : auth.refresh,
      verify: (token, connection) =>
        (auth as Exclude<HandshakeSettings['auth'], false>).authenticator.verify(token, standInFor(connection)),
      authorize: authorize && ((user, connection) => authorize(user, standInFor(connection, user)))
    }
  }
  return Object.freeze(settings)
}

function resolveAuth(context: RouteContext, app: FastifyInstance, values: OptionValues): HandshakeSettings['auth'] {
  if (values.get('auth') === false) return false
  const auth = values.group<AuthSettings>('auth')
  return { ...auth, authenticator: createAuthenticator(auth, app, context.gate.runtime.clock.wall) }
}

function checkQuery(names: QueryNames, schema: unknown, auth: HandshakeSettings['auth'], where: string): void {
  for (const name of queryNamesOf(schema)) names.declared.add(name)
  if (auth !== false && auth.from.includes('query')) {
    names.secret.add(auth.queryParam)
    names.used.add(auth.queryParam)
  }
  if (takesTickets({ auth })) names.used.add(ticketParam)
  checkQueryNames(names, where)
}

function connectionSettings(
  values: OptionValues,
  options: RouteOptions,
  app: FastifyInstance,
  contract: CompiledContract | undefined,
  where: string
): Omit<ConnectionSettings, 'path' | 'session'> {
  const limits = limitsOf(values)
  const hasAuth = values.get('auth') !== false
  return {
    contract: contract && hasAuth ? withAuthMessage(contract) : contract,
    handlers: contract === undefined ? new Map() : handlersOf(options, contract, limits, app, where),
    limits,
    heartbeat: values.group('heartbeat'),
    handlerTimeoutMs: values.get('handlerTimeoutMs'),
    closeTimeoutMs: values.get('closeTimeoutMs'),
    idleTimeoutMs: values.get('idleTimeoutMs'),
    maxLifetimeMs: values.get('maxLifetimeMs'),
    reauthorizeMs: values.get('reauthorizeMs'),
    topics: options.topics as ConnectionSettings['topics'],
    onOpen:
      contract === undefined ? rawHandlerOf(options, app, where) : (options.onOpen as ConnectionSettings['onOpen']),
    onClose: options.onClose as ConnectionSettings['onClose'],
    onError: options.onError as ConnectionSettings['onError'],
    log: options.logLevel === undefined ? app.log : app.log.child({}, { level: options.logLevel as string })
  }
}

function limitsOf(values: OptionValues): Limits {
  const limits: Limits = {
    maxPayloadBytes: values.get('limits.maxPayloadBytes'),
    messages: values.group('limits.messages'),
    userMessages: values.get('limits.userMessages'),
    bytes: values.group('limits.bytes'),
    fragments: values.group('limits.fragments'),
    controlFrames: values.group('limits.controlFrames'),
    json: values.group('limits.json'),
    strikes: values.group('limits.strikes'),
    queue: values.group('limits.queue'),
    sendBuffer: values.group('limits.sendBuffer'),
    topics: values.get('limits.topics'),
    connections: values.group('limits.connections')
  }
  return Object.freeze(limits)
}

function contractOf(context: RouteContext, contract: Contract, where: string): CompiledContract {
  const known = context.contracts.get(contract)
  if (known !== undefined) return known
  const compiled = compileContract(contract, where)
  if (contractNamed(context, compiled.name) !== undefined) {
    throw new OptionError(`${where}: another contract is named "${compiled.name}" too; topics go by name: rename one`)
  }
  context.contracts.set(contract, compiled)
  return compiled
}

export function contractNamed({ contracts }: RouteContext, name: string): CompiledContract | undefined {
  for (const contract of contracts.values()) if (contract.name === name) return contract
  return undefined
}

function checkFunctions(options: RouteOptions, where: string): void {
  for (const name of ['data', 'topics', 'onOpen', 'onClose', 'onError']) {
    const value = options[name]
    if (value !== undefined && typeof value !== 'function') {
      throw new OptionError(`${where}: option "${name}" must be a function`)
    }
  }
}

function pick(options: RouteOptions, names: readonly string[]): RouteOptions {
  return Object.fromEntries(names.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]))
}
