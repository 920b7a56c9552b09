/** What may happen between the 101 and the answer to the first message: nothing but the verification of one token. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import type { GuardedSocket } from '../../lib/connection/guarded-socket.ts'
import { inflowOf } from '../../lib/connection/inflow.ts'
import type { VerifyOutcome } from '../../lib/connection/session.ts'
import {
  assertNothingHeld,
  assertRefused,
  gate,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from '../handshake/harness.ts'
import { echo } from '../support/app.ts'
import { closeFrame, closeOf, frame, jsonFrame, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, deferred, frames, Guard, type GuardOptions, say, settled, texts } from './harness.ts'

const alice: VerifyOutcome = { ok: true, user: { name: 'from the token' }, identity: { subject: 'alice' } }
const auth = (more: object = {}): object => ({ type: 'auth', token: 'good', ...more })

/** libuv hands over at most so much at once. */
const chunkBytes = 65_536
/** The chunk that the auth message came in, and what a paused stream takes until its buffer is full. */
const maxReadBytes = (socket: Socket): number => 2 * chunkBytes + socket.readableHighWaterMark

/** Resolves when a number has not changed for a while. */
async function steady(probe: () => number): Promise<number> {
  let last = Number.NaN
  let since = 0
  return await until(
    () => {
      const value = probe()
      if (value !== last) since = performance.now()
      last = value
      return performance.now() - since > 100 && [value]
    },
    { timeoutMs: 20_000, what: 'a steady number' }
  ).then(([value]) => value as number)
}

test('A1, R2: 100 sockets that push behind their auth message are read to a bound, and served in order after it', async (t) => {
  const answer = gate(t)
  const seen = new Map<string, number[]>()
  let verifying = 0
  const verify = async (token: string): Promise<object | null> => {
    verifying++
    await answer.promise
    return token.startsWith('good') ? { sub: token } : null
  }
  const plenty = { perSecond: 1_000_000_000, burst: 1_000_000_000 }
  const { app } = await guarded(t, {
    guard: {
      auth: { from: ['message'], verify, messageTimeoutMs: 60_000 },
      limits: {
        attempts: { max: 1000 },
        connections: { perIp: 1000, unauthenticated: 100 },
        messages: plenty,
        bytes: plenty
      }
    }
  })
  app.wsRoute('/ws', {
    contract: echo,
    handlers: {
      say: ({ text }, { user }) => void seen.get((user as { sub: string }).sub)?.push(Number.parseInt(text, 10)),
      ask: () => ({ items: [] })
    }
  })
  const port = await listen(app)
  const behind = Buffer.concat(Array.from({ length: 500 }, (_, at) => jsonFrame(say(`${at} ${'x'.repeat(2_000)}`))))
  assert.ok(behind.length > 1_000_000)
  const names = Array.from({ length: 100 }, (_, at) => `${at % 2 === 0 ? 'good' : 'bad'}-${at}`)
  const clients = new Map<string, RawClient>()
  for (const name of names) {
    const client = await rawClient(t, port)
    assert.equal((await client.handshake({ path: '/ws', headers: goodHeaders() })).statusCode, 101)
    clients.set(name, client)
    if (name.startsWith('good')) seen.set(name, [])
  }
  assertRefused(await (await rawClient(t, port)).handshake({ path: '/ws', headers: goodHeaders() }), 503)
  for (const [name, client] of clients) client.socket.write(Buffer.concat([jsonFrame(auth({ token: name })), behind]))
  await until(() => verifying === 100, { timeoutMs: 20_000 })

  const sockets = [...app.websocketServer.clients].map((socket) => (socket as GuardedSocket)._socket as Socket)
  await steady(() => sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0))
  const read = sockets.map(({ bytesRead }) => bytesRead)
  t.diagnostic(`read of each waiting socket: ${Math.min(...read)} to ${Math.max(...read)} of ${behind.length} bytes`)
  for (const socket of sockets) assert.ok(socket.bytesRead <= maxReadBytes(socket), `${socket.bytesRead} bytes read`)
  assert.equal(app.wsGuard.stats().unauthenticated, 100)
  for (const texts of seen.values()) assert.deepEqual(texts, [])

  answer.open()
  const inOrder = Array.from({ length: 500 }, (_, at) => at)
  for (const [name, client] of clients) {
    if (name.startsWith('good')) {
      await until(() => seen.get(name)?.length === 500, { timeoutMs: 20_000, what: `the messages of ${name}` })
      assert.deepEqual(seen.get(name), inOrder)
      assert.deepEqual(await client.nextJson(), { type: 'auth_ok' })
    } else {
      const close = await client.nextFrame({ opcode: opcodes.close, timeoutMs: 20_000 })
      assert.deepEqual(closeOf(close), { code: 4001, reason: 'unauthorized' })
    }
    client.destroy()
  }
  await assertNothingHeld(app)
})

for (const [title, leave] of [
  ['ends its side', (client: RawClient) => client.halfClose()],
  ['resets', (client: RawClient) => client.reset()],
  ['stays', () => {}]
] as const) {
  test(`A1, R2: a peer that ${title} behind more than is read of it is gone with the deadline`, async (t) => {
    const answer = deferred<VerifyOutcome>()
    const guard = await Guard.start(t, { auth: { timeoutMs: 1000 }, session: { verify: () => answer.promise } })
    const { client, connection } = await guard.connect(frames(auth()))
    await until(() => connection.received === 1)
    assert.equal(connection.paused, true)
    const raw = connection.rawSocket as Socket
    client.socket.write(Buffer.alloc(4_000_000, jsonFrame(say('x'.repeat(1000)))))
    await steady(() => raw.bytesRead)
    leave(client)
    guard.tick(999)
    assert.equal(connection.state, 'open')
    guard.tick(1)
    assert.deepEqual([connection.state, connection.cause], ['closing', 'unavailable'])
    assert.equal(connection.paused, false)
    client.socket.resume()
    // Who stays is given until the close deadline to answer.
    await until(
      () => {
        guard.tick(100)
        return Object.values(guard.held()).every((count) => count === 0)
      },
      { timeoutMs: 10_000 }
    )
    assert.equal(raw.destroyed, true)
    answer.resolve(alice)
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(connection.opened, false)
  })
}

test('A1: reading goes on when the token is settled, unless something else has paused it', async (t) => {
  const answer = deferred<VerifyOutcome>()
  const first = deferred()
  const guard = await Guard.start(t, {
    auth: {},
    session: { verify: () => answer.promise },
    limits: { queue: { messages: 4 } },
    handlers: { say: () => first.promise }
  })
  const { client, connection } = await guard.connect(frames(auth(), say('1'), say('2'), say('3')))
  await until(() => connection.received === 4)
  answer.resolve(alice)
  await client.nextJson()
  // One runs, two of four wait: the queue has paused it in the meantime.
  await until(() => inflowOf(connection).queue.length === 2)
  assert.equal(connection.paused, true)
  first.resolve()
  await settled(client)
  assert.equal(connection.paused, false)
})

test('A1, P5: a shutdown does not wait for a verifier that hangs', async (t) => {
  const guard = await Guard.start(t, { auth: {}, session: { verify: () => new Promise(() => {}) } })
  const { client, connection } = await guard.connect(frames(auth()))
  await until(() => connection.paused)
  const drained = guard.drain()
  assert.deepEqual(await closeFrameOf(client), { code: 1012, reason: 'restart' })
  await client.sendClose(1012)
  await client.serverEnd()
  client.halfClose()
  await drained
  assert.equal(connection.opened, false)
})

const text = JSON.stringify(auth())
const ping = frame({ opcode: opcodes.ping, payload: 'p' })

/** Writes an auth message in its own way. */
const spellings: Readonly<Record<string, (client: RawClient) => Promise<void>>> = {
  'in fragments, with a ping between them': (client) =>
    client.write(
      Buffer.concat([
        frame({ fin: false, payload: text.slice(0, 9) }),
        ping,
        frame({ fin: false, opcode: opcodes.continuation, payload: text.slice(9, 12) }),
        frame({ opcode: opcodes.continuation, payload: text.slice(12) })
      ])
    ),
  'over many TCP segments': (client) => client.write(jsonFrame(auth()), [1, 1, 1, 3, 5, 7]),
  'behind pings and pongs': (client) =>
    client.write(Buffer.concat([ping, frame({ opcode: opcodes.pong }), ping, jsonFrame(auth())])),
  'with a ref': (client) => client.sendJson(auth({ ref: 7 }))
}

for (const [title, send] of Object.entries(spellings)) {
  test(`A1: an auth message ${title} is one, and is answered with auth_ok alone`, async (t) => {
    const tokens: string[] = []
    const verify = async (token: string): Promise<VerifyOutcome> => {
      tokens.push(token)
      return alice
    }
    const guard = await Guard.start(t, { auth: {}, session: { verify } })
    const { client } = await guard.connect()
    await send(client)
    await settled(client)
    assert.deepEqual(tokens, ['good'])
    assert.deepEqual(texts(client)[0], { type: 'auth_ok' })
    assert.equal(texts(client).length, 2)
  })
}

test('A1, M6: an auth message with a property it does not have is none, as in a refresh', async (t) => {
  let verified = 0
  const verify = async (): Promise<VerifyOutcome> => {
    verified++
    return alice
  }
  const guard = await Guard.start(t, { auth: {}, session: { verify } })
  const { client } = await guard.connect(frames(auth({ admin: true })))
  assert.deepEqual(await closeFrameOf(client), { code: 4001, reason: 'unauthorized' })
  assert.equal(verified, 0)
})

test('A1, Z5: of two auth messages at once the second waits its turn and is a refresh', async (t) => {
  const answers = [deferred<VerifyOutcome>(), deferred<VerifyOutcome>()]
  const asked: string[] = []
  const options: GuardOptions = {
    auth: {},
    session: {
      verify: (token) => {
        asked.push(token)
        return answers[asked.length - 1]?.promise as Promise<VerifyOutcome>
      }
    }
  }
  const guard = await Guard.start(t, options)
  const { client, connection } = await guard.connect(frames(auth({ token: 'one' }), auth({ token: 'two', ref: 2 })))
  await until(() => connection.received === 2)
  assert.deepEqual(asked, ['one'])
  answers[0]?.resolve(alice)
  await until(() => asked.length === 2)
  answers[1]?.resolve({ ok: true, user: 'second', identity: { subject: 'alice', tokenId: 'two' } })
  await settled(client)
  assert.deepEqual(texts(client).slice(0, 3), [
    { type: 'auth_ok' },
    { type: 'auth_ok' },
    { type: 'reply', ref: 2, data: null }
  ])
  assert.deepEqual([connection.user, connection.identity?.tokenId], ['second', 'two'])
})

for (const [title, behind, close] of [
  ['a binary frame', frame({ opcode: opcodes.binary, payload: 'x' }), { code: 1003, reason: 'binary' }],
  ['a close frame', closeFrame(1000), { code: 1000, reason: '' }]
] as const) {
  test(`A1, M2: ${title} behind the auth message ends it before it is opened`, async (t) => {
    const answer = deferred<VerifyOutcome>()
    const guard = await Guard.start(t, {
      auth: {},
      session: { verify: () => answer.promise },
      onOpen: () => assert.fail('not opened')
    })
    const { client, connection } = await guard.connect(Buffer.concat([frames(auth()), behind]))
    assert.deepEqual(await closeFrameOf(client), close)
    answer.resolve(alice)
    client.halfClose()
    await client.serverEnd()
    await until(() => connection.state === 'closed')
    assert.deepEqual([texts(client), guard.errors], [[], []])
  })
}
