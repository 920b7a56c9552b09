import assert from 'node:assert/strict'
import { test } from 'node:test'
import { injectWs } from '../../lib/testing.ts'
import { tokenFor } from '../support/app.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { eventually, until } from '../support/wait.ts'
import {
  assertNoSockets,
  assertNothingHeld,
  assertRefused,
  ended,
  gate,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from './harness.ts'

/** Scaled down: the guard waits a second longer than this. */
const handshakeTimeoutMs = 300
const clients = 20

test('H8: an over-long parameter is answered whole by Fastify and the socket ends', async (t) => {
  const { app } = await guarded(t)
  app.wsRoute('/room/:id', { handler() {} })
  const port = await listen(app)
  const client = await rawClient(t, port)
  const path = `/room/${'a'.repeat(101)}?token=canary-414`
  const answer = await client.handshake({ path, headers: goodHeaders() })
  assert.equal(answer.statusCode, 414)
  assert.equal(answer.body.length, Number(answer.headers['content-length']))
  assert.doesNotMatch(answer.body, /canary/)
  await client.serverEnd()
  client.halfClose()
  await assertNoSockets(app, 500)
  await assertNothingHeld(app)
})

test('H8: an upgrade pipelined behind another request is destroyed, what is before it is not answered twice', async (t) => {
  const { app } = await guarded(t)
  const slow = gate(t)
  app.get('/slow', async () => {
    await slow.promise
    return 'slow'
  })
  app.wsRoute('/ws', { handler: () => assert.fail('an upgrade behind a request must not be served') })
  const port = await listen(app)
  for (let n = 0; n < clients; n++) {
    const client = await rawClient(t, port)
    await client.write(
      Buffer.concat([
        Buffer.from('GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n'),
        handshakeRequest({ path: '/ws?token=canary', headers: goodHeaders(tokenFor(app)) })
      ])
    )
    await ended(client)
    assert.equal(client.unparsed.length, 0)
  }
  await assertNoSockets(app)
  await assertNothingHeld(app)
})

test('H8: a request pipelined behind a refused upgrade is not answered', async (t) => {
  const { app } = await guarded(t)
  let served = 0
  app.get('/count', () => `${++served}`)
  app.wsRoute('/ws', { handler() {} })
  const port = await listen(app)
  const behind = Buffer.from('GET /count HTTP/1.1\r\nHost: localhost\r\n\r\n')
  const refusals = [
    { request: { path: '/ws', headers: goodHeaders() }, status: 401 },
    { request: { path: '/ws', headers: {} }, status: 403 },
    { request: { path: '/count', headers: goodHeaders() }, status: 400 },
    { request: { path: '/nope', headers: goodHeaders() }, status: 404 },
    { request: { path: '/ws', headers: { ...goodHeaders(), Upgrade: 'h2c' } }, status: 400 }
  ]
  for (const { request, status } of refusals) {
    const client = await rawClient(t, port)
    await client.write(Buffer.concat([handshakeRequest(request), behind]))
    assertRefused(await client.answer(), status)
    await client.serverEnd()
    await client.write(behind)
    client.halfClose()
    await client.closed
    assert.equal(client.unparsed.length, 0)
  }
  assert.equal(served, 0)
  await assertNoSockets(app)
})

test('H8: clients that only send a FIN leave no socket, whatever the answer was', async (t) => {
  const { app } = await guarded(t, { guard: { handshakeTimeoutMs } })
  app.wsRoute('/ws', { handler() {} })
  app.wsRoute('/room/:id', { handler() {} })
  app.wsRoute('/stuck', { auth: false, preHandler: () => new Promise(() => {}), handler() {} })
  const port = await listen(app)
  const paths = ['/ws', '/%', '/nope', `/room/${'a'.repeat(101)}`, '/stuck']
  for (const path of paths) {
    for (let n = 0; n < clients; n++) {
      const client = await rawClient(t, port)
      await client.write(handshakeRequest({ path, headers: goodHeaders() }))
      client.halfClose()
    }
  }
  await assertNoSockets(app)
  await assertNothingHeld(app)
})

test('L1: an accepted handshake is under way no more while its connection is open', async (t) => {
  const { app } = await guarded(t)
  app.wsRoute('/ws', { handler() {} })
  await using ws = await injectWs(app, '/ws', { token: tokenFor(app) })
  assert.equal(ws.statusCode, 101)
  const { handshakes, connections } = app.wsGuard.stats()
  assert.deepEqual({ handshakes, connections }, { handshakes: 0, connections: 1 })
})

test('H9: a hook that never settles is 503 in time', async (t) => {
  const { app, reasons } = await guarded(t, { guard: { handshakeTimeoutMs } })
  app.wsRoute('/ws', { preHandler: () => new Promise(() => {}), handler() {} })
  await using ws = await injectWs(app, '/ws', { token: tokenFor(app) })
  assertRefused(ws, 503)
  assert.deepEqual(reasons(), ['handshake_timeout'])
  await assertNothingHeld(app)
})

test('H9: a verifier that never settles is 503 in time, and what it says later does nothing', async (t) => {
  const { app, logs, reasons } = await guarded(t, { guard: { handshakeTimeoutMs }, jwt: false })
  const verdicts: Array<{ open: () => void }> = []
  let hooks = 0
  app.wsRoute('/ws', {
    auth: {
      verify: async (token) => {
        const verdict = gate(t)
        verdicts.push(verdict)
        await verdict.promise
        return token === 'good' ? { sub: 'alice' } : null
      }
    },
    preHandler: async () => void hooks++,
    handler() {}
  })
  for (const token of ['good', 'bad']) {
    await using ws = await injectWs(app, '/ws', { token })
    assertRefused(ws, 503)
  }
  for (const { open } of verdicts) open()
  await assertNothingHeld(app)
  // A refusal, or a reply sent twice, would be in the log by now.
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(reasons(), ['handshake_timeout', 'handshake_timeout'])
  assert.equal(hooks, 0)
  assert.deepEqual(
    logs.lines.filter(({ level }) => level >= 40),
    []
  )
})

test('H8: the guard has a deadline of its own where Fastify has none', async (t) => {
  const { app } = await guarded(t, { guard: { handshakeTimeoutMs: 1 } })
  app.get('/plain', { websocket: true, preHandler: () => new Promise(() => {}) }, () => {})
  const port = await listen(app)
  const client = await rawClient(t, port)
  await client.write(handshakeRequest({ path: '/plain' }))
  await until(() => app.wsGuard.stats().handshakes === 1)
  await ended(client)
  await assertNoSockets(app)
  await assertNothingHeld(app)
})

test('H10: a client that resets at any stage leaves nothing, and ends no process', async (t) => {
  const { app, logs, reasons } = await guarded(t, { jwt: false })
  const uncaught: unknown[] = []
  const note = (error: unknown): void => void uncaught.push(error)
  process.on('uncaughtException', note)
  t.after(() => process.off('uncaughtException', note))
  let arrived = 0
  const held = gate(t)
  const wait = async (): Promise<void> => {
    arrived++
    await held.promise
  }
  const opened: string[] = []
  const stages: Record<string, object> = {
    '/onRequest': { onRequest: wait },
    '/verify': { auth: { verify: () => wait().then(() => ({ sub: 'alice' })) } },
    '/refusing': { auth: { verify: () => wait().then(() => null) } },
    '/throwing': { authorize: () => wait().then(() => Promise.reject(new Error('x'))) },
    '/authorize': { authorize: () => wait().then(() => true) },
    '/data': { data: wait },
    '/preHandler': { preHandler: wait },
    '/close': { refuse: 'close', authorize: () => wait().then(() => false) }
  }
  for (const [path, options] of Object.entries(stages)) {
    const auth = { verify: () => ({ sub: 'alice' }) }
    app.wsRoute(path, { auth, ...options, handler: () => void opened.push(path) })
  }
  const port = await listen(app)
  const paths = Object.keys(stages)
  for (const path of paths) {
    for (let n = 0; n < 5; n++) {
      const client = await rawClient(t, port)
      await client.write(handshakeRequest({ path, headers: goodHeaders('token') }))
      await until(() => arrived === paths.indexOf(path) * 5 + n + 1)
      client.reset()
    }
  }
  await assertNoSockets(app)
  held.open()
  await assertNothingHeld(app)
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(opened, [])
  assert.deepEqual(uncaught, [])
  assert.deepEqual(reasons(), [])
  assert.deepEqual(
    logs.lines.filter(({ level }) => level >= 40),
    []
  )
})

test('H10: a reset before anything could be awaited leaves nothing', async (t) => {
  const { app } = await guarded(t)
  app.wsRoute('/ws', { handler() {} })
  const port = await listen(app)
  for (const path of ['/ws', '/nope', '/%']) {
    for (let n = 0; n < clients; n++) {
      const client = await rawClient(t, port)
      client.socket.write(handshakeRequest({ path, headers: goodHeaders(tokenFor(app)) }))
      client.reset()
    }
  }
  await assertNoSockets(app)
  await assertNothingHeld(app)
})

test('P5: a handshake during the drain is 503 and its socket is destroyed', async (t) => {
  const { app, reasons } = await guarded(t)
  const closing = gate(t)
  app.wsRoute('/ws', { handler() {}, onClose: () => closing.promise })
  const port = await listen(app)
  const early = await rawClient(t, port)
  assert.equal((await early.handshake({ path: '/ws', headers: goodHeaders(tokenFor(app)) })).statusCode, 101)
  let bytesRead = (): number => 0
  app.server.once('connection', (socket) => {
    bytesRead = () => socket.bytesRead
  })
  const late = await rawClient(t, port)
  const request = handshakeRequest({ path: '/ws', headers: goodHeaders(tokenFor(app)) })
  // Begun before: a client that has not asked for anything is closed at once by newer versions of Node.
  await late.write(request.subarray(0, 10))
  await until(() => bytesRead() === 10)
  const closed = app.close()
  await early.nextFrame({ opcode: 8 })
  await late.write(request.subarray(10))
  assertRefused(await late.answer(), 503)
  await late.serverEnd()
  late.halfClose()
  await late.closed
  assert.deepEqual(reasons(), ['draining'])
  closing.open()
  await early.sendClose(1012)
  early.halfClose()
  await closed
})

test('P5: a handshake under way when the drain begins gets a socket that says 1012, or none', async (t) => {
  const { app } = await guarded(t)
  const held = gate(t)
  let arrived = false
  let opened = 0
  app.wsRoute('/ws', {
    async authorize() {
      arrived = true
      await held.promise
      return true
    },
    handler: () => void opened++
  })
  const port = await listen(app)
  const client = await rawClient(t, port)
  await client.write(handshakeRequest({ path: '/ws', headers: goodHeaders(tokenFor(app)) }))
  await until(() => arrived)
  const closed = app.close()
  await until(() => !app.server.listening)
  held.open()
  assert.equal((await client.answer()).statusCode, 101)
  const frame = await client.nextFrame({ opcode: 8 })
  assert.equal(frame.payload.readUInt16BE(), 1012)
  await client.sendClose(1012)
  client.halfClose()
  await closed
  assert.equal(opened, 0)
})

test('P5: a stuck handshake does not hold the shutdown beyond its timeout', async (t) => {
  const { app } = await guarded(t, { guard: { shutdown: { timeoutMs: 100 } } })
  let arrived = false
  app.wsRoute('/ws', {
    preHandler: () => {
      arrived = true
      return new Promise(() => {})
    },
    handler() {}
  })
  const port = await listen(app)
  const client = await rawClient(t, port)
  await client.write(handshakeRequest({ path: '/ws', headers: goodHeaders(tokenFor(app)) }))
  await until(() => arrived)
  await app.close()
  await ended(client)
})

test('plain websocket routes keep working, with the query that is theirs', async (t) => {
  const { app, logs } = await guarded(t, { guard: { limits: { attempts: { max: 1 } } } })
  app.get('/plain', { websocket: true }, (socket, request) => {
    socket.send(JSON.stringify({ type: 'seen', url: request.url, query: request.query }))
  })
  for (const search of ['', '?a=1', '?token=canary&a=1', '?a=1&token=canary&token=canary2&ticket=canary3']) {
    await using ws = await injectWs(app, `/plain${search}`)
    assert.equal(ws.statusCode, 101)
    const query = Object.fromEntries(
      [...new URLSearchParams(search).keys()].map((name) => {
        const values = new URLSearchParams(search).getAll(name)
        return [name, values.length > 1 ? values : values[0]]
      })
    )
    assert.deepEqual(await ws.receive('seen'), { type: 'seen', url: `/plain${search}`, query })
    assert.equal(ws.headers['x-content-type-options'], undefined)
  }
  assert.doesNotMatch(logs.text(), /canary/)
  await eventually(() => assert.equal(app.wsGuard.stats().handshakes, 0))
})

test('a socket that somebody else hands to the websocket server is none of ours', async (t) => {
  const { app } = await guarded(t)
  await app.ready()
  assert.equal(app.websocketServer.emit('connection', {}, {}), true)
  assert.equal(app.wsGuard.stats().handshakes, 0)
})
