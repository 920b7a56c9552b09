import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, test } from 'node:test'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { createWebSocketStream, WebSocket } from 'ws'
import type { WsGuardOptions } from '../../lib/index.ts'
import { injectWs } from '../../lib/testing.ts'
import { buildApp, echo, origin, tokenFor } from '../support/app.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { captureLogs } from '../support/log-capture.ts'
import { connect } from '../support/raw-client.ts'
import { eventually, until, within } from '../support/wait.ts'

/** The machine may be loaded. */
const patient = { timeoutMs: 10_000 }

const apps: FastifyInstance[] = []
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close()
})

/** An app with a guarded route, as strict as can be, beside which the others must live. */
async function appWith(guard: WsGuardOptions = {}, logger?: { level: string }): Promise<FastifyInstance> {
  const strict = { limits: { maxPayloadBytes: 100, attempts: { max: 3 } }, requireTls: true, protocols: ['guarded.v1'] }
  const app = await buildApp({
    guard: { ...strict, ...guard },
    ...(logger !== undefined && { server: { logger } })
  })
  apps.push(app)
  app.wsRoute('/guarded', { contract: echo, handlers: { say: () => {}, ask: () => ({ items: [] }) } })
  return app
}

async function listen(app: FastifyInstance): Promise<number> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

async function opened(url: string, protocols: string[] = []): Promise<WebSocket> {
  const socket = new WebSocket(url, protocols)
  await within(once(socket, 'open'))
  return socket
}

async function nextMessage(socket: WebSocket): Promise<string> {
  const [data] = await within(once(socket, 'message'))
  return String(data)
}

test('an echo with `websocket: true`; a plain GET of it is 404, as @fastify/websocket says', async () => {
  const app = await appWith()
  app.get('/echo', { websocket: true }, (socket, request) => {
    assert.equal(request.ws, true)
    socket.on('message', (message: Buffer) => socket.send(`hi ${message}`))
  })
  const socket = await opened(`ws://127.0.0.1:${await listen(app)}/echo`)
  socket.send('you')
  assert.equal(await nextMessage(socket), 'hi you')
  socket.close()
  await once(socket, 'close')
  assert.equal((await app.inject('/echo')).statusCode, 404)
})

test('`wsHandler` beside `handler`: both answer on one path', async () => {
  const app = await appWith()
  app.route({
    method: 'GET',
    url: '/hello',
    handler: (_request, reply) => reply.send({ hello: 'world' }),
    wsHandler: (socket) => {
      socket.send('hello client')
      socket.once('message', () => socket.close(1000, 'bye'))
    }
  })
  const socket = new WebSocket(`ws://127.0.0.1:${await listen(app)}/hello`)
  assert.equal(await nextMessage(socket), 'hello client')
  socket.send('x')
  const [code, reason] = await within(once(socket, 'close'))
  assert.deepEqual([code, String(reason)], [1000, 'bye'])
  const answer = await app.inject('/hello')
  assert.deepEqual([answer.statusCode, answer.json()], [200, { hello: 'world' }])
})

test('hooks run as on any route, encapsulated; `this` is the instance', async () => {
  const app = await appWith()
  const order: string[] = []
  app.addHook('onRequest', async () => void order.push('app'))
  await app.register(
    async (child) => {
      child.decorate('inner', 'child')
      child.addHook('preValidation', async (request, reply) => {
        order.push('child')
        if (request.headers['api-key'] !== 'key') return reply.code(401).send('not authenticated')
      })
      child.get('/', { websocket: true, preHandler: async () => void order.push('route') }, function (socket) {
        socket.send((this as unknown as { inner: string }).inner)
      })
    },
    { prefix: '/child' }
  )
  await using ws = await injectWs(app, '/child/', { headers: { 'api-key': 'key' } })
  assert.equal(await ws.receive(), 'child')
  assert.deepEqual(order, ['app', 'child', 'route'])
  await using refused = await injectWs(app, '/child/')
  assert.deepEqual([refused.statusCode, refused.body], [401, 'not authenticated'])
})

test('a wildcard route takes what no other route does; guarded routes stay guarded', async () => {
  const app = await appWith()
  app.get('/*', { websocket: true }, (socket) => socket.send('wildcard'))
  app.get('/', { websocket: true }, (socket) => socket.send('root'))
  const answers: unknown[] = []
  for (const path of ['/', '/anything/below']) {
    await using ws = await injectWs(app, path)
    answers.push(await ws.receive())
  }
  assert.deepEqual(answers, ['root', 'wildcard'])
  await using guarded = await injectWs(app, '/guarded')
  assert.equal(guarded.statusCode, 403)
})

test('ws’s defaults: large messages, the first protocol offered, no limit of attempts, no TLS, no Origin', async () => {
  const app = await appWith()
  const lengths: number[] = []
  app.get('/plain', { websocket: true }, (socket, request) => {
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      lengths.push(data.length)
      socket.send(isBinary ? 'binary' : 'text')
    })
    assert.equal(request.headers.origin, undefined)
  })
  const url = `ws://127.0.0.1:${await listen(app)}/plain`
  for (let attempt = 0; attempt < 6; attempt++) {
    const socket = await opened(url, ['b.v1', 'guarded.v1'])
    assert.equal(socket.protocol, 'b.v1')
    if (attempt === 0) {
      for (const data of [Buffer.alloc(16 * 1024 * 1024), 'x'.repeat(1_000_000)]) {
        socket.send(data)
        await within(once(socket, 'message'), { timeoutMs: 10_000 })
      }
      for (let message = 0; message < 200; message++) socket.send('{')
      await eventually(() => assert.equal(lengths.length, 202), patient)
      assert.equal(socket.readyState, WebSocket.OPEN)
    }
    socket.terminate()
  }
  assert.deepEqual(lengths.slice(0, 2), [16 * 1024 * 1024, 1_000_000])
  // A 101 without our headers, and one without a protocol.
  await using bare = await injectWs(app, '/plain')
  assert.deepEqual([bare.protocol, bare.headers['x-content-type-options']], ['', undefined])
})

test('upgrades to paths that are no websocket route count as attempts; plain ones do not use them up', async () => {
  const app = await appWith()
  app.get('/plain', { websocket: true }, (socket) => socket.send('hi'))
  app.get('/http', async () => ({ ok: true }))
  for (let attempt = 0; attempt < 6; attempt++) {
    await using ws = await injectWs(app, '/plain')
    assert.equal(await ws.receive(), 'hi')
  }
  const statuses: number[] = []
  for (const path of ['/http', '/nowhere', '/http', '/http', '/nowhere']) {
    await using ws = await injectWs(app, path)
    statuses.push(ws.statusCode)
  }
  assert.deepEqual(statuses, [400, 404, 400, 429, 429])
  await using last = await injectWs(app, '/plain')
  assert.equal(last.statusCode, 101)
  assert.deepEqual((await app.inject('/http')).json(), { ok: true })
})

test('websocket: { errorHandler } gets errors of plain routes, with `this`, and none of ours', async () => {
  const seen: unknown[] = []
  const logs = captureLogs()
  const app = await appWith(
    {
      websocket: {
        errorHandler(error, socket, request, reply) {
          seen.push([error.message, this === app, request.url, reply.sent])
          socket.close(4999)
        }
      },
      requireTls: false
    },
    logs.logger
  )
  app.get('/sync', { websocket: true }, () => {
    throw new Error('sync')
  })
  app.get('/async', { websocket: true }, async () => {
    throw new Error('async')
  })
  app.wsRoute('/ours', {
    handler: async () => {
      throw new Error('ours')
    }
  })
  for (const path of ['/sync', '/async']) {
    const ws = await injectWs(app, path)
    assert.equal((await ws.closed).code, 4999)
  }
  const ours = await injectWs(app, '/ours', { token: tokenFor(app) })
  assert.equal((await ours.closed).code, 1011)
  assert.deepEqual(seen, [
    ['sync', true, '/sync', true],
    ['async', true, '/async', true]
  ])
  assert.equal(logs.filter('ws.handler_error').length, 1)
})

test('without an errorHandler an error is logged and the socket terminated, as @fastify/websocket does', async () => {
  const logs = captureLogs()
  const app = await appWith({}, logs.logger)
  app.get('/throws', { websocket: true }, () => {
    throw new Error('of the handler')
  })
  let socketError: string | undefined
  app.get('/plain', { websocket: true }, (socket) => {
    socket.on('error', ({ message }: Error) => {
      socketError = message
    })
    socket.send('hi')
  })
  const ws = await injectWs(app, '/throws')
  assert.equal((await ws.closed).code, 1006)
  await until(() => logs.find('of the handler'), patient)
  // A frame against the protocol: the error goes to the same place.
  const client = await connect(await listen(app))
  await client.handshake({ path: '/plain', ...patient })
  await client.sendFrame({ payload: 'x', masked: false })
  await client.serverEnd(patient)
  await until(() => logs.find(String(socketError)), patient)
})

test('app.websocketServer.clients has all sockets, for a broadcast of the app’s own', async () => {
  const app = await appWith({ requireTls: false })
  app.get('/plain', { websocket: true }, () => {})
  const sockets = [
    await injectWs(app, '/plain'),
    await injectWs(app, '/plain'),
    await injectWs(app, '/guarded', { token: tokenFor(app) })
  ]
  assert.equal(app.websocketServer.clients.size, 3)
  assert.equal(app.wsGuard.connections, 1)
  for (const client of app.websocketServer.clients) client.send('"to all"')
  for (const ws of sockets) assert.equal(await ws.receive(), 'to all')
})

test('createWebSocketStream works on a plain socket', async () => {
  const app = await appWith()
  app.get('/stream', { websocket: true }, (socket) => {
    const stream = createWebSocketStream(socket)
    stream.pipe(stream)
  })
  await using ws = await injectWs(app, '/stream')
  ws.sendRaw(Buffer.from('through a stream'))
  assert.deepEqual(await ws.receive(), Buffer.from('through a stream'))
})

test('app.injectWS of @fastify/websocket works for plain routes', async () => {
  const app = await appWith()
  app.get('/plain/:name', { websocket: true }, (socket, request) => {
    const { headers, query, params } = request as { headers: object; query: object; params: object }
    const key = (headers as Record<string, string>)['api-key']
    socket.on('message', (data: Buffer) => socket.send(JSON.stringify({ key, query, params, data: String(data) })))
  })
  const preValidation = async (_request: FastifyRequest, reply: FastifyReply): Promise<unknown> =>
    reply.code(401).send()
  app.get('/refused', { websocket: true, preValidation }, () => {})
  await app.ready()
  let isInit = false
  const socket = await within(
    app.injectWS('/plain/a?x=1', { headers: { 'api-key': 'k' } }, { onInit: () => (isInit = true) } as never)
  )
  assert.equal(isInit, true)
  socket.send('hi')
  assert.deepEqual(JSON.parse(await nextMessage(socket)), {
    key: 'k',
    query: { x: '1' },
    params: { name: 'a' },
    data: 'hi'
  })
  socket.terminate()
  await assert.rejects(within(app.injectWS('/refused')), /Unexpected server response: 401/)
  await assert.rejects(within(app.injectWS('/nowhere')), /Unexpected server response: 4\d\d/)
})

test('a plain route reads its own query parameters, whatever they are called', async () => {
  const app = await appWith()
  app.get('/plain', { websocket: true }, (socket, request) => {
    socket.send(JSON.stringify({ query: request.query, url: request.url, raw: request.raw.url }))
  })
  await using ws = await injectWs(app, '/plain?token=mine&a=1&ticket=b')
  const url = '/plain?token=mine&a=1&ticket=b'
  assert.deepEqual(await ws.receive(), { query: { token: 'mine', a: '1', ticket: 'b' }, url, raw: url })
})

test('ordinary routes keep their tokens, methods and bodies', async () => {
  const app = await appWith()
  app.all('/http', async (request) => ({ method: request.method, query: request.query, body: request.body ?? null }))
  const answer = await app.inject({ method: 'POST', url: '/http?token=mine', payload: { a: 1 }, headers: { origin } })
  assert.deepEqual(answer.json(), { method: 'POST', query: { token: 'mine' }, body: { a: 1 } })
  assert.equal(answer.headers['x-content-type-options'], undefined)
  assert.equal(answer.headers.connection, 'keep-alive')
})

test('closing the app closes plain sockets too, as @fastify/websocket does', async () => {
  const app = await appWith()
  app.get('/plain', { websocket: true }, () => {})
  const socket = await opened(`ws://127.0.0.1:${await listen(app)}/plain`)
  const closed = once(socket, 'close')
  await within(app.close(), { timeoutMs: 5_000 })
  assert.equal((await within(closed))[0], 1005)
})

test('P5: a plain socket that does not answer is destroyed at shutdown.timeoutMs', async () => {
  const app = await appWith({ shutdown: { timeoutMs: 50 } })
  app.get('/plain', { websocket: true }, () => {})
  let isWaiting = false
  app.get('/slow', {
    websocket: true,
    preHandler: () => {
      isWaiting = true
    },
    handler: () => {}
  })
  const port = await listen(app)
  const [open, pending] = [await connect(port), await connect(port)]
  await open.handshake({ path: '/plain', ...patient })
  await pending.write(handshakeRequest({ path: '/slow' }))
  await until(() => isWaiting, patient)
  await within(app.close(), { timeoutMs: 10_000 })
  await Promise.all([open.serverEnd(patient), pending.serverEnd(patient)])
})

test('an app may hand app.websocketServer upgrades of a server of its own', async (t) => {
  const app = await appWith()
  await app.ready()
  const server = createServer()
  t.after(() => server.close())
  server.on('upgrade', (request, socket, head) => {
    app.websocketServer.handleUpgrade(request, socket, head, (own) => {
      app.websocketServer.emit('connection', own, request)
      own.send(own.protocol)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, ['a', 'b'])
  assert.equal(await nextMessage(socket), 'a')
  socket.close()
  await within(once(socket, 'close'))
})
