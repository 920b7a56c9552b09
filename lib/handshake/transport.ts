import type { FastifyInstance } from 'fastify'
import { OptionError } from '../errors.ts'

/**
 * True when the client came over TLS (threat T1): Fastify's `request.protocol` is https on an encrypted socket, or when
 * a proxy that `trustProxy` names says so. A trusted proxy's `X-Forwarded-Proto: http` counts although its own hop is
 * encrypted: the client's was not. Traefik, for one, reports an upgrade over TLS as wss.
 */
export function isSecure(request: { readonly protocol: string }): boolean {
  try {
    const { protocol } = request
    return protocol === 'https' || protocol === 'wss'
  } catch {
    // A `trustProxy` of the app's own that throws trusts nobody.
    return false
  }
}

/**
 * The developer's `trustProxy`. Fastify keeps it under a symbol only, on the root instance from which the others
 * inherit; `undefined` when it was not set, or when a later Fastify keeps it elsewhere.
 */
export function readTrustProxy(app: FastifyInstance): unknown {
  for (let object: object | null = app; object !== null; object = Object.getPrototypeOf(object)) {
    const key = Object.getOwnPropertySymbols(object).find((symbol) => symbol.description === 'fastify.options')
    if (key !== undefined) return (Reflect.get(object, key) as { trustProxy?: unknown } | undefined)?.trustProxy
  }
  return undefined
}

/**
 * Refuses to boot where the transport cannot be judged.
 * @throws OptionError when `trustProxy` is `true` or a number and `allowUnsafeTrustProxy` is not set (threat T4), and
 * when the server speaks HTTP/2 only, where no HTTP/1.1 upgrade can arrive (threat T5)
 */
export function checkTransport(app: FastifyInstance, allowUnsafeTrustProxy: boolean): void {
  const trustProxy = readTrustProxy(app)
  if (!allowUnsafeTrustProxy && (trustProxy === true || typeof trustProxy === 'number')) {
    throw new OptionError(
      `trustProxy: ${trustProxy} does not say which proxy to believe, so that clients could forge their address and ` +
        "scheme or Fastify ignores the proxy; name the addresses of your proxies, such as trustProxy: ['10.0.0.7'] or " +
        "'loopback' (or set allowUnsafeTrustProxy: true)"
    )
  }
  const { http2, https } = app.initialConfig
  if (http2 === true && !(typeof https === 'object' && https?.allowHTTP1)) {
    throw new OptionError(
      'http2: WebSocket upgrades need HTTP/1.1; set https: { allowHTTP1: true, … } or serve these routes without http2'
    )
  }
}

/** The head of a request has to be there within this time, and node has to look for those that are late this often. */
export const maxHeadersTimeoutMs = 10_000
export const maxCheckingIntervalMs = 5_000

/** What node keeps on a server. The interval is one of its options and not documented as a property: it may be absent. */
export interface ServerTimeouts {
  readonly headersTimeout?: number
  readonly requestTimeout?: number
  readonly connectionsCheckingInterval?: number
}

/**
 * Who sends the head of a request byte by byte, or nothing at all, holds a socket before any route is known (threat T2).
 * Behind a proxy that is the proxy's business; an app whose routes require TLS and that names no proxy has no other.
 * @returns what to warn of, if anything
 */
export function slowClientsWarning(app: FastifyInstance, requiresTls: boolean): string | undefined {
  if (!requiresTls || readTrustProxy(app) || endsSlowHeads(app.server)) return undefined
  const { headersTimeout, connectionsCheckingInterval } = app.server as ServerTimeouts
  const settings = 'headersTimeout: 10_000, connectionsCheckingInterval: 5_000'
  const { http2, https } = app.initialConfig
  // Before Node 24 the HTTP/1.1 side of an HTTP/2 server has node's own defaults, whatever the options say.
  const fix = http2
    ? `Object.assign(app.server, { ${settings} }) before it listens`
    : `Fastify({ ${https ? 'https: { …, handshakeTimeout: 10_000,' : 'http: {'} ${settings} } })`
  return (
    'slow clients can hold sockets before any limit counts them: the server has ' +
    `headersTimeout: ${headersTimeout} and connectionsCheckingInterval: ${connectionsCheckingInterval}; ` +
    `set ${fix}, and app.server.maxConnections (or trustProxy, where a proxy takes care of it)`
  )
}

/** node ends a head after the smaller of its two timeouts, of which 0 is none, at its next look. */
function endsSlowHeads(server: ServerTimeouts): boolean {
  const { headersTimeout = 0, requestTimeout = 0, connectionsCheckingInterval = 0 } = server
  const isInTime = (timeoutMs: number): boolean => timeoutMs > 0 && timeoutMs <= maxHeadersTimeoutMs
  return (isInTime(headersTimeout) || isInTime(requestTimeout)) && connectionsCheckingInterval <= maxCheckingIntervalMs
}
