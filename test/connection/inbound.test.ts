import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { inflowOf } from '../../lib/connection/inflow.ts'
import { CloseError, MessageError } from '../../lib/errors.ts'
import { closeFrame, frame, jsonFrame, opcodes, textFrame } from '../support/frames.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, deferred, frames, Guard, say, settled, texts } from './harness.ts'

test('M1: what arrives while onOpen runs waits for it, in order, also from the segment of the handshake', async (t) => {
  const opening = deferred()
  const seen: unknown[] = []
  const guard = await Guard.start(t, {
    onOpen: () => opening.promise,
    handlers: { say: ({ text }) => void seen.push(text) }
  })
  const { client } = await guard.connect(frames(say('A'), say('B')))
  await client.sendJson(say('C'))
  await until(() => guard.runtime.registry.list[0]?.inflow?.queue.length === 3)
  assert.deepEqual(seen, [])
  opening.resolve()
  await until(() => seen.length === 3)
  assert.deepEqual(seen, ['A', 'B', 'C'])
})

test('M1: a synchronous onOpen, or none, is open at once', async (t) => {
  const requests: unknown[] = []
  const guard = await Guard.start(t, { onOpen: (_, request) => void requests.push(request.url) })
  const { client } = await guard.connect(frames(say('hi')))
  assert.deepEqual(await client.nextJson(), { type: 'said', text: 'hi' })
  assert.deepEqual(requests, ['/'])
})

test('M2: nothing is dispatched behind a message that closes, in the same chunk', async (t) => {
  const seen: unknown[] = []
  const guard = await Guard.start(t, {
    handlers: {
      say: ({ text }, connection) => {
        seen.push(text)
        connection.close(4000, 'enough')
      }
    }
  })
  const { client } = await guard.connect()
  await client.write(frames(say('first'), say('second'), say('third')))
  assert.deepEqual(await closeFrameOf(client), { code: 4000, reason: 'enough' })
  assert.deepEqual(seen, ['first'])
})

test('M2: nothing is dispatched behind terminate(), nor behind a frame that ends the connection', async (t) => {
  const seen: unknown[] = []
  const guard = await Guard.start(t, {
    handlers: {
      say: ({ text }, connection) => {
        seen.push(text)
        connection.socket.terminate()
      }
    }
  })
  const first = await guard.connect()
  await first.client.write(frames(say('a'), say('b')))
  await first.client.serverEnd()
  const second = await guard.connect()
  await second.client.write(Buffer.concat([textFrame('{bad'), frames(say('c'))]))
  await closeFrameOf(second.client)
  assert.deepEqual(seen, ['a'])
})

test('M2: on a raw route too, where the developer listens on the socket', async (t) => {
  const seen: string[] = []
  const guard = await Guard.start(t, {
    raw: true,
    onOpen: (connection) => {
      connection.socket.on('message', (data: Buffer) => {
        seen.push(data.toString())
        if (seen.length === 1) connection.close()
      })
    }
  })
  const { client } = await guard.connect()
  await client.write(Buffer.concat([textFrame('a'), textFrame('b')]))
  await closeFrameOf(client)
  assert.deepEqual(seen, ['a'])
})

test('M2: a raw route sees nothing behind its own socket.close() either', async (t) => {
  const seen: string[] = []
  const guard = await Guard.start(t, {
    raw: true,
    onOpen: ({ socket }) => {
      socket.on('message', (data: Buffer) => {
        seen.push(data.toString())
        socket.close(4001)
      })
    }
  })
  const { client } = await guard.connect()
  await client.write(Buffer.concat([textFrame('a'), textFrame('b')]))
  assert.equal((await closeFrameOf(client)).code, 4001)
  assert.deepEqual(seen, ['a'])
})

test('Z2: a frame behind the expiry reaches no listener of a raw route', async (t) => {
  const seen: unknown[] = []
  const guard = await Guard.start(t, {
    raw: true,
    admitted: { identity: { subject: 'alice', expiresAt: 1_700_000_000_000 + 1_000_500 } },
    onOpen: ({ socket }) => void socket.on('message', (data) => seen.push(String(data)))
  })
  const { client } = await guard.connect()
  await client.sendText('in time')
  await until(() => seen.length === 1)
  guard.clock.ms += 500
  await client.sendText('late')
  assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'session_expired' })
  assert.deepEqual(seen, ['in time'])
})

for (const [title, text] of [
  ['not JSON', '{bad'],
  ['a __proto__ key', '{"type":"say","text":"a","__proto__":{"x":1}}'],
  ['a constructor.prototype key', '{"type":"say","text":"a","constructor":{"prototype":{"x":1}}}'],
  ['too deep', `${'['.repeat(40)}${']'.repeat(40)}`]
] as const) {
  test(`M3, M4, M8: ${title} closes with 1007`, async (t) => {
    const guard = await Guard.start(t)
    const { client } = await guard.connect()
    await client.sendText(text)
    assert.deepEqual(await closeFrameOf(client), { code: 1007, reason: 'invalid_json' })
    assert.equal(guard.log.find('ws.invalid')?.reason, 'invalid_json')
    assert.equal(({} as { x?: unknown }).x, undefined)
  })
}

test('M6: an unknown type and a violation are answered with the ref and a path, never the value', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  await client.sendJson({ type: 'constructor', ref: 1 })
  const unknown = await client.nextJson<Record<string, unknown>>()
  assert.equal(unknown.code, 'unknown_type')
  assert.equal(unknown.ref, 1)
  await client.sendJson({ type: 'ask', count: 'canary-value', ref: 'two' })
  const invalid = await client.nextJson<{ code: string; ref: string; details: { path: string }[] }>()
  assert.equal(invalid.code, 'invalid_message')
  assert.equal(invalid.ref, 'two')
  assert.deepEqual(
    invalid.details.map(({ path }) => path),
    ['/count']
  )
  assert.equal(inflowOf(connection).strikes, 2)
  assert.deepEqual(guard.log.filter('ws.invalid')[1]?.paths, ['/count'])
  assert.ok(!guard.log.text().includes('canary-value'))
  assert.ok(!JSON.stringify(texts(client)).includes('canary-value'))
})

test('M5, M6: an undeclared property is a strike; the sixth strike in the window is 1008', async (t) => {
  const guard = await Guard.start(t)
  const { client } = await guard.connect()
  for (let count = 1; count <= 5; count++) {
    await client.sendJson({ ...say('a'), isAdmin: true })
    assert.equal((await client.nextJson<{ code: string }>()).code, 'invalid_message')
  }
  await client.write(frames({ ...say('a'), isAdmin: true }, say('behind')))
  assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'invalid_messages' })
  assert.equal(texts(client).length, 5)
})

test('M6: strikes are forgotten when their window is over', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  for (let count = 1; count <= 5; count++) {
    await client.sendJson({ type: 'nothing' })
    await client.nextJson()
  }
  guard.clock.ms += 60_000
  await client.sendJson({ type: 'nothing' })
  assert.equal((await client.nextJson<{ code: string }>()).code, 'unknown_type')
  assert.equal(inflowOf(connection).strikes, 1)
  await settled(client)
})

for (const [title, authorize] of [
  ['says no', () => false],
  ['says something truthy', () => 'yes' as never],
  ['says no later', async () => false]
] as const) {
  test(`Z1: a message whose authorize ${title} is forbidden, a strike, and no handler runs`, async (t) => {
    let ran = 0
    const guard = await Guard.start(t, { handlers: { say: { authorize, run: () => void ran++ } } })
    const { client, connection } = await guard.connect()
    await client.sendJson(say('a', 9))
    const answer = await client.nextJson<Record<string, unknown>>()
    assert.equal(answer.code, 'forbidden')
    assert.equal(answer.ref, 9)
    assert.equal(ran, 0)
    assert.equal(inflowOf(connection).strikes, 1)
    const line = guard.log.find('ws.forbidden')
    assert.equal(line?.type, 'say')
    assert.equal(line?.reason, 'handler')
    await settled(client)
  })
}

test('Z1: an authorize that says yes later lets the handler run', async (t) => {
  const guard = await Guard.start(t, {
    handlers: { ask: { authorize: async () => true, run: () => ({ items: ['x'] }) } }
  })
  const { client } = await guard.connect()
  await client.sendJson({ type: 'ask', count: 1, ref: 1 })
  assert.deepEqual(await client.nextJson(), { type: 'reply', ref: 1, data: { items: ['x'] } })
})

for (const [title, authorize] of [
  ['throws', () => assert.fail('secret detail')],
  ['rejects', () => Promise.reject(new Error('secret detail'))]
] as const) {
  test(`Z1: an authorize that ${title} lets nobody in and tells nothing`, async (t) => {
    let ran = 0
    const guard = await Guard.start(t, { handlers: { say: { authorize, run: () => void ran++ } } })
    const { client } = await guard.connect()
    await client.sendJson(say('a'))
    assert.equal((await client.nextJson<{ code: string }>()).code, 'internal')
    assert.equal(ran, 0)
    assert.equal(guard.errors.length, 1)
    assert.ok(!JSON.stringify(texts(client)).includes('secret detail'))
  })
}

test('Z8: a connection that ends while authorize decides runs no handler', async (t) => {
  const decision = deferred<boolean>()
  let ran = 0
  const guard = await Guard.start(t, {
    handlers: { say: { authorize: () => decision.promise, run: () => void ran++ } }
  })
  const { client, connection } = await guard.connect()
  await client.sendJson(say('a'))
  await until(() => connection.busy)
  connection.close()
  decision.resolve(true)
  await until(() => !connection.busy)
  assert.equal(ran, 0)
})

test('M9: a binary frame closes with 1003', async (t) => {
  const guard = await Guard.start(t)
  const { client } = await guard.connect()
  await client.sendFrame({ opcode: opcodes.binary, payload: JSON.stringify(say('a')) })
  assert.deepEqual(await closeFrameOf(client), { code: 1003, reason: 'binary' })
})

test('M10: frames against the RFC are answered by ws, and onClose tells the code', async (t) => {
  const cases = [
    { bytes: frame({ payload: 'a', masked: false }), code: 1002 },
    { bytes: frame({ rsv: 4, payload: 'a' }), code: 1002 },
    { bytes: frame({ payload: Buffer.from([0xc3, 0x28]) }), code: 1007 },
    { bytes: closeFrame(1005), code: 1002 }
  ]
  const guard = await Guard.start(t)
  for (const [at, { bytes, code }] of cases.entries()) {
    const { client } = await guard.connect()
    await client.write(bytes)
    assert.equal((await closeFrameOf(client)).code, code)
    client.destroy()
    await until(() => guard.closes.length === at + 1)
    assert.deepEqual(guard.closes[at], { code, reason: '', cause: 'invalid_frame' })
  }
})

test('M11: one handler at a time, in order, and replies in order', async (t) => {
  let inFlight = 0
  let most = 0
  const guard = await Guard.start(t, {
    handlers: {
      ask: async ({ count }) => {
        most = Math.max(most, ++inFlight)
        // The first takes longest.
        for (let turns = count as number; turns > 0; turns--) await nextTurn()
        inFlight--
        return { items: [String(count)] }
      }
    }
  })
  const { client } = await guard.connect()
  await client.write(frames(...[5, 3, 1].map((count, ref) => ({ type: 'ask', count, ref }))))
  for (const ref of [0, 1, 2]) assert.equal((await client.nextJson<{ ref: number }>()).ref, ref)
  assert.equal(most, 1)
})

test('M11: a half full queue pauses reading, and reading goes on when it empties', async (t) => {
  const gate = deferred()
  const guard = await Guard.start(t, {
    limits: { queue: { messages: 4 } },
    handlers: {
      say: ({ text }, connection) => gate.promise.then(() => void connection.send('said', { text } as never))
    }
  })
  const { client, connection } = await guard.connect()
  await client.write(frames(say('1'), say('2'), say('3')))
  await until(() => inflowOf(connection).queue.length === 2)
  assert.equal(connection.socket.isPaused, true)
  await client.sendJson(say('4'))
  gate.resolve()
  await until(() => texts(client).length === 4)
  assert.equal(connection.socket.isPaused, false)
  assert.equal(inflowOf(connection).queuedBytes, 0)
})

for (const [title, queue, texts] of [
  ['messages', { messages: 2 }, ['1', '2', '3', '4']],
  ['bytes', { bytes: 300 }, ['1', 'x'.repeat(200), 'y'.repeat(200)]]
] as const) {
  test(`M11: too many ${title} in the queue close with 1008 overflow`, async (t) => {
    const gate = deferred()
    const guard = await Guard.start(t, { limits: { queue }, handlers: { say: () => gate.promise } })
    const { client } = await guard.connect()
    await client.write(frames(...texts.map((text) => say(text))))
    assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'overflow' })
    gate.resolve()
  })
}

test('M11: a long queue of quick handlers does not nest the stack', async (t) => {
  const opening = deferred()
  const count = 20_000
  const guard = await Guard.start(t, {
    onOpen: () => opening.promise,
    limits: { queue: { messages: 3 * count, bytes: 10_000_000 }, messages: { burst: 2 * count } },
    handlers: { say: () => {} }
  })
  const { client, connection } = await guard.connect()
  void client.write(Buffer.concat(Array.from({ length: count }, () => jsonFrame(say('x')))))
  await until(() => inflowOf(connection).queue.length === count, { timeoutMs: 10_000 })
  opening.resolve()
  await until(() => inflowOf(connection).queue.length === 0, { timeoutMs: 10_000 })
  assert.equal(connection.state, 'open')
  assert.deepEqual(guard.errors, [])
})

for (const [title, run] of [
  ['throws', () => assert.fail('secret detail')],
  ['rejects', () => Promise.reject(new Error('secret detail'))]
] as const) {
  test(`M12: a handler that ${title} is answered internal, is seen by onError and the log, and the connection lives`, async (t) => {
    const guard = await Guard.start(t, { handlers: { say: run } })
    const { client, connection } = await guard.connect()
    await client.sendJson(say('a', 'r'))
    assert.deepEqual(await client.nextJson(), {
      type: 'error',
      code: 'internal',
      message: 'the handler failed',
      ref: 'r'
    })
    assert.match(String(guard.errors[0]), /secret detail/)
    const line = guard.log.find('ws.handler_error')
    assert.equal(line?.connectionId, connection.id)
    assert.match(JSON.stringify(line?.err), /secret detail/)
    await settled(client)
  })
}

test('M12: an onError that throws or rejects is logged and harms nobody', async (t) => {
  const guard = await Guard.start(t, {
    handlers: { say: () => Promise.reject(new Error('first')) },
    onError: (error) => {
      if (guard.log.filter('ws.handler_error').length === 1) throw new Error('second', { cause: error })
      return Promise.reject(new Error('third'))
    }
  })
  const { client } = await guard.connect()
  await client.write(frames(say('a'), say('b')))
  await settled(client)
  const reasons = guard.log.filter('ws.handler_error').map(({ reason }) => reason)
  assert.deepEqual(reasons, ['handler', 'onError', 'handler', 'onError'])
})

test('M12: MessageError goes to the peer with its details, and without those that are no JSON', async (t) => {
  const guard = await Guard.start(t, {
    handlers: {
      say: ({ text }) => {
        throw new MessageError('no.room', 'the room is full', text === 'plain' ? { free: 0 } : { free: 1n })
      }
    }
  })
  const { client } = await guard.connect()
  await client.sendJson(say('plain', 1))
  const expected = { type: 'error', code: 'no.room', message: 'the room is full' }
  assert.deepEqual(await client.nextJson(), { ...expected, ref: 1, details: { free: 0 } })
  await client.sendJson(say('odd', 2))
  assert.deepEqual(await client.nextJson(), { ...expected, ref: 2 })
  assert.deepEqual(guard.errors, [])
})

test('M12: CloseError closes with its code and reason; a code that may not be sent becomes 1011', async (t) => {
  const guard = await Guard.start(t, {
    handlers: { say: ({ text }) => Promise.reject(new CloseError(Number(text), 'bye')) }
  })
  const first = await guard.connect()
  await first.client.sendJson(say('4321'))
  assert.deepEqual(await closeFrameOf(first.client), { code: 4321, reason: 'bye' })
  const second = await guard.connect()
  await second.client.sendJson(say('1005'))
  assert.deepEqual(await closeFrameOf(second.client), { code: 1011, reason: '' })
  assert.deepEqual(guard.errors, [])
})

test('M12: a handler that takes too long closes with 1011, and its late result is dropped', async (t) => {
  const late = deferred<{ items: string[] }>()
  const guard = await Guard.start(t, { handlerTimeoutMs: 100, handlers: { ask: () => late.promise } })
  const { client, connection } = await guard.connect()
  await client.sendJson({ type: 'ask', count: 0, ref: 1 })
  await until(() => connection.busy)
  guard.tick(99)
  assert.equal(connection.state, 'open')
  guard.tick(1)
  assert.deepEqual(await closeFrameOf(client), { code: 1011, reason: 'handler_timeout' })
  assert.equal(connection.signal.aborted, true)
  late.resolve({ items: [] })
  await until(() => !connection.busy)
  assert.deepEqual(texts(client), [])
})

test('M12: work that the signal stopped is no error of the handler', async (t) => {
  const guard = await Guard.start(t, {
    handlers: {
      say: (_, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    }
  })
  const { client, connection } = await guard.connect()
  await client.sendJson(say('a'))
  await until(() => connection.busy)
  client.destroy()
  await until(() => !connection.busy)
  assert.deepEqual(guard.errors, [])
  assert.equal(guard.log.find('ws.handler_error'), undefined)
})

test('M12: any other error after the end is told', async (t) => {
  const gate = deferred()
  const guard = await Guard.start(t, { handlers: { say: () => gate.promise } })
  const { client, connection } = await guard.connect()
  await client.sendJson(say('a'))
  await until(() => connection.busy)
  assert.equal(connection.signal.aborted, false)
  client.destroy()
  await until(() => connection.state === 'closed')
  gate.reject(new Error('a bug'))
  await until(() => guard.errors.length === 1)
})

for (const [title, onOpen, code, told] of [
  ['throws', () => assert.fail('secret'), { code: 1011, reason: 'internal' }, 1],
  ['rejects', () => Promise.reject(new Error('secret')), { code: 1011, reason: 'internal' }, 1],
  ['throws a CloseError', () => Promise.reject(new CloseError(4444, 'no')), { code: 4444, reason: 'no' }, 0]
] as const) {
  test(`M12: an onOpen that ${title} closes with ${code.code}, and nothing that waited runs`, async (t) => {
    let ran = 0
    const guard = await Guard.start(t, { onOpen, handlers: { say: () => void ran++ } })
    const { client } = await guard.connect(frames(say('a')))
    assert.deepEqual(await closeFrameOf(client), code)
    assert.equal(guard.errors.length, told)
    assert.equal(ran, 0)
    client.destroy()
    // It was opened, so it is owed its onClose.
    await until(() => guard.closes.length === 1)
  })
}

test('M12: an onOpen that takes too long closes with 1011', async (t) => {
  const guard = await Guard.start(t, { handlerTimeoutMs: 50, onOpen: () => new Promise(() => {}) })
  const { client } = await guard.connect()
  guard.tick(50)
  assert.deepEqual(await closeFrameOf(client), { code: 1011, reason: 'handler_timeout' })
})

test('M12: the handler of a raw route may run as long as the connection', async (t) => {
  const guard = await Guard.start(t, { raw: true, handlerTimeoutMs: 50, onOpen: () => new Promise(() => {}) })
  const { connection } = await guard.connect()
  guard.tick(1000)
  assert.equal(connection.state, 'open')
})

test('a reply comes where a ref asks for one: the declared one, or null', async (t) => {
  const guard = await Guard.start(t, { handlers: { say: () => 'not on the wire' } })
  const { client } = await guard.connect()
  await client.write(frames(say('a'), say('b', 'x'), { type: 'ask', count: 1, ref: -3 }))
  assert.deepEqual(await client.nextJson(), { type: 'reply', ref: 'x', data: null })
  assert.deepEqual(await client.nextJson(), { type: 'reply', ref: -3, data: { items: ['0'] } })
})

test('O3: a reply against its schema is internal, told to onError, and the next message is served', async (t) => {
  const guard = await Guard.start(t, {
    handlers: { ask: ({ count }) => (count === 1 ? { items: [1] } : { items: ['a'], secret: 'canary' }) }
  })
  const { client } = await guard.connect()
  await client.sendJson({ type: 'ask', count: 1, ref: 1 })
  assert.equal((await client.nextJson<{ code: string }>()).code, 'internal')
  assert.equal((guard.errors[0] as Error).name, 'EncodeError')
  await client.sendJson({ type: 'ask', count: 2, ref: 2 })
  assert.deepEqual(await client.nextJson(), { type: 'reply', ref: 2, data: { items: ['a'] } })
})

test('R4: above maxPayloadBytes is 1009, in one frame, in fragments, and from the header alone', async (t) => {
  const guard = await Guard.start(t, { limits: { maxPayloadBytes: 100 } })
  const cases = [
    textFrame('x'.repeat(101)),
    Buffer.concat([
      frame({ fin: false, payload: 'x'.repeat(60) }),
      frame({ opcode: opcodes.continuation, payload: 'x'.repeat(60) })
    ]),
    // Refused before a byte of it was buffered.
    frame({ declaredLength: 1_000_000_000, lengthBits: 64 }),
    frame({ declaredLength: 2n ** 62n, lengthBits: 64 })
  ]
  for (const [at, bytes] of cases.entries()) {
    const { client } = await guard.connect()
    await client.write(bytes)
    assert.equal((await closeFrameOf(client)).code, 1009)
    client.destroy()
    await until(() => guard.closes.length === at + 1)
    assert.deepEqual(guard.closes[at], { code: 1009, reason: '', cause: 'too_big' })
  }
  const { client } = await guard.connect()
  await client.sendText(JSON.stringify(say('x'.repeat(100 - JSON.stringify(say('')).length))))
  assert.equal((await client.nextJson<{ type: string }>()).type, 'said')
})

test('R5: the 65th fragment of a message is 1008', async (t) => {
  const guard = await Guard.start(t)
  const { client } = await guard.connect()
  const rest = Array.from({ length: 64 }, () => frame({ fin: false, opcode: opcodes.continuation, payload: 'x' }))
  await client.write(Buffer.concat([frame({ fin: false, payload: 'x' }), ...rest]))
  assert.equal((await closeFrameOf(client)).code, 1008)
  client.destroy()
  await until(() => guard.closes.length === 1)
  assert.deepEqual(guard.closes[0], { code: 1008, reason: '', cause: 'rate_limited' })
})

test('R5: 64 fragments are a message', async (t) => {
  const guard = await Guard.start(t)
  const { client } = await guard.connect()
  const text = JSON.stringify(say('x'.repeat(100)))
  const parts = [...Array(63).keys()].map((at) => text.slice(at, at + 1))
  const bytes = parts.map((payload, at) => frame({ fin: false, opcode: at === 0 ? 1 : 0, payload }))
  await client.write(Buffer.concat([...bytes, frame({ opcode: 0, payload: text.slice(63) })]))
  assert.equal((await client.nextJson<{ type: string }>()).type, 'said')
})

for (const [name, opcode] of [
  ['pings', opcodes.ping],
  ['pongs', opcodes.pong]
] as const) {
  test(`R6: a flood of ${name} closes with 1008, as many as the burst is fine`, async (t) => {
    const guard = await Guard.start(t)
    const { client, connection } = await guard.connect()
    const some = (count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => frame({ opcode })))
    // 16 at once: also as many pongs as may wait to be written.
    await client.write(some(16))
    await settled(client)
    assert.equal(connection.state, 'open')
    await client.write(some(16))
    assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'rate_limited' })
    assert.equal(guard.log.filter('ws.rate_limited').length, 1)
  })
}

test('R7: an abusive end does not wait for the peer: the socket is gone after the grace time', async (t) => {
  const guard = await Guard.start(t)
  const { client, connection } = await guard.connect()
  await client.sendText('{bad')
  await closeFrameOf(client)
  // What it still sends is read and thrown away, so that the close frame is not lost to a reset.
  await client.write(Buffer.concat(Array.from({ length: 100 }, () => frame({ payload: 'x'.repeat(10_000) }))))
  guard.tick(249)
  assert.equal(connection.rawSocket.destroyed, false)
  guard.tick(1)
  assert.equal(connection.rawSocket.destroyed, true)
  await until(() => guard.closes.length === 1)
  assert.deepEqual(guard.closes[0], { code: 1007, reason: 'invalid_json', cause: 'invalid_json' })
})

test('binaryType of a raw route: every kind is counted in bytes', async (t) => {
  for (const binaryType of ['nodebuffer', 'arraybuffer', 'fragments', 'blob'] as const) {
    const seen: unknown[] = []
    const guard = await Guard.start(t, {
      raw: true,
      limits: { bytes: { perSecond: 1, burst: 1000 } },
      onOpen: ({ socket }) => {
        socket.binaryType = binaryType as 'nodebuffer'
        socket.on('message', (data) => seen.push(data))
      }
    })
    const { client, connection } = await guard.connect()
    await client.write(
      Buffer.concat([
        frame({ opcode: opcodes.binary, fin: false, payload: 'x'.repeat(60) }),
        frame({ opcode: opcodes.continuation, payload: 'y'.repeat(40) })
      ])
    )
    await until(() => seen.length === 1)
    assert.equal(inflowOf(connection).bytes.available(guard.clock.now()), 900)
  }
})
