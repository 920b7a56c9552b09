import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { type TestContext, test } from 'node:test'
import jwt from '@fastify/jwt'
import websocket from '@fastify/websocket'
import fc from 'fast-check'
import Fastify, { type FastifyInstance } from 'fastify'
import { selfSigned } from '../support/certificate.ts'
import { closeFrame, closeOf, frame, opcodes, parseFrame, textFrame } from '../support/frames.ts'
import { acceptOf, handshakeRequest } from '../support/http-message.ts'
import { captureLogs } from '../support/log-capture.ts'
import { connect } from '../support/raw-client.ts'
import { claims, keyPair, signJwt, tamper } from '../support/tokens.ts'
import { connectionsOf, eventually, once, until, within } from '../support/wait.ts'

async function echoApp(t: TestContext, options: object = {}): Promise<{ app: FastifyInstance; port: number }> {
  const app: FastifyInstance = Fastify(options)
  t.after(() => app.close())
  await app.register(websocket)
  app.get('/', { websocket: true }, (socket) => {
    socket.on('error', () => {})
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
  })
  app.get(
    '/refused',
    { websocket: true, onRequest: async (_request, reply) => reply.code(403).send({ code: 'no' }) },
    () => {}
  )
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, port: (app.server.address() as AddressInfo).port }
}

/** A server that answers each connection with these bytes and ends it. */
async function fixedAnswer(t: TestContext, bytes: string): Promise<number> {
  const server: Server = createServer((socket) => socket.end(bytes))
  t.after(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

test('frames: what is built is what is parsed, at every length and however it is cut', () => {
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.integer({ min: 0, max: 7 }),
      fc.integer({ min: 0, max: 15 }),
      fc.boolean(),
      fc.constantFrom(0, 1, 125, 126, 127, 65_535, 65_536),
      fc.nat(),
      (fin, rsv, opcode, masked, length, cut) => {
        const payload = Buffer.alloc(length, 'abc')
        const bytes = frame({ fin, rsv, opcode, masked, payload })
        assert.deepEqual(parseFrame(bytes), { size: bytes.length, frame: { fin, rsv, opcode, masked, payload } })
        assert.equal(parseFrame(bytes.subarray(0, cut % bytes.length)), undefined)
      }
    ),
    { numRuns: 60 }
  )
})

test('frames: a declared length and a wider length field', () => {
  const lie = frame({ payload: 'ab', declaredLength: 2n ** 63n, mask: Buffer.alloc(4) })
  assert.equal(lie.toString('hex'), `81ff8000000000000000000000006162`)
  assert.equal(frame({ payload: 'a', lengthBits: 16, masked: false }).toString('hex'), '817e000161')
  assert.equal(parseFrame(closeFrame())?.frame.payload.length, 0)
})

test('raw client: handshake, frames in pieces, closing handshake', async (t) => {
  const { app, port } = await echoApp(t)
  await using client = await connect(port)
  const key = 'dGhlIHNhbXBsZSBub25jZQ=='
  const answer = await client.handshake({ headers: { 'Sec-WebSocket-Key': key } })
  assert.equal(answer.statusCode, 101)
  assert.equal(answer.headers['sec-websocket-accept'], acceptOf(key))
  assert.equal(acceptOf(key), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
  assert.equal(await connectionsOf(app.server), 1)
  await client.sendJson({ n: 1 })
  assert.deepEqual(await client.nextJson(), { n: 1 })
  await client.write(Buffer.concat([textFrame('one'), textFrame('two')]), [1, 1, 3, 4])
  await client.sendFrame({ opcode: opcodes.ping, payload: 'p' })
  assert.equal((await client.nextFrame()).payload.toString(), 'one')
  assert.equal((await client.nextFrame({ opcode: opcodes.pong })).payload.toString(), 'p')
  await assert.rejects(client.nextFrame({ timeoutMs: 20 }), /expected a frame: none within 20 ms/)
  await client.sendText('three')
  await client.sendClose(4000, 'bye')
  assert.deepEqual(closeOf(await client.nextFrame({ opcode: opcodes.close })), { code: 4000, reason: 'bye' })
  await client.serverEnd()
  assert.equal(client.frames.length, 6)
  client.halfClose()
  assert.deepEqual(await client.closed, { errorCode: undefined })
  await assert.rejects(client.nextFrame(), /the socket closed \(orderly\)/)
})

test('raw client: request in single bytes, refusal, and the end that follows it', async (t) => {
  const { port } = await echoApp(t)
  await using client = await connect(port)
  const request = handshakeRequest({ path: '/refused', headers: { Origin: ['https://a.example'], Host: 'x' } })
  await client.write(request, Array(request.length).fill(1))
  const answer = await client.answer()
  assert.equal(answer.statusCode, 403)
  assert.equal(answer.statusMessage, 'Forbidden')
  assert.deepEqual(answer.json(), { code: 'no' })
  await client.serverEnd()
  await using bad = await connect(port)
  const refused = await bad.handshake({
    method: 'GET',
    headers: { host: null, 'X-Two': ['1', '2'] },
    rawHeaders: ['Upgrade : x'],
    version: 'HTTP/1.1'
  })
  assert.equal(refused.statusCode, 400)
})

test('raw client: answers by length, in chunks, and up to the end', async (t) => {
  const head = 'HTTP/1.1 429 Too Many\r\nX-A: 1\r\nx-a: 2\r\n'
  for (const rest of [
    'Content-Length: 5\r\n\r\nhello',
    'Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n',
    '\r\nhello'
  ]) {
    await using client = await connect(await fixedAnswer(t, head + rest))
    const answer = await client.answer()
    assert.deepEqual([answer.statusCode, answer.headers['x-a'], answer.body], [429, '1, 2', 'hello'])
    assert.deepEqual(answer.rawHeaders[1], ['x-a', '2'])
  }
  await using garbage = await connect(await fixedAnswer(t, 'no http\r\n\r\n'))
  await assert.rejects(garbage.answer(), /not an HTTP answer: no http/)
})

test('raw client: a chunk whose size is none is an error, not an endless loop', async (t) => {
  for (const size of ['zz', '', '-1', '-6', '5x', '0x5', 'HTTP/1.1 101 Switching Protocols']) {
    const chunked = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n${size}\r\nllo\r\n0\r\n\r\n`
    await using client = await connect(await fixedAnswer(t, chunked))
    await assert.rejects(client.answer(), /malformed chunk/, size)
  }
  const extended = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA;a=b\r\n0123456789\r\n0 \r\n\r\n'
  await using client = await connect(await fixedAnswer(t, extended))
  assert.equal((await client.answer()).body, '0123456789')
})

test('raw client: reset, and a reader that stops reading', async (t) => {
  const { app, port } = await echoApp(t)
  const client = await connect(port)
  await client.handshake()
  client.pause()
  await client.sendText('a')
  await assert.rejects(client.nextFrame({ timeoutMs: 30 }))
  client.resume()
  assert.equal((await client.nextFrame()).payload.toString(), 'a')
  const [serverSide] = app.websocketServer.clients
  const closed = once(serverSide as unknown as EventEmitter, 'close')
  client.reset()
  assert.equal((await closed)[0], 1006)
  await client.closed
  await eventually(async () => assert.equal(await connectionsOf(app.server), 0))
})

test('raw client: TLS, with a certificate made on the spot that a client can verify', async (t) => {
  const certificate = selfSigned()
  const { port } = await echoApp(t, { https: certificate })
  for (const tls of [true, { ca: certificate.cert, servername: 'localhost' }]) {
    await using client = await connect(port, { tls })
    assert.equal((await client.handshake()).statusCode, 101)
    await client.sendText('secret')
    assert.equal((await client.nextFrame()).payload.toString(), 'secret')
  }
})

test('tokens: @fastify/jwt accepts them, and does not once they were tampered with', async (t) => {
  const app = Fastify()
  t.after(() => app.close())
  const { privateKey, publicKey } = keyPair('rsa')
  await app.register(jwt, { secret: 'shh', namespace: 'hs' })
  await app.register(jwt, { secret: { public: publicKey }, namespace: 'rs' })
  const ec = keyPair('ec')
  await app.register(jwt, { secret: { public: ec.publicKey }, namespace: 'es' })
  const ed = keyPair('ed25519')
  await app.register(jwt, { secret: { public: ed.publicKey }, namespace: 'ed' })
  const verifiers = app.jwt as unknown as Record<string, { verify(token: string): { sub: string } }>
  const tokens: Array<[string, string]> = [
    ['hs', signJwt(claims(), 'shh')],
    ['hs', signJwt(claims(), 'shh', { alg: 'HS512', header: { kid: '1' } })],
    ['rs', signJwt(claims(), privateKey, { alg: 'RS256' })],
    ['rs', signJwt(claims(), privateKey, { alg: 'PS256' })],
    ['es', signJwt(claims(), ec.privateKey, { alg: 'ES256' })],
    ['ed', signJwt(claims(), ed.privateKey, { alg: 'EdDSA' })]
  ]
  for (const [name, token] of tokens) {
    assert.equal(verifiers[name]?.verify(token).sub, 'user-1')
    assert.throws(() => verifiers[name]?.verify(tamper(token, claims({ sub: 'admin' }))))
  }
  assert.match(signJwt('not json', '', { alg: 'none' }), /^[\w-]+\.[\w-]+\.$/)
  assert.equal('exp' in JSON.parse(JSON.stringify(claims({ exp: undefined }))), false)
})

test('log capture: lines parsed, found by event or message', async (t) => {
  const logs = captureLogs('info')
  const app = Fastify({ logger: logs.logger })
  t.after(() => app.close())
  app.log.info({ event: 'ws.refused', status: 403 }, 'refused')
  app.log.debug('below the level')
  app.log.warn('ws.refused')
  assert.equal(logs.find('ws.refused')?.status, 403)
  assert.equal(logs.filter('ws.refused').length, 2)
  assert.equal(logs.find('below the level'), undefined)
  assert.match(logs.text(), /"event":"ws\.refused"/)
  logs.logger.stream.write('{"level":30,"msg":"in ')
  logs.logger.stream.write(Buffer.from('two"}\n'))
  assert.equal(logs.lines.at(-1)?.msg, 'in two')
  logs.clear()
  assert.deepEqual([logs.lines.length, logs.text()], [0, ''])
})

test('waiting: each kind gives the value, and an error that names what did not come', async () => {
  let turns = 0
  assert.equal(await until(() => ++turns > 3 && turns), 4)
  await assert.rejects(
    until(() => false, { timeoutMs: 5, what: 'the moon' }),
    /the moon did not come true within 5 ms/
  )
  assert.equal(
    await eventually(() => {
      assert.ok(++turns > 6)
      return turns
    }),
    7
  )
  await assert.rejects(
    eventually(() => assert.equal(1, 2), { timeoutMs: 5 }),
    assert.AssertionError
  )
  const emitter = new EventEmitter()
  setImmediate(() => emitter.emit('it', 1))
  assert.deepEqual(await once(emitter, 'it'), [1])
  await assert.rejects(once(emitter, 'it', { timeoutMs: 5 }), /no 'it' event within 5 ms/)
  setImmediate(() => emitter.emit('error', new Error('broken')))
  await assert.rejects(once(emitter, 'it'), /broken/)
  assert.equal(emitter.listenerCount('it'), 0)
  assert.equal(await within(Promise.resolve(3)), 3)
  await assert.rejects(within(new Promise(() => {}), { timeoutMs: 5, what: 'x' }), /x did not settle within 5 ms/)
  await assert.rejects(connectionsOf(createServer().on('error', () => {})).then((n) => assert.equal(n, -1)))
})
