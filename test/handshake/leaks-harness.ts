/**
 * What the leak tests share: an app whose hooks hang on demand, the requests that once left a socket behind, and crowds
 * of clients that send them.
 */
import assert from 'node:assert/strict'
import type { Server } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import wsGuard from '../../lib/index.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { origin } from '../support/app.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { type ConnectOptions, connect, type RawClient } from '../support/raw-client.ts'
import { eventually, until } from '../support/wait.ts'

/** Clients of a vector. */
export const crowd = 300
/** They connect in batches of this size, below every backlog. */
const batch = 100
export const handshakeTimeoutMs = 300
/** What `/http/slow` takes. */
export const slowMs = 200
/** A handshake is over, whatever it was: the timeout, the second that the guard adds, and what a busy machine needs. */
export const overMs: number = handshakeTimeoutMs + 1_000 + 2_000
/** `app.close()` once every socket is gone. */
export const closeMs = 2_000
/** Node looks for request heads that take too long at this interval; its default would be 30 s. */
const headCheckMs = 100

const never = (): Promise<never> => new Promise(() => {})
const high = 1_000_000

export interface LeakAppOptions {
  readonly guard?: WsGuardOptions
  /** The `https` option of Fastify. */
  readonly https?: object
  readonly logger?: object
  /** Called by each hook that hangs, and by `/http/slow`. */
  readonly onArrival?: () => void
  /** Node's bound for a request head, from the first byte or the connection on. Default: Node's own. */
  readonly headersTimeout?: number
}

/** An app in which a hook of every kind never settles, each on a path of its own, and nothing but that limits a client. */
export async function leakApp(options: LeakAppOptions = {}): Promise<FastifyInstance> {
  const { guard, https, logger = false, onArrival, headersTimeout } = options
  const node = { connectionsCheckingInterval: headCheckMs, ...(headersTimeout && { headersTimeout }) }
  const app = Fastify({ logger, ...(https ? { https: { ...node, ...https } } : { http: node }) } as object)
  const hang = (): Promise<never> => {
    onArrival?.()
    return never()
  }
  // Before the plugin: its own hooks never run.
  app.addHook('onRequest', async (request) => {
    if (request.url.startsWith('/before')) await hang()
  })
  await app.register(wsGuard, {
    origins: [origin],
    auth: { verify: (token) => ({ sub: token }) },
    handshakeTimeoutMs,
    logSamplePerSecond: 1_000,
    ...guard,
    limits: {
      attempts: { max: high },
      connections: { total: high, perIp: high, perUser: high, unauthenticated: high }
    }
  })
  app.setNotFoundHandler(hang)
  const stuck = { onRequest: hang, preValidation: hang, authorize: hang, preHandler: hang, data: hang }
  for (const [name, hook] of Object.entries(stuck)) app.wsRoute(`/stuck/${name}`, { [name]: hook, handler() {} })
  app.wsRoute('/stuck/verify', { auth: { verify: hang }, handler() {} })
  app.wsRoute('/ws', { handler() {} })
  app.wsRoute('/room/:id', { handler() {} })
  app.wsRoute('/refused', { refuse: 'close', authorize: () => false, handler() {} })
  app.get('/plain', { websocket: true }, () => {})
  app.get('/plain/stuck', { websocket: true, preHandler: hang }, () => {})
  app.get('/http', () => 'http')
  app.get('/http/stuck', hang)
  app.get('/http/slow', async () => {
    onArrival?.()
    await new Promise((resolve) => setTimeout(resolve, slowMs))
    return 'slow'
  })
  return app as unknown as FastifyInstance
}

export interface Vector {
  readonly name: string
  readonly bytes: Buffer
  /** Sent first; the bytes follow its answer. */
  readonly first?: Buffer
  /** The statuses a client sees; none: the socket is destroyed. */
  readonly answers: readonly number[]
  /** Who sends a FIN: by default two clients of three, one with its last bytes and one afterwards. */
  readonly fin?: 'all' | 'none'
}

export function upgradeTo(path: string, more: Parameters<typeof handshakeRequest>[0] = {}): Buffer {
  return handshakeRequest({
    path,
    ...more,
    headers: { Origin: origin, Authorization: 'Bearer alice', ...more.headers }
  })
}

export function httpGet(path: string): Buffer {
  return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
}

const halfHead = Buffer.from('GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: webso')

/** Requests that Fastify, Node or the guard ends by an answer, or at once. */
export const endedVectors: readonly Vector[] = [
  { name: 'a malformed URL', bytes: upgradeTo('/%'), answers: [400] },
  { name: 'an over-long parameter', bytes: upgradeTo(`/room/${'a'.repeat(101)}`), answers: [414] },
  {
    name: 'behind a request that is never answered',
    bytes: Buffer.concat([httpGet('/http/stuck'), upgradeTo('/ws')]),
    answers: []
  },
  {
    name: 'behind a request that is slow',
    bytes: Buffer.concat([httpGet('/http/slow'), upgradeTo('/ws')]),
    answers: []
  },
  {
    name: 'after an answered request',
    first: httpGet('/http'),
    bytes: upgradeTo('/ws', { headers: { Origin: 'https://evil.example' } }),
    answers: [200, 403]
  },
  { name: 'a plain HTTP route', bytes: upgradeTo('/http'), answers: [400] },
  { name: 'an unknown path', bytes: upgradeTo('/nope'), answers: [404] },
  { name: 'a POST', bytes: upgradeTo('/ws', { method: 'POST' }), answers: [405] },
  { name: 'h2c', bytes: upgradeTo('/ws', { headers: { Upgrade: 'h2c' } }), answers: [400] },
  { name: 'HTTP/1.0', bytes: upgradeTo('/ws', { version: 'HTTP/1.0' }), answers: [400] },
  { name: 'a CONNECT', bytes: upgradeTo('localhost:443', { method: 'CONNECT' }), answers: [] },
  { name: 'half a head', bytes: halfHead, answers: [400], fin: 'all' },
  { name: 'half a head and silence', bytes: halfHead, answers: [408], fin: 'none' },
  { name: 'a refusal by close frame', bytes: upgradeTo('/refused'), answers: [101] },
  { name: 'a plain websocket route', bytes: upgradeTo('/plain'), answers: [101], fin: 'all' },
  { name: 'an open connection', bytes: upgradeTo('/ws'), answers: [101], fin: 'all' }
]

/** Handshakes that only a deadline ends. */
export const stuckVectors: readonly Vector[] = [
  ...['onRequest', 'preValidation', 'verify', 'authorize', 'data', 'preHandler'].map((hook) => ({
    name: `a hanging ${hook}`,
    bytes: upgradeTo(`/stuck/${hook}`),
    answers: [503]
  })),
  { name: 'a hanging hook before ours', bytes: upgradeTo('/before/nope'), answers: [] },
  { name: 'a hanging hook of a plain route', bytes: upgradeTo('/plain/stuck'), answers: [] }
]

/** So many clients, each of whose sockets the server has. */
export async function connectAll(
  size: number,
  port: number,
  server: Server,
  options?: ConnectOptions
): Promise<RawClient[]> {
  const clients: RawClient[] = []
  let accepted = 0
  const count = (): void => void accepted++
  server.on('connection', count)
  while (clients.length < size) {
    const length = Math.min(batch, size - clients.length)
    clients.push(...(await Promise.all(Array.from({ length }, () => connect(port, options)))))
  }
  await until(() => accepted === size)
  server.off('connection', count)
  return clients
}

/** Sends a vector, and a FIN where the vector says so. */
export async function sendAll(clients: readonly RawClient[], vector: Vector): Promise<void> {
  const { bytes, first, fin } = vector
  if (first !== undefined) {
    for (const { socket } of clients) socket.write(first)
    await eventually(() => {
      for (const client of clients) if (client.unparsed.length === 0) throw new Error('the first request has no answer')
    })
  }
  for (const [n, { socket }] of clients.entries()) {
    if (n % 3 === 0 && fin !== 'none') socket.end(bytes)
    else socket.write(bytes)
  }
  await new Promise((resolve) => setImmediate(resolve))
  for (const [n, client] of clients.entries()) if (sendsFin(vector, n)) client.halfClose()
}

/**
 * Sends the first bytes of a vector: a server of Node 26 and newer that closes also ends those who have sent nothing yet.
 * A handshake on another connection that is answered after this means that they have been read.
 * @returns the rest of the vector
 */
export function beginAll(clients: readonly RawClient[], vector: Vector): Vector {
  const begun = 'GET /ws'.length
  for (const { socket } of clients) socket.write(vector.bytes.subarray(0, begun))
  return { ...vector, bytes: vector.bytes.subarray(begun) }
}

/** Whether the client of this number is one that sends a FIN. */
export function sendsFin({ fin }: Vector, n: number): boolean {
  return fin === 'all' || (fin === undefined && n % 3 !== 2)
}

/** The server has ended every client, which ends its own side too. */
export async function allEnded(clients: readonly RawClient[]): Promise<void> {
  await Promise.all(clients.map((client) => client.serverEnd()))
  for (const client of clients) client.halfClose()
  await Promise.all(clients.map(({ closed }) => closed))
}

/** The statuses of everything that a client was answered. */
export function statusesOf({ unparsed }: RawClient): number[] {
  return [...unparsed.toString('latin1').matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
}

/** Nothing that a leak would leave keeps this process: no socket, server or timer of a client or an app. */
export async function assertNoResources(): Promise<void> {
  const leaks = new Set(['TCPSocketWrap', 'TCPServerWrap', 'TLSWrap', 'Timeout'])
  await eventually(() => {
    const left = process.getActiveResourcesInfo().filter((name) => leaks.has(name))
    assert.deepEqual(left, [])
  })
}
