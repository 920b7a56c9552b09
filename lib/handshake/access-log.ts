import type { Server } from 'node:http'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { takeSecrets, takeSecretsOut } from './url-secrets.ts'

// Credentials are taken out of the URL of an upgrade before Fastify sees it. A plain request raises no `upgrade`: a
// client whose proxy dropped the header sends its token in one, to a route of ours or past it (threat P1).

/** pino's registered name for what its children inherit too; another logger has no such thing. */
const kSerializers: unique symbol = Symbol.for('pino.serializers')

type SerializeRequest = (request: Partial<FastifyRequest>) => Record<string, unknown>
type Serializing = FastifyBaseLogger & { readonly [kSerializers]?: { req?: SerializeRequest } }

/** The access line of a guarded route: Fastify's own fields, without the query. */
export const serializeRequest: SerializeRequest = ({ method, url, ip, socket, host }) => {
  return { method, url: pathOf(url), host, remoteAddress: ip, remotePort: socket?.remotePort }
}

/** Fastify writes the access line of an unknown path before any hook runs: its serializer leaves the names out. */
export function coverAccessLog(log: FastifyBaseLogger, names: ReadonlySet<string>): void {
  const serializers = (log as Serializing)[kSerializers]
  const serialize = serializers?.req
  if (serializers === undefined || serialize === undefined) return
  serializers.req = (request) => {
    const shown = serialize(request)
    if (request.is404 !== true || typeof shown?.url !== 'string') return shown
    return { ...shown, url: takeSecrets(shown.url, names).url }
  }
}

/**
 * What comes after the access line sees no credential either: hooks, Fastify's 404 body and its line. `names` are the
 * query parameters that some route reads a credential from; a guarded route refuses plain requests and needs no query.
 */
export function coverPlainRequest(request: FastifyRequest, isGuarded: boolean, names: ReadonlySet<string>): void {
  if (isGuarded) {
    request.raw.url = pathOf(request.raw.url)
    request.query = {}
  } else if (request.is404) {
    for (const name of takeSecretsOut(request.raw, names).keys()) {
      delete (request.query as Record<string, unknown>)[name]
    }
  }
}

/**
 * node keeps the bytes of a request that it cannot parse on the error, and Fastify logs the error whole at level trace:
 * a handshake with one bad header would have its token there. Whoever handles the error himself still finds them.
 */
export function coverClientErrors(server: Server): void {
  server.prependListener('clientError', (error: Error & { rawPacket?: unknown }) => {
    if (error.rawPacket !== undefined) Object.defineProperty(error, 'rawPacket', { enumerable: false })
  })
}

function pathOf(url = ''): string {
  return url.split('?', 1)[0] as string
}
