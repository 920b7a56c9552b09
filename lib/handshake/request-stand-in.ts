import type { FastifyRequest } from 'fastify'
import type { Connection } from '../connection/connection.ts'

const prototypes = new WeakMap<object, object>()

/** Keeps what all requests of a route have in common: their decorators, such as `jwtVerify`. */
export function rememberRequest(settings: object, request: FastifyRequest): void {
  if (!prototypes.has(settings)) prototypes.set(settings, Object.getPrototypeOf(request))
}

/**
 * A request for code that runs after the 101 (the first message, refresh, `reauthorizeMs`): the real one was let go
 * with its headers and its body. It has `id`, `ip`, `params`, `query`, `log`, no headers, a `user` where there is one
 * to be asked about, and a `signal` that is aborted when the connection ends, so that a verifier stops asking for
 * somebody who has left. `log` and `signal` are the connection's own and are made when first touched.
 */
export function standInFor(connection: Connection, user: unknown = null): FastifyRequest {
  const { id, ip, params, query, settings } = connection
  const own = {
    id,
    ip,
    params,
    query,
    headers: {},
    user,
    get log() {
      return connection.log
    },
    get signal() {
      return connection.signal
    }
  }
  return Object.create(prototypes.get(settings) as object, Object.getOwnPropertyDescriptors(own)) as FastifyRequest
}
