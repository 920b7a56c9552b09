import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { injectWs } from '../../lib/testing.ts'
import { type AppOptions, buildApp, echo, origin, tokenFor } from '../support/app.ts'
import { captureLogs } from '../support/log-capture.ts'
import { eventually } from '../support/wait.ts'

const apps: FastifyInstance[] = []
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close()
})

async function appWith(options: AppOptions = {}): Promise<FastifyInstance> {
  const app = await buildApp({ ...options, guard: { auth: false, ...options.guard } })
  apps.push(app)
  return app
}

const handlers = {
  say(message: { text: string }, connection: { send(type: 'said', message: { text: string }): boolean }): void {
    connection.send('said', message)
  },
  ask: ({ count }: { count: number }): { items: string[] } => ({ items: Array.from({ length: count }, () => 'x') })
}
const route = { contract: echo, handlers }
const refusedBody = { statusCode: 403, error: 'Forbidden', code: 'forbidden' }

test('a contract route answers messages and requests, and says how it closed', async () => {
  const app = await appWith()
  app.wsRoute('/echo', route)
  const ws = await injectWs(app, '/echo', { contract: echo })
  assert.equal(ws.statusCode, 101)
  ws.send('say', { text: 'hi' })
  assert.deepEqual(await ws.receive('said'), { type: 'said', text: 'hi' })
  ws.send('ask', { count: 2 }, { ref: 1 })
  assert.deepEqual(await ws.receive('reply'), { type: 'reply', ref: 1, data: { items: ['x', 'x'] } })
  ws.close(1000)
  assert.equal((await ws.closed).code, 1000)
})

test('a raw route gets the socket, and its own protocol crosses it', async () => {
  const app = await appWith()
  app.wsRoute('/raw', {
    handler: ({ socket }) => {
      socket.on('message', (data: Buffer, isBinary: boolean) => socket.send(data, { binary: isBinary }))
    }
  })
  await using ws = await injectWs(app, '/raw')
  ws.sendRaw(Buffer.from([1, 2, 3]))
  assert.deepEqual(await ws.receive(), Buffer.from([1, 2, 3]))
  ws.sendRaw('{not json')
  assert.equal(await ws.receive(), '{not json')
})

/* Where a route lives. */

test('prefixes, encapsulated scopes and their nesting', async () => {
  const app = await appWith()
  await app.register(
    async (v1) => {
      v1.wsRoute('/chat', route)
      v1.wsRoute('/', route)
      await v1.register(async (rooms) => void rooms.wsRoute('/:room', route), { prefix: '/rooms' })
    },
    { prefix: '/v1' }
  )
  for (const path of ['/v1/chat', '/v1/', '/v1', '/v1/rooms/a']) {
    await using ws = await injectWs(app, path)
    assert.equal(ws.statusCode, 101, path)
  }
  for (const path of ['/chat', '/rooms/a', '/v1/rooms', '/v1/chat/']) {
    await using ws = await injectWs(app, path, { origin })
    assert.equal(ws.statusCode, 404, path)
  }
  assert.deepEqual(
    app.wsGuard.routes().map(({ path }) => path),
    ['/v1/chat', '/v1/', '/v1/rooms/:room']
  )
})

test('prefixTrailingSlash is Fastify’s', async () => {
  const app = await appWith()
  await app.register(async (a) => void a.wsRoute('/', { ...route, prefixTrailingSlash: 'slash' }), { prefix: '/a' })
  await app.register(async (b) => void b.wsRoute('/', { ...route, prefixTrailingSlash: 'no-slash' }), { prefix: '/b' })
  const statuses: number[] = []
  for (const path of ['/a', '/a/', '/b', '/b/']) {
    await using ws = await injectWs(app, path, { origin })
    statuses.push(ws.statusCode)
  }
  assert.deepEqual(statuses, [404, 101, 101, 404])
})

test('constraints choose among routes of one path', async () => {
  const app = await appWith()
  const named = (name: string) => ({
    handler: ({ socket }: { socket: { send(data: string): void } }) => socket.send(name)
  })
  app.wsRoute('/x', { ...named('a'), constraints: { host: 'a.example.com' } })
  app.wsRoute('/x', { ...named('b'), constraints: { host: 'b.example.com' } })
  app.wsRoute('/v', { ...named('v2'), constraints: { version: '2.0.0' } })
  for (const name of ['a', 'b']) {
    await using ws = await injectWs(app, '/x', { headers: { host: `${name}.example.com` } })
    assert.equal(await ws.receive(), name)
  }
  await using other = await injectWs(app, '/x', { headers: { host: 'c.example.com' } })
  assert.equal(other.statusCode, 404)
  await using second = await injectWs(app, '/v', { headers: { 'accept-version': '2.x' } })
  assert.equal(await second.receive(), 'v2')
  await using first = await injectWs(app, '/v', { headers: { 'accept-version': '1.x' } })
  assert.equal(first.statusCode, 404)
})

test('config and the schema are the developer’s own, also for the app’s onRoute hooks', async () => {
  const app = await appWith()
  const seen: unknown[] = []
  app.addHook(
    'onRoute',
    ({ method, url, config, schema }) => void seen.push({ method, url, config: { ...config }, schema: { ...schema } })
  )
  const params = Type.Object({ room: Type.String() })
  const config = { mine: 1 }
  let configOfRequest: unknown
  app.wsRoute('/:room', {
    ...route,
    config: config as never,
    schema: { params },
    onRequest: (request, _reply, done) => {
      configOfRequest = request.routeOptions.config
      done()
    }
  })
  await using ws = await injectWs(app, '/a')
  assert.equal(ws.statusCode, 101)
  assert.equal((configOfRequest as { mine: number }).mine, 1)
  assert.equal(seen.length, 1)
  const [{ method, schema }] = seen as [{ method: string; schema: object }]
  assert.equal(method, 'GET')
  assert.deepEqual(JSON.parse(JSON.stringify(schema)), JSON.parse(JSON.stringify({ params, hide: true })))
  assert.deepEqual(config, { mine: 1 })
})

test('logLevel silences the request and the connection', async () => {
  const logs = captureLogs('info')
  const app = await appWith({ server: { logger: logs.logger } })
  app.wsRoute('/loud', { handler: ({ log }) => log.info('of the connection') })
  app.wsRoute('/quiet', { handler: ({ log }) => log.info('of the connection'), logLevel: 'warn' })
  for (const [path, lines] of [
    ['/loud', 1],
    ['/quiet', 0]
  ] as const) {
    logs.clear()
    const ws = await injectWs(app, path)
    ws.close()
    await ws.closed
    for (const event of ['incoming request', 'ws.open', 'of the connection']) {
      assert.equal(logs.filter(event).length, lines, `${path}: ${event}`)
    }
  }
})

test('wsRoute returns the instance it was called on; `this` in handlers is that instance', async () => {
  const app = await appWith()
  app.decorate('where', 'root')
  const seen: unknown[] = []
  await app.register(async (child) => {
    child.decorate('inner', 'child')
    const returned = child
      .wsRoute('/contract', {
        contract: echo,
        handlers: {
          say(this: FastifyInstance) {
            seen.push(this)
          },
          ask: {
            handler(this: FastifyInstance) {
              seen.push(this)
              return { items: [] }
            }
          }
        }
      })
      .wsRoute('/raw', {
        handler() {
          seen.push(this)
        }
      })
    assert.equal(returned, child)
    seen.push(child)
  })
  await using ws = await injectWs(app, '/contract', { contract: echo })
  ws.send('say', { text: '' })
  ws.send('ask', { count: 1 }, { ref: 1 })
  await ws.receive('reply')
  await using raw = await injectWs(app, '/raw')
  assert.equal(raw.statusCode, 101)
  const [child, ...others] = seen
  assert.equal(others.length, 3)
  for (const other of others) assert.equal(other, child)
  assert.equal((child as { inner: string; where: string }).inner + (child as { where: string }).where, 'childroot')
})

test('a route after ready() is Fastify’s own error, and leaves no trace', async () => {
  const app = await appWith()
  await app.ready()
  assert.throws(() => app.wsRoute('/late', route), { code: 'FST_ERR_INSTANCE_ALREADY_LISTENING' })
  assert.deepEqual(app.wsGuard.routes(), [])
})

test('a route declared twice is Fastify’s own error', async () => {
  const app = await appWith()
  app.wsRoute('/x', route)
  assert.throws(() => app.wsRoute('/x', route), { code: 'FST_ERR_DUPLICATED_ROUTE' })
})

/* Hooks. */

test('our checks come first in each phase, then the app’s hooks, then the route’s', async () => {
  const order: string[] = []
  const logs = captureLogs()
  const app = await appWith({ server: { logger: logs.logger } })
  const note = (name: string) => (_request: FastifyRequest, _reply: FastifyReply, done: () => void) => {
    order.push(name)
    done()
  }
  const parsing =
    (name: string) =>
    (_request: FastifyRequest, _reply: FastifyReply, _payload: unknown, done: (error: null) => void): void => {
      order.push(name)
      done(null)
    }
  app.addHook('onRequest', note('app onRequest'))
  app.addHook('preParsing', parsing('app preParsing') as never)
  app.addHook('preValidation', note('app preValidation'))
  app.addHook('preHandler', note('app preHandler'))
  app.wsRoute('/:number', {
    ...route,
    schema: { params: Type.Object({ number: Type.Integer() }) },
    authorize: () => {
      order.push('authorize')
      return true
    },
    data: () => void order.push('data'),
    onRequest: [note('onRequest 1'), note('onRequest 2')],
    preParsing: parsing('preParsing') as never,
    preValidation: async () => {
      order.push('preValidation')
    },
    preHandler: note('preHandler'),
    onOpen: () => void order.push('onOpen')
  })
  await using ws = await injectWs(app, '/1')
  assert.equal(ws.statusCode, 101)
  const whole = [
    'app onRequest',
    'onRequest 1',
    'onRequest 2',
    'app preParsing',
    'preParsing',
    'app preValidation',
    'preValidation',
    'authorize',
    'data',
    'app preHandler',
    'preHandler',
    'onOpen'
  ]
  assert.deepEqual(order, whole)
  // A handshake without a key is refused before any hook of the developer's; a wrong Origin after onRequest only.
  order.length = 0
  await using foreign = await injectWs(app, '/1', { origin: 'https://evil.example' })
  assert.equal(foreign.statusCode, 403)
  assert.deepEqual(order, whole.slice(0, 5))
  order.length = 0
  const { statusCode } = await app.inject({ url: '/1', headers: { origin } })
  assert.equal(statusCode, 426)
  assert.deepEqual(order, [])
  await using invalid = await injectWs(app, '/one')
  assert.equal(invalid.statusCode, 400)
  assert.deepEqual(invalid.json(), { statusCode: 400, error: 'Bad Request', code: 'bad_request' })
  assert.deepEqual(order, whole.slice(0, 7))
})

const phases = ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const

for (const phase of phases) {
  test(`H13: a ${phase} hook that throws or rejects is refused with one body; the error stays in the log`, async () => {
    const logs = captureLogs()
    const app = await appWith({ server: { logger: logs.logger } })
    const forbidden = Object.assign(new Error('canary-detail'), { statusCode: 403 })
    app.wsRoute('/error', {
      ...route,
      [phase]: async () => {
        throw new Error('canary-detail')
      }
    })
    app.wsRoute('/forbidden', {
      ...route,
      [phase]: (...parameters: unknown[]) => (parameters.at(-1) as (error: Error) => void)(forbidden)
    })
    app.wsRoute('/fine', { ...route, [phase]: async () => {} })
    await using failed = await injectWs(app, '/error')
    assert.equal(failed.statusCode, 500)
    assert.deepEqual(failed.json(), { statusCode: 500, error: 'Internal Server Error', code: 'internal' })
    assert.equal(failed.headers.connection, 'close')
    assert.match(logs.text(), /canary-detail/)
    await using refused = await injectWs(app, '/forbidden')
    assert.deepEqual(refused.json(), refusedBody)
    await using fine = await injectWs(app, '/fine')
    assert.equal(fine.statusCode, 101)
  })

  test(`a ${phase} hook may answer the handshake itself`, async () => {
    const app = await appWith()
    app.wsRoute('/x', {
      ...route,
      [phase]: async (_request: FastifyRequest, reply: FastifyReply) => reply.code(402).send({ pay: 'first' })
    })
    await using ws = await injectWs(app, '/x')
    assert.equal(ws.statusCode, 402)
    assert.deepEqual(ws.json(), { pay: 'first' })
    assert.equal(ws.headers.connection, 'close')
    await ws.closed
  })
}

test('hooks of a scope hold for its routes and those below, not for siblings', async () => {
  const app = await appWith()
  const refuseWith = (statusCode: number) => async (_request: FastifyRequest, reply: FastifyReply) =>
    reply.code(statusCode).send()
  await app.register(
    async (a) => {
      a.addHook('preValidation', refuseWith(402))
      a.wsRoute('/own', route)
      await a.register(async (inner) => void inner.wsRoute('/inner', route))
    },
    { prefix: '/a' }
  )
  await app.register(async (b) => void b.wsRoute('/own', route), { prefix: '/b' })
  const statuses: Record<string, number> = {}
  for (const path of ['/a/own', '/a/inner', '/b/own']) {
    await using ws = await injectWs(app, path)
    statuses[path] = ws.statusCode
  }
  assert.deepEqual(statuses, { '/a/own': 402, '/a/inner': 402, '/b/own': 101 })
})

test('H13: the app’s error and not-found handlers do not change a refusal', async () => {
  const app = await appWith()
  const mine = async (_: unknown, _request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> =>
    reply.code(418).send({ mine: true })
  app.setErrorHandler(mine)
  app.setNotFoundHandler(async (_request, reply) => reply.code(418).send({ mine: true }))
  app.setSchemaErrorFormatter(() => new Error('mine'))
  await app.register(async (child) => {
    child.setErrorHandler(mine)
    child.wsRoute('/x/:n', {
      ...route,
      schema: { params: Type.Object({ n: Type.Integer() }) },
      authorize: (_user, request) => {
        if (request.params.n === 2) throw new Error('mine')
        return request.params.n === 1
      }
    })
  })
  app.get('/plain', async () => {
    throw new Error('mine')
  })
  const statuses: [number, unknown][] = []
  for (const path of ['/x/1', '/x/3', '/x/2', '/x/one', '/nowhere', '/plain']) {
    await using ws = await injectWs(app, path, { origin })
    statuses.push([ws.statusCode, ws.body === '' ? '' : ws.json<{ code?: string }>().code])
  }
  assert.deepEqual(statuses, [
    [101, ''],
    [403, 'forbidden'],
    [500, 'internal'],
    [400, 'bad_request'],
    [404, 'not_found'],
    [400, 'bad_request']
  ])
  // What is no handshake still goes to the app.
  assert.deepEqual((await app.inject('/plain')).json(), { mine: true })
  assert.deepEqual((await app.inject('/nowhere')).json(), { mine: true })
})

/* Other methods. */

test('a GET that is no upgrade is 426; other methods are Fastify’s 404', async () => {
  const app = await appWith()
  app.wsRoute('/x', route)
  const get = await app.inject({ url: '/x?token=canary' })
  assert.equal(get.statusCode, 426)
  assert.deepEqual(get.json(), { statusCode: 426, error: 'Upgrade Required', code: 'upgrade_required' })
  assert.equal(get.headers.upgrade, 'websocket')
  assert.equal(get.headers['x-content-type-options'], 'nosniff')
  for (const method of ['HEAD', 'OPTIONS', 'POST', 'DELETE'] as const) {
    assert.equal((await app.inject({ method, url: '/x' })).statusCode, 404, method)
  }
})

test('P1: a token in the URL of a plain GET is not logged', async () => {
  const logs = captureLogs()
  const app = await appWith({ server: { logger: logs.logger } })
  app.wsRoute('/x', route)
  await app.inject({ url: '/x?token=canary-1', headers: { host: 'here' } })
  assert.doesNotMatch(logs.text(), /canary-1/)
  assert.equal((logs.find('incoming request') as unknown as { req: { url: string } }).req.url, '/x')
})

/* Schemas. */

test('params, querystring and headers are checked, coerced and typed by the schema', async () => {
  const app = (await appWith()).withTypeProvider<TypeBoxTypeProvider>()
  const seen: unknown[] = []
  const schema = {
    params: Type.Object({ room: Type.Integer() }),
    querystring: Type.Object({ tag: Type.Array(Type.String()), limit: Type.Integer({ default: 5 }) }),
    headers: Type.Object({ 'x-version': Type.Integer() })
  }
  const before = JSON.stringify(schema)
  app.wsRoute('/:room', {
    ...route,
    schema,
    data: (request) => request.headers['x-version'] + 1,
    onOpen: (connection) => {
      const { params, query, data } = connection
      seen.push(params.room + 1, query.tag.length, query.limit + 1, data + 1)
    }
  })
  await using ws = await injectWs(app, '/41?tag=a', { headers: { 'x-version': '7' } })
  assert.equal(ws.statusCode, 101)
  assert.deepEqual(seen, [42, 1, 6, 9])
  for (const [path, version] of [
    ['/a?tag=a', '7'],
    ['/41', '7'],
    ['/41?tag=a&limit=x', '7'],
    ['/41?tag=a', 'x']
  ] as const) {
    await using refused = await injectWs(app, path, { headers: { 'x-version': version } })
    assert.equal(refused.statusCode, 400, path)
    assert.equal(refused.json<{ code: string }>().code, 'bad_request')
  }
  assert.equal(JSON.stringify(schema), before)
  assert.deepEqual(Object.getOwnPropertySymbols(schema), [])
})

test('without a schema params and query are what the router read', async () => {
  const app = await appWith()
  const seen: unknown[] = []
  app.wsRoute('/:room', { handler: ({ params, query }) => void seen.push({ ...params }, { ...query }) })
  await using ws = await injectWs(app, '/a%20b?x=1&x=2&y')
  assert.equal(ws.statusCode, 101)
  assert.deepEqual(seen, [{ room: 'a b' }, { x: ['1', '2'], y: '' }])
})

/* What reaches a connection. */

test('data, authorize, topics, onClose and onError get the connection of their own route', async () => {
  const app = await appWith({ guard: { auth: {} } })
  const seen: unknown[] = []
  app.wsRoute('/:room', {
    ...route,
    authorize: async (user) => (user as { sub: string }).sub === 'alice',
    data: async (request) => ({ agent: request.headers['x-agent'] }),
    topics: (connection, topic) => topic === (connection.params as { room: string }).room,
    onOpen: async (connection) => {
      seen.push(connection.data.agent, await connection.subscribe('a'), await connection.subscribe('b'))
      throw new Error('of onOpen')
    },
    onError: (error, connection) => void seen.push((error as Error).message, connection.data.agent),
    onClose: (connection, { code, cause }) => void seen.push(connection.data.agent, code, cause)
  })
  await app.ready()
  const ws = await injectWs(app, '/a', { token: tokenFor(app), headers: { 'x-agent': 'test' } })
  assert.equal((await ws.closed).code, 1011)
  await eventually(() => assert.deepEqual(seen, ['test', true, false, 'of onOpen', 'test', 'test', 1011, 'internal']), {
    timeoutMs: 10_000
  })
  await using refused = await injectWs(app, '/a', { token: tokenFor(app, 'bob') })
  assert.deepEqual(refused.json(), refusedBody)
})

test('a handler’s authorize is asked for each message', async () => {
  const app = await appWith()
  let isAllowed = false
  app.wsRoute('/x', {
    contract: echo,
    handlers: {
      say: { authorize: async () => isAllowed, handler: handlers.say },
      ask: { authorize: () => isAllowed, cost: 4, handler: handlers.ask }
    }
  })
  await using ws = await injectWs(app, '/x', { contract: echo })
  ws.send('say', { text: '' }, { ref: 1 })
  ws.send('ask', { count: 1 }, { ref: 2 })
  for (const ref of [1, 2]) {
    const error = await ws.receive('error')
    assert.deepEqual([error.code, error.ref], ['forbidden', ref])
  }
  isAllowed = true
  ws.send('say', { text: 'a' })
  ws.send('ask', { count: 1 }, { ref: 4 })
  assert.deepEqual(await ws.receive('said'), { type: 'said', text: 'a' })
  assert.equal((await ws.receive('reply')).ref, 4)
})

test('the wire’s own auth message needs a token and nothing else', async () => {
  const app = await appWith({ guard: { auth: {} } })
  app.wsRoute('/x', route)
  await app.ready()
  await using ws = await injectWs(app, '/x', { token: tokenFor(app) })
  for (const message of [{}, { token: 5 }, { token: 'x', more: 1 }]) {
    ws.send('auth', message as never, { ref: 3 })
    const error = await ws.receive('error')
    assert.equal(error.code, 'invalid_message')
    assert.equal(error.ref, 3)
    assert.deepEqual(error.details, [{ path: '/token', message: 'Expected { type: "auth", token: string }' }])
  }
  ws.send('auth', { token: tokenFor(app) }, { ref: 4 })
  assert.ok(((await ws.receive('auth_ok')) as { expiresInMs: number }).expiresInMs > 3_000_000)
  assert.deepEqual(await ws.receive('reply'), { type: 'reply', ref: 4, data: null })
})

test('with auth: false the auth message is an unknown type', async () => {
  const app = await appWith()
  app.wsRoute('/x', route)
  await using ws = await injectWs(app, '/x')
  ws.send('auth', { token: 'x' })
  assert.equal((await ws.receive('error')).code, 'unknown_type')
})

test('T1: requireTls is what NODE_ENV says unless it is set', async (t) => {
  const before = process.env.NODE_ENV
  t.after(() => {
    if (before === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = before
  })
  const postures: boolean[] = []
  for (const env of ['production', 'development']) {
    process.env.NODE_ENV = env
    const app = await appWith()
    app.wsRoute('/default', route)
    app.wsRoute('/plain', { ...route, requireTls: false })
    app.wsRoute('/tls', { ...route, requireTls: true })
    postures.push(...app.wsGuard.routes().map(({ requireTls }) => requireTls))
    await using plain = await injectWs(app, '/default')
    assert.equal(plain.statusCode, env === 'production' ? 403 : 101)
    await using tls = await injectWs(app, '/default', { tls: true, origin })
    assert.equal(tls.statusCode, 101)
  }
  assert.deepEqual(postures, [true, false, true, false, false, true])
})

test('the polluted prototype of M4 gives a route no hook, no handler and no data', async (t) => {
  const app = await appWith()
  t.after(() => {
    for (const name of ['handler', 'authorize', 'data', 'onClose', 'topics'])
      Reflect.deleteProperty(Object.prototype, name)
  })
  const canary = (): void => assert.fail('a function of the prototype was called')
  Object.assign(Object.prototype, { handler: canary, authorize: canary, data: canary, onClose: canary, topics: canary })
  assert.throws(() => app.wsRoute('/bare', {} as never), /a route needs a "contract"/)
  app.wsRoute('/x', route)
  for (const name of ['handler', 'authorize', 'data', 'onClose', 'topics'])
    Reflect.deleteProperty(Object.prototype, name)
  const ws = await injectWs(app, '/x')
  assert.equal(ws.statusCode, 101)
  ws.close()
  await ws.closed
})
