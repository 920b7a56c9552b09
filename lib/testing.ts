/**
 * `fastify-ws-guard/testing`: connects to a route of an app that does not listen. The request goes through Node's HTTP
 * parser, Fastify's hooks, the guard and ws on both sides; only the network is missing.
 */
import type { EventEmitter } from 'node:events'
import { Server as HttpServer } from 'node:http'
import { Server as HttpsServer } from 'node:https'
import { isIP } from 'node:net'
import type { Contract } from './contract.ts'
import { openClient } from './testing/open-client.ts'
import { findRoute, type RoutePosture } from './testing/route-posture.ts'
import { TestSocket } from './testing/test-socket.ts'

export type { CloseInfo } from './testing/open-client.ts'
export type {
  AuthOkMessage,
  ErrorMessage,
  Received,
  ReceiveOptions,
  ReceiveType,
  ReplyMessage,
  SendPayload,
  SendType,
  TestSocket
} from './testing/test-socket.ts'

/** What `injectWs` needs of a FastifyInstance, whatever its server, logger and type provider are. */
export interface InjectableApp {
  readonly server: EventEmitter
  ready(): PromiseLike<unknown>
  readonly wsGuard?: { routes(): readonly RoutePosture[] }
}

export interface InjectWsOptions<C extends Contract | undefined = undefined> {
  /** Types `send` and `receive`; without it any type and payload may be sent, and `unknown` is received. */
  readonly contract?: C | undefined
  /** Sent as `Authorization: Bearer`. */
  readonly token?: string | undefined
  /** Default: the `origin` of `headers`, else the first one that the route admits, else none. `null`: none. */
  readonly origin?: string | null | undefined
  readonly headers?: Readonly<Record<string, string | string[]>> | undefined
  /** Sent as one Cookie header, the values percent-encoded. */
  readonly cookies?: Readonly<Record<string, string>> | undefined
  /** The subprotocols to offer. Default: none. */
  readonly protocols?: string | readonly string[] | undefined
  /** What `request.ip` is, unless a trusted proxy header says otherwise. Default `'127.0.0.1'`. */
  readonly remoteAddress?: string | undefined
  /** `true`: the request looks encrypted. Always so on an https server. Default `false`. */
  readonly tls?: boolean | undefined
  /** How long the handshake may take, in milliseconds. Default 5000. */
  readonly timeoutMs?: number | undefined
}

const defaultTimeoutMs = 5000
const serverAddress = '127.0.0.1'
const firstEphemeralPort = 49_152
const ephemeralPorts = 16_384

let opened = 0

/**
 * Opens a WebSocket connection to `path` (with its query) of an app that is ready but need not listen. A refusal is not
 * an error: look at `statusCode`, `headers`, `body` and `json()`.
 *
 * @throws Error when the app does not boot, its server is neither http nor https (http2 is not supported), no answer
 *   comes within `timeoutMs`, the answer breaks off, or a 101 is one that a client must not accept
 * @throws TypeError when `path` or `remoteAddress` is not one
 */
export async function injectWs<C extends Contract | undefined = undefined>(
  app: InjectableApp,
  path: string,
  options: InjectWsOptions<C> = {}
): Promise<TestSocket<C>> {
  const { remoteAddress = '127.0.0.1', protocols = [], timeoutMs = defaultTimeoutMs } = options
  if (!path.startsWith('/')) throw new TypeError(`injectWs: path must begin with "/", got "${path}"`)
  if (isIP(remoteAddress) === 0) throw new TypeError(`injectWs: remoteAddress must be an IP, got "${remoteAddress}"`)
  await app.ready()
  const connectionEvent = connectionEventOf(app.server)
  const encrypted = options.tls === true || connectionEvent === 'secureConnection'
  const route = findRoute(app.wsGuard?.routes() ?? [], path)
  const handshake = await openClient({
    url: `${encrypted ? 'wss' : 'ws'}://localhost${path}`,
    headers: headersOf(options, route, encrypted),
    protocols: typeof protocols === 'string' ? [protocols] : protocols,
    timeoutMs,
    ends: {
      client: { address: remoteAddress, port: nextClientPort() },
      server: { address: serverAddress, port: encrypted ? 443 : 80 },
      encrypted
    },
    connect: (serverEnd) => app.server.emit(connectionEvent, serverEnd)
  })
  return new TestSocket<C>(handshake)
}

/** The event by which Node's server takes over a connection whose TLS, if any, is already done. */
function connectionEventOf(server: EventEmitter): 'connection' | 'secureConnection' {
  if (server instanceof HttpsServer) return 'secureConnection'
  if (server instanceof HttpServer) return 'connection'
  throw new Error('injectWs: the app must have an http or https server; WebSockets over http2 are not supported')
}

function nextClientPort(): number {
  return firstEphemeralPort + (opened++ % ephemeralPorts)
}

function headersOf(
  { token, origin, headers, cookies }: InjectWsOptions<Contract | undefined>,
  route: RoutePosture | undefined,
  encrypted: boolean
): Record<string, string | string[]> {
  const result: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(headers ?? {})) result[name.toLowerCase()] = value
  if (route?.origins === 'same-origin') result.host ??= route.hosts?.[0] ?? 'localhost'
  if (origin === null) delete result.origin
  else if (origin !== undefined) result.origin = origin
  else if (result.origin === undefined && route !== undefined) {
    const admitted = admittedOrigin(route, `${encrypted ? 'https' : 'http'}://${result.host}`)
    if (admitted !== undefined) result.origin = admitted
  }
  if (token !== undefined) result.authorization = `Bearer ${token}`
  if (cookies !== undefined) {
    const pairs = Object.entries(cookies).map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    result.cookie = [result.cookie ?? [], pairs].flat().join('; ')
  }
  return result
}

function admittedOrigin({ origins }: RoutePosture, ownOrigin: string): string | undefined {
  if (origins === 'same-origin') return ownOrigin
  if (origins === false) return undefined
  return origins.find((entry) => !entry.includes('*')) ?? origins[0]?.replace('*', 'test')
}
