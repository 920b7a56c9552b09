/** What the websocket routes that the app declares without us keep: the ways of @fastify/websocket (threat L3). */
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import { OptionError } from '../errors.ts'
import { plainConfig, settingsOf } from '../handshake/upgrade.ts'
import type { WsGuardOptions } from './options.ts'

/** What guarded routes hand to @fastify/websocket: it tells them from plain ones also without their config. */
export const guardedHandlers: WeakSet<object> = new WeakSet()

/** An `onRoute` hook that tells plain websocket routes from guarded ones, which have only a `wsHandler` too. */
export function markPlainRoute(route: RouteOptions): void {
  const { websocket, wsHandler, config } = route as { websocket?: boolean; wsHandler?: object; config?: object }
  if (wsHandler !== undefined && guardedHandlers.has(wsHandler) && !isGuarded(config)) {
    throw new OptionError(
      `wsRoute('${route.url}'): an "onRoute" hook has put something else in place of the route's config: add to it instead`
    )
  }
  if (websocket === true || (wsHandler !== undefined && !isGuarded(config))) {
    route.config = plainConfig(config) as never
  }
}

function isGuarded(config: object | undefined): boolean {
  return settingsOf({ routeOptions: { config } } as unknown as FastifyRequest) !== undefined
}

type ErrorHandler = NonNullable<NonNullable<WsGuardOptions['websocket']>['errorHandler']>

/** The app's own handler, or else what @fastify/websocket does. What a guarded route throws never comes here. */
export function plainErrorHandler(own: ErrorHandler | undefined): ErrorHandler {
  return (
    own ??
    ((error, socket, request) => {
      request.log.error(error)
      socket.terminate()
    })
  )
}

/**
 * `app.injectWS` of @fastify/websocket makes a request out of little: what Node's parser would have put there, and the
 * guard looks at, is added.
 */
export function completeInjectWS(inject: FastifyInstance['injectWS']): FastifyInstance['injectWS'] {
  return (path, context = {}, options) => {
    const parsed = { httpVersionMajor: 1, httpVersionMinor: 1, rawHeaders: [], socket: { remoteAddress: '127.0.0.1' } }
    const headers = { host: 'localhost', ...context.headers }
    return inject(path, { ...parsed, ...context, headers } as unknown as typeof context, options)
  }
}
