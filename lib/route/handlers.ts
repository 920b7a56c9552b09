import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Connection } from '../connection/connection.ts'
import { refresh } from '../connection/refresh.ts'
import type { ConnectionSettings, Handler, WsConnection } from '../connection/types.ts'
import { OptionError } from '../errors.ts'
import type { Limits } from '../limits/limits.ts'
import type { CompiledContract, IncomingMessage } from '../messages/compile-contract.ts'
import type { RouteOptions } from './resolve-options.ts'

/** The `auth` message of the wire, which no contract declares: a new token in place of the old one. */
const authMessage: IncomingMessage = {
  type: 'auth',
  check: (value) => {
    const { token, ref: _ref, type: _type, ...others } = value as Record<string, unknown>
    return typeof token === 'string' && Object.keys(others).length === 0
  },
  details: () => [{ path: '/token', message: 'Expected { type: "auth", token: string }' }],
  encodeReply: undefined
}

/** The contract of a route with credentials: the wire's own message goes through the same checks and the same queue. */
export function withAuthMessage(contract: CompiledContract): CompiledContract {
  return { ...contract, incoming: new Map([...contract.incoming, [authMessage.type, authMessage]]) }
}

/** @throws OptionError when the handlers are not exactly those of the contract */
export function handlersOf(
  options: RouteOptions,
  contract: CompiledContract,
  limits: Limits,
  app: FastifyInstance,
  where: string
): ReadonlyMap<string, Handler> {
  const given = (options.handlers ?? {}) as Readonly<Record<string, unknown>>
  if (options.handler !== undefined) {
    throw new OptionError(`${where}: a route has "contract" and "handlers", or "handler" alone`)
  }
  for (const type of Object.keys(given)) {
    if (!contract.incoming.has(type)) {
      throw new OptionError(`${where}: handlers.${type}: the contract has no such message`)
    }
  }
  const handlers = new Map<string, Handler>()
  for (const type of contract.incoming.keys()) {
    handlers.set(
      type,
      handlerOf(Object.hasOwn(given, type) ? given[type] : undefined, `${where}: handlers.${type}`, limits, app)
    )
  }
  handlers.set('auth', { cost: 1, authorize: undefined, run: (message, open) => refresh(message, open as Connection) })
  return handlers
}

function handlerOf(given: unknown, where: string, limits: Limits, app: FastifyInstance): Handler {
  const {
    handler,
    cost = 1,
    authorize,
    ...others
  } = (typeof given === 'function' ? { handler: given } : (given ?? {})) as {
    handler?: unknown
    cost?: unknown
    authorize?: unknown
  }
  if (typeof handler !== 'function') {
    throw new OptionError(`${where} must be a function, or { cost?, authorize?, handler }`)
  }
  for (const name of Object.keys(others)) throw new OptionError(`${where}: there is no "${name}"`)
  if (authorize !== undefined && typeof authorize !== 'function') {
    throw new OptionError(`${where}.authorize must be a function`)
  }
  if (!Number.isInteger(cost) || (cost as number) < 1 || (cost as number) > limits.messages.burst) {
    throw new OptionError(`${where}.cost must be an integer from 1 to limits.messages.burst (${limits.messages.burst})`)
  }
  return {
    cost: cost as number,
    authorize: authorize as Handler['authorize'],
    run: handler.bind(app) as Handler['run']
  }
}

export function rawHandlerOf(options: RouteOptions, app: FastifyInstance, where: string): ConnectionSettings['onOpen'] {
  const { handler } = options
  if (typeof handler !== 'function') {
    throw new OptionError(
      `${where}: a route needs a "contract" with "handlers", or a "handler" for a protocol of its own`
    )
  }
  for (const name of ['handlers', 'topics', 'onOpen']) {
    if (options[name] !== undefined) throw new OptionError(`${where}: "${name}" is for routes with a "contract"`)
  }
  return (connection: WsConnection, request: FastifyRequest) => handler.call(app, connection, request)
}
