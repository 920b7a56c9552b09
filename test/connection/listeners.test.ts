/** Threat L1: connections leave no listener behind, on nothing that outlives them, and pile none up while they are open. */
import assert from 'node:assert/strict'
import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { Target, turns } from '../attack/harness.ts'
import { jsonFrame, opcodes } from '../support/frames.ts'
import { handshakeRequest } from '../support/http-message.ts'
import type { RawClient } from '../support/raw-client.ts'
import { eventually, until } from '../support/wait.ts'

const timeoutMs = 10_000

/** How many listeners there are for each event. */
function countsOf(emitter: EventEmitter): Record<string, number> {
  const names = emitter.eventNames().map((name) => [String(name), emitter.listenerCount(name)] as const)
  return Object.fromEntries(names.filter(([, count]) => count > 0).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

/** How many hooks were asked that never answer. */
let waiting = 0
const hang = (): Promise<never> => {
  waiting++
  return new Promise(() => {})
}

/** Ways for a client to come and go, each of which leaves through other code. */
const visits: readonly ((target: Target) => Promise<unknown>)[] = [
  async (target) => (await target.open()).reset(),
  async (target) => (await target.open()).halfClose(),
  async (target) => (await target.open()).sendClose(1000),
  async (target) => (await target.open()).sendText('{bad'),
  async (target) => (await target.open()).sendFrame({ opcode: 3 }),
  async (target) =>
    (await target.open()).write(jsonFrame({ type: 'say', text: 'cut' }), [4]).then(() => target.hangUp()),
  async (target) => assert.equal(await target.knock('/echo', {}), 403),
  async (target) => assert.equal(await target.knock('/nope'), 404),
  async (target) => assert.equal(await target.knock('/%'), 400),
  async (target) => assert.equal(await target.knock('/refused'), 101),
  async (target) => (await target.dial()).reset(),
  async (target) => {
    const client = await target.dial()
    const before = waiting
    await client.write(handshakeRequest({ path: '/waits', headers: target.headers() }))
    await until(() => waiting > before, { timeoutMs })
    client.reset()
  }
]

test('L1: after visits of all kinds the server, the websocket server, the process and the log have no more listeners', async (t) => {
  const target = await Target.start(t, {
    guard: { limits: { attempts: { max: 10_000 }, connections: { perIp: 1_000, perUser: 1_000 } } },
    declare: (app) => {
      app.wsRoute('/refused', { refuse: 'close', authorize: () => false, handler() {} })
      app.wsRoute('/waits', { preHandler: hang, handler() {} })
    }
  })
  const sockets = new Set<Socket>()
  target.app.server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  const { app } = target
  const lasting: Readonly<Record<string, EventEmitter>> = {
    server: app.server,
    'websocket server': app.websocketServer,
    process,
    log: target.logs.logger.stream
  }
  const all = (): unknown => Object.entries(lasting).map(([name, emitter]) => [name, countsOf(emitter)])
  const visitAll = async (): Promise<void> => {
    for (const visit of visits) {
      await visit(target)
      await turns(1)
    }
    target.hangUp()
    const isEmpty = (): boolean => {
      const { connections, handshakes, refused } = app.wsGuard.stats()
      return connections === 0 && handshakes === 0 && refused === 0 && sockets.size === 0
    }
    await until(isEmpty, { timeoutMs, what: 'the end of all visits' })
  }
  await visitAll()
  const before = all()
  for (let round = 0; round < 4; round++) await visitAll()
  assert.deepEqual(all(), before)
  assert.equal(app.websocketServer.clients.size, 0)
})

/** What a client of long standing does, many times over. */
async function live(client: RawClient, round: number): Promise<void> {
  const seen = client.frames.length
  await client.sendFrame({ opcode: opcodes.ping })
  await client.sendFrame({ opcode: opcodes.pong })
  await client.write(jsonFrame({ type: 'say', text: 'x' }), [3])
  await client.write(Buffer.concat([jsonFrame({ type: 'no' }), jsonFrame({ type: 'ask', count: 1, ref: round })]))
  const ref = `"ref":${round}`
  await until(() => client.frames.slice(seen).some(({ payload }) => payload.includes(ref)), { timeoutMs })
}

test('L1: an open connection has as many listeners after hundreds of frames as after the first', async (t) => {
  const high = { perSecond: 100_000, burst: 100_000 }
  const opened: { socket: EventEmitter; raw: EventEmitter }[] = []
  const target = await Target.start(t, {
    guard: {
      // Reading is paused and resumed all the time.
      limits: {
        messages: { perSecond: 2_000, burst: 4, onExceeded: 'delay' },
        controlFrames: high,
        strikes: { max: 10_000 }
      },
      heartbeat: { intervalMs: 20, timeoutMs: 10_000 }
    },
    route: {
      onOpen: ({ socket }) =>
        void opened.push({ socket, raw: (socket as unknown as { _socket: EventEmitter })._socket }),
      handlers: {
        say: async (_, connection) => {
          await connection.subscribe('room')
          connection.send('said', { text: 'y' })
          connection.unsubscribe('room')
        },
        ask: () => ({ items: [] })
      }
    }
  })
  const client = await target.open()
  const { socket, raw } = await until(() => opened[0], { timeoutMs })
  const both = (): unknown => ({ socket: countsOf(socket), raw: countsOf(raw) })
  await live(client, 1)
  const before = both()
  for (let round = 2; round <= 60; round++) await live(client, round)
  // A write that waits listens for its end.
  await eventually(() => assert.deepEqual(both(), before), { timeoutMs })
  assert.deepEqual(target.closes, [])
})
