/** Where the guard meets what the app's own code, Fastify's options or the proxy in front may be. */
import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import jwt from '@fastify/jwt'
import Fastify, { type FastifyInstance, type FastifyRequest, type RouteOptions } from 'fastify'
import { OptionError } from '../../lib/errors.ts'
import wsGuard from '../../lib/index.ts'
import type { Identity } from '../../lib/limits/store.ts'
import { listen, rawClient } from '../handshake/harness.ts'
import { buildApp, origin, secret, tokenFor } from '../support/app.ts'
import { findSecrets } from '../support/canary.ts'
import { captureLogs } from '../support/log-capture.ts'
import { until } from '../support/wait.ts'
import { Target } from './harness.ts'

const canary = 'canary-token'

test('P1: what the app logs as req is written as without the guard', async (t) => {
  const serializers = {
    'Fastify’s own': undefined,
    'one that takes anything': (value: unknown) => ({ isNull: value === null, kind: typeof value }),
    'one that uses its this': function (this: unknown, value: unknown) {
      return { self: Object.keys(Object(this)).sort(), isNull: value === null }
    }
  }
  const logged = async (app: FastifyInstance, logs: ReturnType<typeof captureLogs>): Promise<unknown[]> => {
    t.after(() => app.close())
    await app.ready()
    logs.clear()
    return [null, undefined, 0, 'text', {}, { is404: true }, { method: 'GET', url: '/x?token=of-the-app' }].map(
      (req) => {
        try {
          app.log.info({ req }, 'of the app')
          return logs.lines.at(-1)?.req
        } catch (error) {
          return String(error)
        }
      }
    )
  }
  for (const [name, req] of Object.entries(serializers)) {
    const [bare, covered] = [captureLogs('info'), captureLogs('info')]
    const server = ({ logger }: typeof bare): object => ({
      logger: { ...logger, ...(req && { serializers: { req } }) }
    })
    const without = await logged(Fastify(server(bare)) as unknown as FastifyInstance, bare)
    const guarded = await buildApp({ server: server(covered), guard: { auth: { from: ['query'] } } })
    assert.deepEqual(await logged(guarded, covered), without, name)
  }
})

/** An option error whose message says all of this. */
function refusalOf(...said: readonly RegExp[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof OptionError, String(error))
    for (const pattern of said) assert.match(error.message, pattern)
    return true
  }
}

/** Two routes of one path, told apart by their host; each has names of its own for its users. */
function twoHosts(...sources: ReadonlyArray<readonly ['ticket' | 'header']>): (app: FastifyInstance) => void {
  return (app) => {
    for (const [at, from] of sources.entries()) {
      const identity = (user: unknown): Identity => ({ subject: `${at}:${(user as { sub: string }).sub}` })
      app.wsRoute('/rooms/:id', { handler() {}, auth: { from, identity }, constraints: { host: `${at}.example.com` } })
    }
  }
}

test('A6: two routes of one path that both take tickets do not boot: a ticket would open both', async (t) => {
  const isRefused = refusalOf(/'ticket'/, /\/rooms\/:id/)
  await assert.rejects(Target.start(t, { declare: twoHosts(['ticket'], ['ticket']) }), isRefused)
  const app = await buildApp({ guard: { auth: { from: ['ticket'] } } })
  t.after(() => app.close())
  app.wsRoute('/rooms/:id', { handler() {}, constraints: { host: '0.example.com' } })
  assert.throws(() => app.wsRoute('/rooms/:id', { handler() {}, constraints: { host: '1.example.com' } }), isRefused)
  // Another path of the same pattern is another route.
  app.register(async (child) => void child.wsRoute('/rooms/:id', { handler() {} }), { prefix: '/v1' })
  await app.ready()
  assert.equal(app.wsGuard.routes().length, 2)
})

for (const [taker, sources] of Object.entries({
  0: [['ticket'], ['header']],
  1: [['header'], ['ticket']]
}) as Array<['0' | '1', Array<['ticket'] | ['header']>]>) {
  test(`A6: of two routes of one path the one with tickets is found, and only it opens (number ${taker})`, async (t) => {
    const target = await Target.start(t, { declare: twoHosts(...sources) })
    const issue = async (): Promise<string> => {
      const { ticket } = await target.app.wsGuard.issueTicket({ user: { sub: 'bob' }, route: '/rooms/:id' })
      return `/rooms/7?ticket=${ticket}`
    }
    const other = taker === '0' ? '1' : '0'
    assert.equal(await target.knock(await issue(), { Origin: origin, Host: `${other}.example.com` }), 401)
    assert.equal(await target.knock(await issue(), { Origin: origin, Host: `${taker}.example.com` }), 101)
    assert.equal(await target.app.wsGuard.disconnect({ sub: `${taker}:bob` }), 1)
  })
}

type OnRoute = (route: RouteOptions) => void

const setConfig = (change: (config: object) => object): OnRoute => {
  return (route) => {
    route.config = change(route.config ?? {}) as never
  }
}

/** An app with an onRoute hook that it had before the guard. */
async function withOnRoute(t: TestContext, hook: OnRoute): Promise<FastifyInstance> {
  const app = Fastify()
  t.after(() => app.close())
  app.addHook('onRoute', hook)
  await app.register(jwt, { secret })
  await app.register(wsGuard, { origins: [origin], auth: {} })
  return app as unknown as FastifyInstance
}

const losing: Readonly<Record<string, OnRoute>> = {
  'a copy without symbols': setConfig((config) => JSON.parse(JSON.stringify(config))),
  'an empty object': setConfig(() => ({})),
  nothing: (route) => void Reflect.deleteProperty(route, 'config')
}
for (const [name, hook] of Object.entries(losing)) {
  test(`H7: an onRoute hook before the guard that makes config ${name}: a guarded route does not boot`, async (t) => {
    const app = await withOnRoute(t, hook)
    assert.throws(() => app.wsRoute('/ws', { handler() {} }), refusalOf(/config/, /\/ws/))
  })
}

test('H7: an onRoute hook that copies config with its symbols, or comes too late, opens nothing', async (t) => {
  const early = await withOnRoute(
    t,
    setConfig((config) => ({ ...config }))
  )
  early.wsRoute('/ws', { handler() {} })
  const late = await buildApp()
  t.after(() => late.close())
  late.addHook('onRoute', losing['a copy without symbols'] as OnRoute)
  late.wsRoute('/ws', { handler() {} })
  assert.deepEqual(await statusesOf(t, early), { anonymous: 401, user: 101 })
  assert.deepEqual(await statusesOf(t, late), { anonymous: 400, user: 400 })
})

/** What `/ws` answers to a handshake without a credential, and with a good one. */
async function statusesOf(t: TestContext, app: FastifyInstance): Promise<{ anonymous: number; user: number }> {
  const port = await listen(app)
  const knock = async (headers: Record<string, string>): Promise<number> => {
    const client = await rawClient(t, port)
    const { statusCode } = await client.handshake({ path: '/ws', headers: { Origin: origin, ...headers } })
    client.destroy()
    await client.closed
    return statusCode
  }
  const user = await knock({ Authorization: `Bearer ${tokenFor(app)}` })
  return { user, anonymous: await knock({}) }
}

const longestTimerMs = 2_147_483_647

test('H9: the longest handshakeTimeoutMs is no timer that fires at once', async (t) => {
  const authorize = async (): Promise<boolean> => {
    await sleep(50)
    return true
  }
  const ofPlugin = await Target.start(t, { guard: { handshakeTimeoutMs: longestTimerMs }, route: { authorize } })
  assert.equal(await ofPlugin.knock(), 101)
  const ofRoute = await Target.start(t, { route: { handshakeTimeoutMs: longestTimerMs, authorize } })
  assert.equal(await ofRoute.knock(), 101)
})

test('P1: with rewriteUrl a plain request shows its token nowhere', async (t) => {
  const seen: string[] = []
  const note = async (request: FastifyRequest): Promise<void> => {
    const { url, originalUrl, raw, query } = request
    seen.push(JSON.stringify({ url, originalUrl, raw: raw.url, rawOriginal: Reflect.get(raw, 'originalUrl'), query }))
  }
  const rewriteUrl = ({ url = '' }: IncomingMessage): string => url.replace('/old', '/ws')
  const target = await Target.start(t, {
    server: { rewriteUrl },
    guard: { auth: { from: ['query'] } },
    declare: (app) => {
      app.wsRoute('/ws', { handler() {} })
      app.addHook('onRequest', note)
      app.addHook('onResponse', note)
    }
  })
  const answers: string[] = []
  for (const [path, status] of [
    ['/ws', 426],
    ['/old', 426],
    ['/nope', 404]
  ] as const) {
    const client = await target.dial()
    await client.write(`GET ${path}?a=1&token=${canary} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
    const answer = await client.answer()
    assert.equal(answer.statusCode, status)
    answers.push(answer.body)
  }
  await until(() => seen.length === 4, { what: 'three responses, and the one request that was not refused' })
  assert.ok(seen.some((line) => line.includes('"/old"')))
  assert.deepEqual(findSecrets([...seen, ...answers, target.logs.text()].join('\n'), [canary]), [])
})

interface PlainSeen {
  readonly url: string
  readonly query: unknown
}

/** A plain websocket route, and what its handler was given. */
async function plain(t: TestContext, server: object): Promise<{ target: Target; seen: PlainSeen[] }> {
  const seen: PlainSeen[] = []
  const target = await Target.start(t, {
    server,
    guard: { auth: { from: ['query'] } },
    declare: (app) =>
      void app.get('/plain', { websocket: true }, (socket, { url, query }) => {
        seen.push({ url, query })
        socket.close()
      })
  })
  return { target, seen }
}

test('L3, A6: with rewriteUrl a plain websocket route is given the rewritten URL, with its token', async (t) => {
  const { target, seen } = await plain(t, {
    rewriteUrl: ({ url = '' }: IncomingMessage) => url.replace('/old?', '/plain?b=2&')
  })
  assert.equal(await target.knock('/old?a=1&token=x%26y&token=z', {}), 101)
  assert.equal(await target.knock('/plain?token=x&a=1', {}), 101)
  await until(() => seen.length === 2)
  const [rewritten, asItCame] = seen as [PlainSeen, PlainSeen]
  const { pathname, searchParams } = new URL(rewritten.url, 'ws://localhost')
  assert.equal(pathname, '/plain')
  assert.deepEqual([...searchParams].sort().join(' '), 'a,1 b,2 token,x&y token,z')
  assert.deepEqual({ ...(rewritten.query as object) }, { b: '2', a: '1', token: ['x&y', 'z'] })
  assert.equal(asItCame.url, '/plain?token=x&a=1')
})

const parsers: Readonly<Record<string, () => unknown>> = {
  null: () => null,
  undefined: () => undefined,
  'a string': () => 'token=x',
  'a frozen object': () => Object.freeze({ a: '1' }),
  'a sealed object': () => Object.seal({ a: '1' }),
  'a frozen array': () => Object.freeze([])
}
for (const [name, querystringParser] of Object.entries(parsers)) {
  test(`L3: where the app's querystringParser returns ${name} a plain websocket route works`, async (t) => {
    const { target, seen } = await plain(t, { routerOptions: { querystringParser } })
    assert.equal(await target.knock('/plain?token=x', {}), 101)
    await until(() => seen.length === 1)
    assert.equal(seen[0]?.url, '/plain?token=x')
    assert.equal(await target.knock('/echo?a=1', { Origin: origin }), 401)
  })
}

test('A6: a user that reads differently each time becomes one user, and one identity', async (t) => {
  const users: unknown[] = []
  const target = await Target.start(t, {
    guard: { auth: { from: ['ticket'] } },
    route: { onOpen: ({ user }) => void users.push(user) }
  })
  let reads = 0
  const user = {
    get sub(): string {
      return `reader-${reads++}`
    }
  }
  const { ticket } = await target.app.wsGuard.issueTicket({ user, route: '/echo' })
  assert.equal(await target.knock(`/echo?ticket=${ticket}`, { Origin: origin }), 101)
  const [{ sub }] = users as [{ sub: string }]
  assert.equal(await target.app.wsGuard.disconnect({ sub }), 1)
})
