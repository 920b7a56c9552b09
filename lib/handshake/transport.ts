import type { FastifyInstance } from 'fastify'
import { OptionError } from '../errors.ts'

/**
 * True when the client came over TLS (threat T1): Fastify's `request.protocol` is https on an encrypted socket, or when
 * a proxy that `trustProxy` names says so. A trusted proxy's `X-Forwarded-Proto: http` counts although its own hop is
 * encrypted: the client's was not. Traefik, for one, reports an upgrade over TLS as wss.
 */
export function isSecure(request: { readonly protocol: string }): boolean {
  return request.protocol === 'https' || request.protocol === 'wss'
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
