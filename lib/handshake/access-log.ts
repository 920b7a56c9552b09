import type { IncomingMessage, Server } from 'node:http'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import { isObject } from '../messages/is-object.ts'
import { takeSecrets, takeSecretsOut } from './url-secrets.ts'

// Credentials are taken out of the URL of an upgrade before Fastify sees it. A plain request raises no `upgrade`: a
// client whose proxy dropped the header sends its token in one, to a route of ours or past it (threat P1).

/** pino's registered name for what its children inherit too; another logger has no such thing. */
const kSerializers: unique symbol = Symbol.for('pino.serializers')

type SerializeRequest = (this: unknown, request: Partial<FastifyRequest>) => Record<string, unknown>
type Serializing = FastifyBaseLogger & { readonly [kSerializers]?: { req?: SerializeRequest } }

/** The access line of a guarded route: Fastify's own fields, without the query. */
export const serializeRequest: SerializeRequest = (request) => {
  const { method, url, socket } = request
  return { method, url: pathOf(url), ...claimsOf(request), remotePort: socket?.remotePort }
}

/** What depends on the app's `trustProxy`, which may throw: that is no reason to leave the request unanswered. */
function claimsOf(request: Partial<FastifyRequest>): { host?: unknown; remoteAddress?: unknown } {
  try {
    const { host, ip } = request
    return { host, remoteAddress: ip }
  } catch {
    return {}
  }
}

/** Fastify writes the access line of an unknown path before any hook runs: its serializer leaves the names out. */
export function coverAccessLog(log: FastifyBaseLogger, names: ReadonlySet<string>): void {
  const serializers = (log as Serializing)[kSerializers]
  const serialize = serializers?.req
  if (serializers === undefined || serialize === undefined) return
  serializers.req = function (request: Partial<FastifyRequest> | null | undefined) {
    const shown = serialize.call(this, request as FastifyRequest)
    if (request?.is404 !== true || typeof shown?.url !== 'string') return shown
    return { ...shown, url: takeSecrets(shown.url, names).url }
  }
}

/**
 * What comes after the access line sees no credential either: hooks, Fastify's 404 body and its line. `names` are the
 * query parameters that some route reads a credential from; a guarded route refuses plain requests and needs no query.
 */
export function coverPlainRequest(request: FastifyRequest, isGuarded: boolean, names: ReadonlySet<string>): void {
  const raw: IncomingMessage & { originalUrl?: string } = request.raw
  // What `rewriteUrl` keeps.
  const { originalUrl } = raw
  if (isGuarded) {
    raw.url = pathOf(raw.url)
    if (originalUrl !== undefined) raw.originalUrl = pathOf(originalUrl)
    request.query = {}
  } else if (request.is404) {
    if (originalUrl !== undefined) raw.originalUrl = takeSecrets(originalUrl, names).url
    const { query } = request
    for (const name of takeSecretsOut(raw, names).keys()) if (isObject(query)) Reflect.deleteProperty(query, name)
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
