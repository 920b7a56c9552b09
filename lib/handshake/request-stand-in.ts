import type { FastifyRequest } from 'fastify'
import type { Connection } from '../connection/connection.ts'

const prototypes = new WeakMap<object, object>()

/** Keeps what all requests of a route have in common: their decorators, such as `jwtVerify`. */
export function rememberRequest(settings: object, request: FastifyRequest): void {
  if (!prototypes.has(settings)) prototypes.set(settings, Object.getPrototypeOf(request))
}

/**
 * A request for code that runs long after the handshake (refresh, `reauthorizeMs`): the real one was let go with its
 * headers and its body. It has `id`, `ip`, `params`, `query`, `log`, and no headers.
 */
export function standInFor(connection: Connection): FastifyRequest {
  const { id, ip, params, query, log, settings } = connection
  const own = { id, ip, params, query, log, headers: {}, user: null }
  return Object.create(prototypes.get(settings) as object, Object.getOwnPropertyDescriptors(own)) as FastifyRequest
}
