import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import websocket from '@fastify/websocket'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import { injectWs } from '../../lib/testing.ts'
import { connectionsOf, once, until, within } from '../support/wait.ts'

type Setup = (app: FastifyInstance) => void

async function appWith(t: TestContext, setup: Setup, options: object = {}): Promise<FastifyInstance> {
  const app: FastifyInstance = Fastify(options)
  t.after(() => app.close())
  await app.register(websocket)
  setup(app)
  return app
}

/** `GET /echo` sends every frame back; `GET /whoami` says what the server saw of the request. */
const echo: Setup = (app) => {
  app.get('/echo', { websocket: true }, (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  })
  app.get('/whoami', { websocket: true }, (socket: WebSocket, request: FastifyRequest) => {
    const { ip, protocol, host, headers, url } = request
    socket.send(JSON.stringify({ type: 'you', ip, protocol, host, headers, url }))
  })
}

interface You {
  ip: string
  protocol: string
  host: string
  url: string
  headers: Record<string, string | undefined>
}

async function whoami(
  app: FastifyInstance,
  ...rest: Parameters<typeof injectWs> extends [unknown, ...infer R] ? R : never
) {
  await using ws = await injectWs(app, ...rest)
  return (await ws.receive('you')) as You
}

test('messages go both ways, in order, as JSON, text and binary, without a port', async (t) => {
  const app = await appWith(t, echo)
  await using ws = await injectWs(app, '/echo')
  assert.equal(ws.statusCode, 101)
  assert.equal(ws.body, '')
  assert.equal(ws.headers.upgrade, 'websocket')
  for (let n = 0; n < 100; n++) ws.send('count', { n })
  for (let n = 0; n < 100; n++) assert.deepEqual(await ws.receive('count'), { type: 'count', n })
  ws.send('asked', { type: 'x', ref: 1 }, { ref: 'a' })
  assert.deepEqual(await ws.receive(), { type: 'asked', ref: 'a' })
  ws.send('own-ref', { ref: 1 })
  assert.deepEqual(await ws.receive(), { type: 'own-ref', ref: 1 })
  ws.send('bare', undefined)
  assert.deepEqual(await ws.receive(), { type: 'bare' })
  ws.sendRaw('{not json')
  assert.equal(await ws.receive(), '{not json')
  ws.sendRaw(Buffer.from([1, 2]))
  assert.deepEqual(await ws.receive(), Buffer.from([1, 2]))
  ws.sendRaw('as binary', { binary: true })
  assert.deepEqual(await ws.receive(), Buffer.from('as binary'))
  ws.sendRaw(Buffer.from('"as text"'), { binary: false })
  assert.equal(await ws.receive(), 'as text')
  assert.equal(app.server.listening, false)
})

test('a payload that is not an object is a mistake of the test', async (t) => {
  await using ws = await injectWs(await appWith(t, echo), '/echo')
  for (const payload of ['text', 1, null, [1]]) assert.throws(() => ws.send('x', payload), /payload must be an object/)
})

test('receive(type) takes the first of that type and leaves the others; nothing sent before it is lost', async (t) => {
  const app = await appWith(t, (app) => {
    app.get('/', { websocket: true }, (socket) => {
      for (const type of ['a', 'b', 'a', 'c']) socket.send(JSON.stringify({ type }))
      for (const raw of ['null', '1', '{}']) socket.send(raw)
    })
  })
  await using ws = await injectWs(app, '/')
  assert.deepEqual(await ws.receive('c'), { type: 'c' })
  const types: unknown[] = []
  for (let n = 0; n < 6; n++) types.push(await ws.receive())
  assert.deepEqual(types, [{ type: 'a' }, { type: 'b' }, { type: 'a' }, null, 1, {}])
})

test('receivers that wait are served in order, each by its type', async (t) => {
  await using ws = await injectWs(await appWith(t, echo), '/echo')
  const waiting = [ws.receive('b'), ws.receive(), ws.receive('a')]
  for (const [n, type] of ['a', 'a', 'b'].entries()) ws.send(type, { n })
  assert.deepEqual(await Promise.all(waiting), [
    { type: 'b', n: 2 },
    { type: 'a', n: 0 },
    { type: 'a', n: 1 }
  ])
})

test('receive says after its time what did arrive, and where in the test it was called', async (t) => {
  await using ws = await injectWs(await appWith(t, echo), '/echo')
  ws.send('first', {})
  await ws.receive('first')
  for (let n = 0; n < 12; n++) ws.send('other', { n, text: 'x'.repeat(n === 0 ? 300 : 1) })
  ws.sendRaw(Buffer.alloc(3))
  const receivesNothing = () => ws.receive('absent', { timeoutMs: 50 })
  await assert.rejects(receivesNothing(), (error: Error) => {
    assert.match(error.message, /^expected a message of type 'absent': none within 50 ms, the connection is open; /)
    assert.match(error.message, /not yet received: \{"type":"other","n":0,"text":"x+…, .*and 3 more; 1 received before/)
    assert.match(error.stack as string, /^Error: expected a message[\s\S]*receivesNothing.*inject-ws\.test\.ts/)
    return true
  })
  for (let n = 0; n < 12; n++) await ws.receive('other')
  await assert.rejects(ws.receive('absent', { timeoutMs: 1 }), /not yet received: <3 bytes>; 13 received before/)
  await ws.receive()
  await assert.rejects(ws.receive(undefined, { timeoutMs: 1 }), /expected a message: .*nothing else arrived, 14/)
})

test('receive rejects at once when the connection closes or has closed', async (t) => {
  const app = await appWith(t, (app) => {
    app.get('/', { websocket: true }, (socket) => {
      socket.once('message', () => socket.close(4001, 'unauthorized'))
    })
  })
  await using ws = await injectWs(app, '/')
  const waiting = ws.receive('x', { timeoutMs: 60_000 })
  ws.send('go', {})
  await assert.rejects(waiting, /the connection closed with 4001 'unauthorized'; nothing else arrived/)
  await assert.rejects(ws.receive('x', { timeoutMs: 60_000 }), /the connection closed with 4001 'unauthorized'/)
  assert.deepEqual(await ws.closed, { code: 4001, reason: 'unauthorized' })
  ws.send('too late', {})
  ws.sendRaw('too late')
})

test('receive names the error of the client when the server sends a bad frame', async (t) => {
  const app = await appWith(t, (app) => {
    app.get('/', { websocket: true }, (socket) => {
      // A text frame with RSV3.
      ;(socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket.write(Buffer.from([0x91, 0]))
    })
  })
  await using ws = await injectWs(app, '/')
  await assert.rejects(ws.receive(), /closed with \d+ \(Invalid WebSocket frame: RSV2 and RSV3 must be clear\)/)
})

test('the subprotocol that the server chose', async (t) => {
  const app = await appWith(t, echo)
  await using one = await injectWs(app, '/echo', { protocols: 'ws-guard.v1' })
  await using two = await injectWs(app, '/echo', { protocols: ['v2', 'v1'] })
  await using none = await injectWs(app, '/echo')
  assert.deepEqual([one.protocol, two.protocol, none.protocol], ['ws-guard.v1', 'v2', ''])
})

test('the request: address, host, query, token, cookies, headers', async (t) => {
  const app = await appWith(t, echo)
  const plain = await whoami(app, '/whoami')
  assert.equal(plain.ip, '127.0.0.1')
  assert.equal(plain.protocol, 'http')
  assert.equal(plain.host, 'localhost')
  assert.equal(plain.headers.origin, undefined)
  assert.equal(plain.headers.authorization, undefined)
  const full = await whoami(app, '/whoami?a=1&b=%20', {
    remoteAddress: '2001:db8::9',
    token: 'abc.def.ghi',
    origin: 'https://app.example.com',
    headers: { Host: 'api.example.com', 'X-Many': ['1', '2'], Cookie: 'first=1' },
    cookies: { sid: 'a b;c', other: '2' },
    tls: true
  })
  assert.deepEqual([full.ip, full.protocol, full.host], ['2001:db8::9', 'https', 'api.example.com'])
  assert.equal(full.url, '/whoami?a=1&b=%20')
  assert.equal(full.headers.authorization, 'Bearer abc.def.ghi')
  assert.equal(full.headers.origin, 'https://app.example.com')
  assert.equal(full.headers['x-many'], '1, 2')
  assert.equal(full.headers.cookie, 'first=1; sid=a%20b%3Bc; other=2')
  assert.equal((await whoami(app, '/whoami', { cookies: { a: '1' } })).headers.cookie, 'a=1')
})

test('trustProxy: request.ip comes from X-Forwarded-For of a trusted address only', async (t) => {
  const app = await appWith(t, echo, { trustProxy: '10.0.0.0/8' })
  const headers = { 'x-forwarded-for': '203.0.113.5' }
  assert.equal((await whoami(app, '/whoami', { remoteAddress: '10.1.2.3', headers })).ip, '203.0.113.5')
  assert.equal((await whoami(app, '/whoami', { remoteAddress: '192.0.2.1', headers })).ip, '192.0.2.1')
})

test('Origin: the option, else the header, else the first that the route admits', async (t) => {
  const app = await appWith(t, echo)
  const guarded = (origins: readonly string[] | 'same-origin' | false, hosts?: readonly string[]) => ({
    server: app.server,
    ready: () => app.ready(),
    wsGuard: { routes: () => [{ path: '/whoami', origins, hosts }] }
  })
  const seen = async (target: Parameters<typeof injectWs>[0], options: Parameters<typeof injectWs>[2] = {}) => {
    await using ws = await injectWs(target, '/whoami', options)
    const { headers } = (await ws.receive('you')) as You
    return [headers.origin, headers.host]
  }
  const listed = guarded(['https://*.example.com', 'https://a.example', 'https://b.example'])
  assert.deepEqual(await seen(listed), ['https://a.example', 'localhost'])
  assert.deepEqual(await seen(listed, { origin: null }), [undefined, 'localhost'])
  assert.deepEqual(await seen(listed, { origin: null, headers: { Origin: 'https://c.example' } }), [
    undefined,
    'localhost'
  ])
  assert.deepEqual(await seen(listed, { headers: { Origin: 'https://c.example' } }), ['https://c.example', 'localhost'])
  assert.deepEqual(await seen(listed, { origin: 'null' }), ['null', 'localhost'])
  assert.deepEqual(await seen(guarded(['https://*.example.com'])), ['https://test.example.com', 'localhost'])
  assert.deepEqual(await seen(guarded([])), [undefined, 'localhost'])
  assert.deepEqual(await seen(guarded(false)), [undefined, 'localhost'])
  const own = guarded('same-origin', ['api.example.com:8443', 'other.example.com'])
  assert.deepEqual(await seen(own), ['http://api.example.com:8443', 'api.example.com:8443'])
  assert.deepEqual(await seen(own, { tls: true }), ['https://api.example.com:8443', 'api.example.com:8443'])
  assert.deepEqual(await seen(own, { origin: null }), [undefined, 'api.example.com:8443'])
  assert.deepEqual(await seen(own, { headers: { host: 'other.example.com' } }), [
    'http://other.example.com',
    'other.example.com'
  ])
  assert.deepEqual(await seen(guarded('same-origin')), ['http://localhost', 'localhost'])
})

test('a refusal is not an error: status, headers and body, and the socket behaves as a closed one', async (t) => {
  const app = await appWith(t, (app) => {
    app.get(
      '/',
      {
        websocket: true,
        preValidation: async (_request, reply) => {
          await reply.code(403).header('X-Why', 'origin').send({ statusCode: 403, code: 'forbidden' })
        }
      },
      () => assert.fail('the handler ran')
    )
  })
  const ws = await injectWs(app, '/')
  assert.equal(ws.statusCode, 403)
  assert.equal(ws.headers['x-why'], 'origin')
  assert.deepEqual(ws.json(), { statusCode: 403, code: 'forbidden' })
  assert.deepEqual(await ws.closed, { code: 1006, reason: '' })
  await assert.rejects(ws.receive('x', { timeoutMs: 60_000 }), /the handshake was refused with 403 \{"statusCode":403/)
  assert.throws(() => ws.send('x', {}), /the handshake was refused with 403/)
  ws.close()
  ws.terminate()
  await ws[Symbol.asyncDispose]()
})

test('a refusal of 200 KB arrives whole, and so does one without a length', async (t) => {
  const body = 'é'.repeat(100_000)
  const app = await appWith(t, (app) => {
    app.get(
      '/',
      {
        websocket: true,
        onRequest: async (_request, reply) => {
          await reply.code(503).send(body)
        }
      },
      () => {}
    )
    app.get(
      '/chunked',
      {
        websocket: true,
        onRequest: async (_request, reply) => {
          reply.hijack()
          reply.raw.writeHead(429)
          for (let n = 0; n < 10; n++) reply.raw.write(body.slice(0, 10_000))
          reply.raw.end()
        }
      },
      () => {}
    )
  })
  await using whole = await injectWs(app, '/')
  assert.equal(whole.statusCode, 503)
  assert.equal(whole.body, body)
  await using chunked = await injectWs(app, '/chunked')
  assert.equal(chunked.statusCode, 429)
  assert.equal(chunked.body, body)
})

test('an unknown path, an error in a hook and a redirect are refusals too', async (t) => {
  const app = await appWith(t, (app) => {
    app.get(
      '/boom',
      {
        websocket: true,
        preHandler: async () => {
          throw new Error('boom')
        }
      },
      () => {}
    )
    app.get(
      '/moved',
      {
        websocket: true,
        onRequest: async (_request, reply) => {
          await reply.redirect('/boom')
        }
      },
      () => {}
    )
  })
  for (const [path, statusCode] of [
    ['/none', 404],
    ['/boom', 500],
    ['/moved', 302]
  ] as const) {
    await using ws = await injectWs(app, path)
    assert.equal(ws.statusCode, statusCode)
  }
})

test('a connection that ends without any answer has status 0', async (t) => {
  const app = await appWith(t, (app) => {
    app.get(
      '/',
      {
        websocket: true,
        onRequest: async (request) => {
          request.raw.socket.destroy()
        }
      },
      () => {}
    )
    app.get(
      '/reset',
      {
        websocket: true,
        onRequest: async (request) => {
          request.raw.socket.resetAndDestroy()
        }
      },
      () => {}
    )
  })
  for (const path of ['/', '/reset']) {
    await using ws = await injectWs(app, path)
    assert.equal(ws.statusCode, 0)
    assert.equal(ws.body, '')
    assert.deepEqual(await ws.closed, { code: 1006, reason: '' })
    await assert.rejects(ws.receive(), /the handshake was refused without an answer/)
  }
})

test('what is no refusal rejects: an answer that breaks off, a 101 that no client accepts, no answer in time', async (t) => {
  const answer = (text: string) => async (request: FastifyRequest, reply: { hijack(): unknown }) => {
    reply.hijack()
    request.raw.socket.write(text)
    request.raw.socket.destroy()
  }
  const app = await appWith(t, (app) => {
    const broken = 'HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhalf'
    const switched = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
    app.get('/broken', { websocket: true, onRequest: answer(broken) }, () => {})
    app.get('/switched', { websocket: true, onRequest: answer(switched) }, () => {})
    app.get('/garbage', { websocket: true, onRequest: answer('garbage\r\n\r\n') }, () => {})
    app.get('/never', { websocket: true, onRequest: () => {} }, () => {})
  })
  await assert.rejects(injectWs(app, '/broken'), /the answer 403 broke off/)
  await assert.rejects(
    injectWs(app, '/switched'),
    /the client refused the server's answer: Invalid Sec-WebSocket-Accept/
  )
  await assert.rejects(injectWs(app, '/garbage'), /the client refused the server's answer: Parse Error/)
  await assert.rejects(injectWs(app, '/never', { timeoutMs: 30 }), /no answer to ws:\/\/localhost\/never within 30 ms/)
})

test('wrong arguments reject before the app is touched', async () => {
  const app = { server: Fastify().server, ready: () => assert.fail('ready() was called') }
  await assert.rejects(injectWs(app, 'chat'), /path must begin with "\/", got "chat"/)
  await assert.rejects(
    injectWs(app, '/', { remoteAddress: 'localhost' }),
    /remoteAddress must be an IP, got "localhost"/
  )
})

test('an app that does not boot, and a subprotocol that cannot be sent, reject', async (t) => {
  const broken = Fastify()
  broken.register(async () => {
    throw new Error('no database')
  })
  await assert.rejects(injectWs(broken, '/'), /no database/)
  const app = await appWith(t, echo)
  await assert.rejects(injectWs(app, '/echo', { protocols: 'a b' }), SyntaxError)
})

test('https server: the connection comes as a secure one', async (t) => {
  const app = await appWith(t, echo, { https: {} })
  const { protocol, headers } = await whoami(app, '/whoami', { tls: false })
  assert.deepEqual([protocol, headers.host], ['https', 'localhost'])
  await using ws = await injectWs(app, '/nowhere')
  assert.equal(ws.statusCode, 404)
})

test('http2 server: says that it cannot', async (t) => {
  for (const options of [{ http2: true }, { http2: true, https: { allowHTTP1: true } }]) {
    const app = Fastify(options as object)
    t.after(() => app.close())
    await assert.rejects(injectWs(app, '/'), /WebSockets over http2 are not supported/)
  }
})

test('close(code, reason) is what the server sees; closed is what it answered', async (t) => {
  const seen: unknown[] = []
  const app = await appWith(t, (app) => {
    app.get('/', { websocket: true }, (socket) => {
      socket.on('close', (code, reason) => seen.push(code, reason.toString()))
    })
  })
  const ws = await injectWs(app, '/')
  ws.close(4000, 'bye')
  assert.deepEqual(await ws.closed, { code: 4000, reason: 'bye' })
  assert.deepEqual(await until(() => seen.length === 2 && seen), [4000, 'bye'])
})

test('terminate() is a reset: the server sees 1006 and ECONNRESET', async (t) => {
  let closing: Promise<unknown[]> | undefined
  let raw: unknown
  const app = await appWith(t, (app) => {
    app.get('/', { websocket: true }, (socket, request) => {
      closing = once(socket, 'close')
      raw = request.raw.socket
    })
  })
  const ws = await injectWs(app, '/')
  ws.terminate()
  assert.deepEqual(await ws.closed, { code: 1006, reason: '' })
  assert.equal((await (closing as Promise<unknown[]>))[0], 1006)
  assert.equal((raw as { errored: NodeJS.ErrnoException }).errored.code, 'ECONNRESET')
})

test('pings of the server are answered', async (t) => {
  let pong: Promise<unknown[]> | undefined
  const app = await appWith(t, (app) => {
    app.get('/', { websocket: true }, (socket) => {
      pong = once(socket, 'pong')
      socket.ping('hi')
    })
  })
  await using _ws = await injectWs(app, '/')
  assert.equal(String((await (pong as Promise<unknown[]>))[0]), 'hi')
})

test('backpressure: a client that does not read fills the buffer of the server', async (t) => {
  let serverSide: WebSocket | undefined
  const app = await appWith(t, (app) => {
    app.get('/', { websocket: true }, (socket) => {
      serverSide = socket
    })
  })
  await using ws = await injectWs(app, '/')
  ws.socket.pause()
  const server = serverSide as WebSocket
  for (let n = 0; n < 50; n++) server.send('x'.repeat(10_000))
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
  assert.ok(server.bufferedAmount > 300_000, String(server.bufferedAmount))
  ws.socket.resume()
  await until(() => server.bufferedAmount === 0)
  for (let n = 0; n < 50; n++) await ws.receive()
})

test('disposing waits for the server, and resets it when it does not answer', async (t) => {
  const raws: Array<{ destroyed: boolean }> = []
  const app = await appWith(t, (app) => {
    app.get('/', { websocket: true }, (_socket, request) => {
      raws.push(request.raw.socket)
    })
    app.get('/deaf', { websocket: true }, (socket, request) => {
      raws.push(request.raw.socket)
      socket.pause()
    })
  })
  for (const path of ['/', '/deaf']) {
    const ws = await injectWs(app, path)
    await ws[Symbol.asyncDispose]()
    await ws[Symbol.asyncDispose]()
    assert.equal(raws.at(-1)?.destroyed, true)
  }
})

test('app.close() after use, and with a connection still open, resolves', async () => {
  const app = Fastify()
  await app.register(websocket)
  echo(app)
  const used = await injectWs(app, '/echo')
  used.close()
  await used.closed
  const refused = await injectWs(app, '/none')
  const open = await injectWs(app, '/echo')
  await within(Promise.resolve(app.close()), { what: 'app.close()' })
  assert.equal((await open.closed).code, 1005)
  assert.equal(refused.statusCode, 404)
})

test('L1: nothing is left behind: no timers, no sockets, no listeners on the server', async (t) => {
  const app = await appWith(t, echo)
  await app.ready()
  const events = ['connection', 'upgrade', 'request', 'close', 'error', 'clientError']
  const listeners = () => events.map((event) => app.server.listenerCount(event))
  const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
  const before = { listeners: listeners(), timers: timers() }
  for (let n = 0; n < 20; n++) {
    await using open = await injectWs(app, '/echo')
    open.send('x', {})
    await open.receive('x')
    const closing = await injectWs(app, '/echo')
    closing.close()
    await closing.closed
    await using _refused = await injectWs(app, '/none')
    const cut = await injectWs(app, '/echo')
    cut.terminate()
    await cut.closed
  }
  await assert.rejects(injectWs(app, '/echo', { protocols: ['a', 'a'] }))
  await until(() => app.websocketServer.clients.size === 0, { what: 'the end of all server sockets' })
  assert.deepEqual(listeners(), before.listeners)
  // Fewer is fine: timers of an earlier test may have gone meanwhile.
  assert.ok(timers() <= before.timers, `${timers()} timers, ${before.timers} before`)
  assert.equal(await connectionsOf(app.server), 0)
})

test('ports of the clients differ and stay in range', async (t) => {
  const ports = new Set<number | undefined>()
  const app = await appWith(t, (app) => {
    app.get(
      '/',
      {
        websocket: true,
        onRequest: async (request, reply) => {
          ports.add(request.raw.socket.remotePort)
          request.raw.socket.destroy()
          reply.hijack()
        }
      },
      () => {}
    )
  })
  for (let n = 0; n < 20; n++) await injectWs(app, '/')
  assert.equal(ports.size, 20)
  for (const port of ports) assert.ok(port !== undefined && port > 1024 && port <= 65_535)
})
