/** What the handshake tests share: an app that closes itself, its log, refusals checked to the byte. */
import assert from 'node:assert/strict'
import { STATUS_CODES } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { Store } from '../../lib/limits/store.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { type AppOptions, buildApp, origin } from '../support/app.ts'
import { captureLogs, type LogCapture } from '../support/log-capture.ts'
import { connect, type RawClient } from '../support/raw-client.ts'
import { connectionsOf, eventually } from '../support/wait.ts'

export interface GuardedApp {
  readonly app: FastifyInstance
  readonly logs: LogCapture
  /** The reasons of all refusals so far, from the log. */
  readonly reasons: () => unknown[]
}

/** An app with @fastify/jwt, the guard and a captured log. */
export async function guarded(t: TestContext, options: AppOptions = {}): Promise<GuardedApp> {
  const logs = captureLogs()
  const guard = { logSamplePerSecond: 1000, ...options.guard }
  const app = await buildApp({ ...options, guard, server: { logger: logs.logger, ...options.server } as never })
  t.after(() => {
    for (const cleanUp of cleanUps.get(t) ?? []) cleanUp()
    return app.close()
  })
  return { app, logs, reasons: () => logs.filter('ws.refused').map(({ reason }) => reason) }
}

export interface ClosingApp extends GuardedApp {
  /** What of the developer's was called once a connection would have been there. */
  readonly called: string[]
}

/** A route with `refuse: 'close'`, of which nobody refused should ever see the inside. */
export async function closing(t: TestContext, options: object = {}, guard: WsGuardOptions = {}): Promise<ClosingApp> {
  const all = await guarded(t, { guard: { refuse: 'close', ...guard } })
  const called: string[] = []
  const note = (name: string) => (): void => void called.push(name)
  all.app.wsRoute('/ws', { ...options, handler: note('handler'), onClose: note('onClose') })
  return { ...all, called }
}

export async function listen(app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

/** What must end before the app of a test can close. */
const cleanUps = new WeakMap<TestContext, Array<() => void>>()

function beforeClose(t: TestContext, cleanUp: () => void): void {
  cleanUps.set(t, [...(cleanUps.get(t) ?? []), cleanUp])
}

/** A raw client that is destroyed with the test, before its app closes. */
export async function rawClient(t: TestContext, port: number): Promise<RawClient> {
  const client = await connect(port)
  beforeClose(t, () => client.destroy())
  return client
}

/** The headers of a handshake that a guarded route takes for good. */
export function goodHeaders(token?: string): Record<string, string> {
  return { Origin: origin, ...(token !== undefined && { Authorization: `Bearer ${token}` }) }
}

const codes: Readonly<Record<number, string>> = {
  400: 'bad_request',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  405: 'method_not_allowed',
  426: 'upgrade_required',
  429: 'too_many_requests',
  500: 'internal',
  503: 'unavailable'
}

export function bodyOf(status: number): string {
  return JSON.stringify({ statusCode: status, error: STATUS_CODES[status], code: codes[status] })
}

interface Answer {
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

/** The one answer of a status: its body to the byte, and the headers it has and has not. */
export function assertRefused({ statusCode, headers, body }: Answer, status: number): void {
  assert.equal(statusCode, status)
  assert.equal(body, bodyOf(status))
  assert.equal(headers['content-type'], 'application/json; charset=utf-8')
  assert.equal(headers['content-length'], String(body.length))
  assert.equal(headers.connection, 'close')
  assert.equal(headers['x-content-type-options'], 'nosniff')
  assert.equal(headers['www-authenticate'], status === 401 ? 'Bearer' : undefined)
  assert.equal(headers.upgrade, status === 426 ? 'websocket' : undefined)
  assert.equal(headers['sec-websocket-version'], status === 426 ? '13' : undefined)
  const waits = status === 429 || status === 503
  if (waits) assert.match(String(headers['retry-after']), /^[1-9]\d*$/)
  else assert.equal(headers['retry-after'], undefined)
}

/** Nothing is left of any handshake or connection, once closeTimeoutMs has ended those whose FIN lies behind a flood. */
export async function assertNothingHeld(app: FastifyInstance, store?: Store): Promise<void> {
  const assertion = (): void => {
    const { handshakes, slots, unauthenticated, connections } = app.wsGuard.stats()
    const held = { handshakes, slots, unauthenticated, connections, stored: store?.sizes().slots ?? 0 }
    assert.deepEqual(held, { handshakes: 0, slots: 0, unauthenticated: 0, connections: 0, stored: 0 })
  }
  await eventually(assertion, { timeoutMs: 10_000 })
}

export async function assertNoSockets(app: FastifyInstance, timeoutMs = 5000): Promise<void> {
  await eventually(async () => assert.equal(await connectionsOf(app.server), 0), { timeoutMs })
}

/** For hooks that wait until a test lets them go, or is over. */
export function gate(t: TestContext): { readonly promise: Promise<void>; readonly open: () => void } {
  let open = (): void => {}
  const promise = new Promise<void>((resolve) => {
    open = resolve
  })
  beforeClose(t, open)
  return { promise, open }
}

/** The server ends the connection, and the client its half. */
export async function ended(client: RawClient): Promise<void> {
  await client.serverEnd()
  client.halfClose()
  await client.closed
}

/** A store in memory whose named methods throw, as one on a network that is down. */
export function failingStore(...methods: Array<keyof Store | 'incr'>): MemoryStore {
  const store = new MemoryStore()
  const down = (): never => {
    throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  }
  for (const method of methods) if (method !== 'incr') Object.defineProperty(store, method, { value: down })
  if (methods.includes('incr')) {
    const Attempts = class {
      incr = (_key: string, callback: (error: Error | null) => void): void => callback(new Error('down'))
      child = (): unknown => new Attempts()
    }
    Object.defineProperty(store, 'Attempts', { value: Attempts })
  }
  return store
}
