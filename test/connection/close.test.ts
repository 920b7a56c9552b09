import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { type CloseCause, closeCauses, closeCodes } from '../../lib/close-codes.ts'
import type { Connection } from '../../lib/connection/connection.ts'
import { type GuardedSocket, maxLateFrames } from '../../lib/connection/guarded-socket.ts'
import { inflowOf } from '../../lib/connection/inflow.ts'
import { revoke } from '../../lib/connection/session.ts'
import { buildApp, echo, origin } from '../support/app.ts'
import { frame, opcodes } from '../support/frames.ts'
import { connect } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, deferred, frames, Guard, type Opened, say, settled } from './harness.ts'

const emoji = '🎉'

const closeTable: [title: string, args: unknown[], expected: { code: number; reason: string }, isLogged: boolean][] = [
  ['nothing', [], { code: 1000, reason: '' }, false],
  ['a code', [4000], { code: 4000, reason: '' }, false],
  ['a code and a reason', [1001, 'bye'], { code: 1001, reason: 'bye' }, false],
  ['a reason alone', [undefined, 'bye'], { code: 1000, reason: 'bye' }, false],
  ['123 bytes', [4000, 'x'.repeat(123)], { code: 4000, reason: 'x'.repeat(123) }, false],
  ['124 bytes', [4000, 'x'.repeat(124)], { code: 4000, reason: 'x'.repeat(123) }, true],
  ['an emoji over the edge', [4000, `${'x'.repeat(121)}${emoji}`], { code: 4000, reason: 'x'.repeat(121) }, true],
  ['1005', [1005], { code: 1011, reason: '' }, true],
  ['1006', [1006], { code: 1011, reason: '' }, true],
  ['1015', [1015], { code: 1011, reason: '' }, true],
  ['999', [999], { code: 1011, reason: '' }, true],
  ['2999', [2999, 'reason'], { code: 1011, reason: '' }, true],
  ['5000', [5000], { code: 1011, reason: '' }, true],
  ['NaN', [Number.NaN], { code: 1011, reason: '' }, true],
  ['a string for a code', ['1000'], { code: 1011, reason: '' }, true],
  ['a typed array for a code', [new Float32Array(20)], { code: 1011, reason: '' }, true],
  ['a code that cannot be printed', [Object.create(null)], { code: 1011, reason: '' }, true],
  ['null', [null], { code: 1011, reason: '' }, true],
  ['a number for a reason', [4000, 20], { code: 4000, reason: '' }, true],
  ['a typed array for a reason', [4000, new Float32Array(20)], { code: 4000, reason: '' }, true],
  ['a Buffer for a reason', [4000, Buffer.from('secret')], { code: 4000, reason: '' }, true]
]

test('O4: close() never throws, and sends what may be sent', async (t) => {
  const guard = await Guard.start(t)
  for (const [title, args, expected, isLogged] of closeTable) {
    guard.log.clear()
    const { client, connection } = await guard.connect()
    connection.close(...(args as [number, string]))
    assert.deepEqual(await closeFrameOf(client), expected, title)
    const lines = guard.log.lines.filter(({ level }) => level === 50)
    assert.equal(lines.length, isLogged ? 1 : 0, title)
    if (isLogged) assert.equal(lines[0]?.connectionId, connection.id)
    connection.close(1005)
  }
})

test('close(): the second call changes nothing', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  connection.close(4000, 'first')
  connection.close(4001, 'second')
  assert.equal(connection.state, 'closing')
  assert.deepEqual(await closeFrameOf(client), { code: 4000, reason: 'first' })
  client.halfClose()
  await until(() => connection.state === 'closed')
  assert.deepEqual(guard.closes, [{ code: 4000, reason: 'first', cause: 'server' }])
})

test('close codes are those of the plugin, where it sets its own', async (t) => {
  const guard = await Guard.start(t, { closeCodes: { normal: 4900, forbidden: 3003 } })
  const first = await guard.connect()
  first.connection.close()
  assert.equal((await closeFrameOf(first.client)).code, 4900)
  const second = await guard.connect()
  revoke(second.connection, undefined)
  assert.deepEqual(await closeFrameOf(second.client), { code: 3003, reason: 'revoked' })
  const third = await guard.connect()
  revoke(third.connection, 'logged_out')
  assert.deepEqual(await closeFrameOf(third.client), { code: 3003, reason: 'logged_out' })
})

test('a connection tells what it is', async (t) => {
  const guard = await Guard.start(t, {
    admitted: { params: { room: 'a' }, query: { q: '1' }, data: { x: 1 }, identity: undefined }
  })
  const { connection } = await guard.connect()
  assert.match(connection.id, /^[0-9a-f-]{36}$/)
  assert.deepEqual(connection.params, { room: 'a' })
  assert.deepEqual(connection.query, { q: '1' })
  assert.deepEqual(connection.data, { x: 1 })
  assert.equal(connection.ip, '203.0.113.7')
  assert.equal(connection.protocol, '')
  assert.equal(connection.openedAt, guard.clock.wall())
  assert.equal(connection.expiresAt, undefined)
  assert.equal(connection.state, 'open')
  assert.equal(connection.log, connection.log)
  connection.log.info('hello')
  assert.equal(guard.log.find('hello')?.connectionId, connection.id)
  assert.equal(guard.log.find('hello')?.route, '/house')
})

test('signal: made when touched, one object, aborted by the end, also when touched afterwards', async (t) => {
  const guard = await Guard.start(t)
  const first = await guard.connect()
  const { signal } = first.connection
  assert.equal(signal.aborted, false)
  assert.equal(first.connection.signal, signal)
  first.connection.close()
  assert.equal(signal.aborted, true)
  const second = await guard.connect()
  second.client.reset()
  await until(() => second.connection.state === 'closed')
  assert.equal(second.connection.signal.aborted, true)
})

test('re-entrancy: an abort listener that sends, subscribes or closes changes nothing', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  const results: unknown[] = []
  connection.signal.addEventListener('abort', () => {
    results.push(connection.state, connection.send('said', { text: 'late' }))
    connection.close(4999, 'again')
  })
  connection.close(4000)
  assert.deepEqual(results, ['closing', false])
  assert.deepEqual(await closeFrameOf(client), { code: 4000, reason: '' })
})

test('re-entrancy: send, close and subscribe inside onClose are harmless', async (t) => {
  const results: unknown[] = []
  const guard = await Guard.start(t, {
    onClose: async (connection, info) => {
      connection.close(4999)
      results.push(connection.state, connection.send('said', { text: 'late' }), await connection.subscribe('a'), info)
    }
  })
  const { client, connection } = await guard.connect()
  connection.close(4000)
  await closeFrameOf(client)
  client.halfClose()
  await until(() => results.length === 4)
  assert.deepEqual(results, ['closed', false, false, { code: 4000, reason: '', cause: 'server' }])
  assert.equal(guard.runtime.topics.size, 0)
})

for (const [title, onClose] of [
  ['throws', () => assert.fail('a bug')],
  ['rejects', () => Promise.reject(new Error('a bug'))]
] as const) {
  test(`L2: an onClose that ${title} is told, and everything is released`, async (t) => {
    const guard = await Guard.start(t, { onClose })
    const { client, connection } = await guard.connect()
    client.reset()
    await until(() => guard.errors.length === 1)
    assert.equal(connection.state, 'closed')
    assert.equal(guard.log.find('ws.handler_error')?.reason, 'onClose')
    await until(() => guard.held().closing === 0)
    assert.ok(Object.values(guard.held()).every((count) => count === 0))
  })
}

test('L2: no onClose is fine', async (t) => {
  const guard = await Guard.start(t, { onClose: undefined })
  const { client } = await guard.connect()
  client.destroy()
  await until(() => guard.runtime.registry.size === 0)
})

/** One way to end each, with what onClose is told. */
const ends: Readonly<
  Record<string, { run: (opened: Opened, guard: Guard) => unknown; cause: CloseCause; code: number; reason?: string }>
> = {
  'the peer closes': { run: ({ client }) => client.sendClose(1000), cause: 'client', code: 1000 },
  'the peer closes with its own words': {
    run: ({ client }) => client.sendClose(4242, 'never repeated'),
    cause: 'client',
    code: 4242
  },
  'the peer closes without a code': { run: ({ client }) => client.sendClose(), cause: 'client', code: 1005 },
  'the peer ends': { run: ({ client }) => client.halfClose(), cause: 'lost', code: 1006 },
  'the peer resets': { run: ({ client }) => client.reset(), cause: 'lost', code: 1006 },
  'connection.close': {
    run: ({ connection }) => connection.close(4000, 'x'),
    cause: 'server',
    code: 4000,
    reason: 'x'
  },
  'socket.terminate': { run: ({ connection }) => connection.socket.terminate(), cause: 'lost', code: 1006 },
  'socket.close': { run: ({ connection }) => connection.socket.close(4010), cause: 'lost', code: 1006 },
  'invalid JSON': {
    run: ({ client }) => client.sendText('{'),
    cause: 'invalid_json',
    code: 1007,
    reason: 'invalid_json'
  },
  'a bad frame': { run: ({ client }) => client.sendFrame({ opcode: 3 }), cause: 'invalid_frame', code: 1002 },
  'a binary frame': {
    run: ({ client }) => client.sendFrame({ opcode: 2 }),
    cause: 'binary',
    code: 1003,
    reason: 'binary'
  },
  'a kick': {
    run: ({ connection }) => revoke(connection, undefined),
    cause: 'revoked',
    code: closeCodes.forbidden.code,
    reason: 'revoked'
  },
  'no pong': {
    run: async (_, guard) => {
      guard.tick(30_000)
      guard.tick(10_000)
    },
    cause: 'heartbeat_timeout',
    code: 1006
  },
  shutdown: { run: ({ connection }) => void connection.drain(), cause: 'restart', code: 1012, reason: 'restart' }
}

for (const [title, { run, cause, code, reason = '' }] of Object.entries(ends)) {
  test(`L2, P2: ${title}: onClose once, with ${code} ${cause}, and everything is released`, async (t) => {
    const guard = await Guard.start(t)
    const opened = await guard.connect()
    const { client, connection } = opened
    await connection.subscribe('a')
    const { signal } = connection
    await run(opened, guard)
    // Whatever it was: the peer leaves as soon as the server has said something, or nothing.
    await Promise.race([client.nextFrame({ opcode: 8 }).catch(() => {}), until(() => connection.state === 'closed')])
    if (!client.socket.destroyed && cause !== 'lost') client.halfClose()
    if (title === 'socket.close') client.destroy()
    await until(() => guard.closes.length === 1)
    await nextTurn()
    assert.deepEqual(guard.closes, [{ code, reason, cause }])
    assert.equal(connection.state, 'closed')
    assert.equal(signal.aborted, true)
    await until(() => Object.values(guard.held()).every((count) => count === 0))
    const line = guard.log.find('ws.close')
    assert.deepEqual([line?.code, line?.cause, line?.connectionId], [code, cause, connection.id])
    assert.ok(!guard.log.text().includes('never repeated'))
    client.destroy()
  })
}

/** Steps in any order; whichever ends it, onClose runs once and nothing is left. */
type Step = (opened: Opened, guard: Guard) => unknown
const steps: Readonly<Record<string, Step>> = {
  send: ({ connection }) => connection.send('said', { text: 'x' }),
  say: ({ client }) => client.socket.writable && client.write(frames(say('a', 1), say('b'))),
  bad: ({ client }) => client.socket.writable && client.sendJson({ type: 'nothing' }),
  subscribe: ({ connection }) => connection.subscribe('room'),
  turn: () => nextTurn(),
  tick: (_, guard) => guard.tick(1000),
  close: ({ connection }) => connection.close(4000),
  terminate: ({ connection }) => connection.socket.terminate(),
  socketClose: ({ connection }) => connection.socket.close(),
  kick: ({ connection }) => revoke(connection, undefined),
  shutdown: ({ connection }) => void connection.drain(),
  peerCloses: ({ client }) => client.socket.writable && client.sendClose(1000),
  peerEnds: ({ client }) => client.halfClose(),
  // Node 20 leaves a handle behind when a socket that has been ended, or reset before, is reset.
  peerResets: ({ client }) => (client.socket.writable ? client.reset() : client.destroy()),
  badFrame: ({ client }) => client.socket.writable && client.sendFrame({ opcode: 5 }),
  slow: ({ connection }) => connection.end('slow_consumer')
}

test('L2: over every interleaving, onClose runs exactly once with a cause of ours, and nothing is left', async (t) => {
  const property = fc.asyncProperty(
    fc.array(fc.constantFrom(...Object.keys(steps)), { minLength: 1, maxLength: 12 }),
    fc.boolean(),
    async (names, isSlowToOpen) => {
      const opening = deferred()
      const guard = await Guard.start(t, { onOpen: isSlowToOpen ? () => opening.promise : undefined })
      const opened = await guard.connect()
      const { client, connection } = opened
      const states: Connection['state'][] = [connection.state]
      for (const name of names) {
        await steps[name]?.(opened, guard)
        if (states.at(-1) !== connection.state) states.push(connection.state)
      }
      opening.resolve()
      client.destroy()
      await until(() => connection.state === 'closed', { what: `the end after ${names.join(', ')}` })
      await until(() => Object.values(guard.held()).every((count) => count === 0))
      await nextTurn()
      await nextTurn()
      assert.equal(guard.closes.length, 1)
      const [info] = guard.closes
      assert.ok(info !== undefined && Object.hasOwn(closeCauses, info.cause))
      const order = states.map((state) => ['open', 'closing', 'closed'].indexOf(state))
      assert.deepEqual(order, order.toSorted())
      assert.equal(connection.signal.aborted, true)
      assert.equal(inflowOf(connection).queue.length, 0)
      assert.equal(guard.log.filter('ws.close').length, 1)
      assert.deepEqual(guard.errors, [])
      await guard.close()
    }
  )
  await fc.assert(property, { numRuns: 60, endOnFailure: true })
})

test('L1: a hundred connections that come and go leave nothing', async (t) => {
  const guard = await Guard.start(t)
  for (let round = 0; round < 10; round++) {
    const opened = await Promise.all(Array.from({ length: 10 }, () => guard.connect()))
    for (const [at, { client, connection }] of opened.entries()) {
      await connection.subscribe(`room ${at % 3}`)
      if (at % 2 === 0) client.reset()
      else client.destroy()
    }
    await until(() => guard.runtime.registry.size === 0)
  }
  assert.equal(guard.closes.length, 100)
  await until(() => Object.values(guard.held()).every((count) => count === 0))
})

test('M2, R7: a peer that goes on sending after the end is not read any more', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  let heard = 0
  connection.socket.on('ping', () => heard++)
  connection.close(4000)
  await closeFrameOf(client)
  const parsing = connection.rawSocket.listeners('data')
  const ping = frame({ opcode: opcodes.ping })
  await client.write(Buffer.concat(Array.from({ length: maxLateFrames - 1 }, () => ping)))
  await client.write(frames(say('late')))
  await until(() => connection.rawSocket.listeners('data')[0] !== parsing[0])
  assert.equal(heard, 0)
  // Nor does it keep its place: an answer to the close frame could not be seen any more.
  guard.tick(250)
  await until(() => guard.closes.length === 1)
  assert.deepEqual(guard.closes[0], { code: 4000, reason: '', cause: 'close_timeout' })
})

test('M2, R7: a socket that only says why it is refused is not read either', async () => {
  const app = await buildApp({ guard: { refuse: 'close' } })
  app.wsRoute('/echo', { contract: echo, handlers: { say: () => {}, ask: () => ({ items: [] }) } })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = await connect((app.server.address() as AddressInfo).port)
  await client.handshake({ path: '/echo', headers: { Origin: origin } })
  assert.equal((await closeFrameOf(client)).code, 4001)
  const [socket] = [...app.websocketServer.clients] as GuardedSocket[]
  assert.ok(socket?.isRefused)
  const parsing = socket._socket.listeners('data')
  await client.write(Buffer.concat(Array.from({ length: maxLateFrames }, () => frames(say('late')))))
  await until(() => socket._socket.listeners('data')[0] !== parsing[0])
  client.destroy()
  await app.close()
})

test('a plain websocket route of the same server keeps the bounds of ws', async () => {
  const app = await buildApp()
  app.register(async (scope) => {
    scope.get(
      '/plain',
      { websocket: true } as object,
      ((socket: GuardedSocket) => {
        socket.on('message', (data: Buffer) => socket.send(data.length))
      }) as never
    )
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = await connect((app.server.address() as AddressInfo).port)
  await client.handshake({ path: '/plain' })
  await client.sendText('x'.repeat(100_000))
  assert.equal(await client.nextJson(), 100_000)
  client.destroy()
  await app.close()
})

test('an error of ws that is none of the frames ends the connection as lost', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  connection.socket.emit('error', new Error('the sender failed'))
  assert.equal(connection.cause, 'lost')
  guard.tick(250)
  await client.serverEnd()
  await until(() => guard.closes.length === 1)
})

test('a frame error of a paused connection is answered and ends it', async (t) => {
  const guard = await Guard.start(t, { limits: { messages: { perSecond: 0.001, burst: 1 } } })
  const { client, connection } = await guard.connect()
  await client.write(Buffer.concat([frames(say('a')), Buffer.from([0x83, 0x80, 0, 0, 0, 0])]))
  assert.equal((await closeFrameOf(client)).code, 1002)
  client.halfClose()
  await until(() => connection.state === 'closed')
  const other = await guard.connect()
  await settled(other.client)
})
