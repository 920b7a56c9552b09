import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { drainBatchSize } from '../../lib/connection/drain.ts'
import { injectWs, type TestSocket } from '../../lib/testing.ts'
import { buildApp, echo, origin, tokenFor } from '../support/app.ts'
import { connect } from '../support/raw-client.ts'
import { until, within } from '../support/wait.ts'
import { closeFrameOf, deferred, Guard, type Opened, say, settled, texts } from './harness.ts'

async function openMany(guard: Guard, count: number): Promise<Opened[]> {
  const opened: Opened[] = []
  while (opened.length < count) opened.push(await guard.connect())
  return opened
}

/** Peers that hang up when they are told to. */
function answering(opened: readonly Opened[]): void {
  for (const { client } of opened) {
    const hangUp = (): void => client.halfClose()
    // A test that fails earlier destroys them.
    void client.nextFrame({ opcode: 8, timeoutMs: 10_000 }).then(hangUp, hangUp)
  }
}

test('P5: everybody is told 1012, and the drain is over when their sockets are gone', async (t) => {
  const guard = await Guard.start(t)
  const opened = await openMany(guard, 5)
  answering(opened)
  await within(guard.drain())
  for (const { client, connection } of opened) {
    assert.equal(connection.rawSocket.closed, true)
    assert.equal(client.frames.at(-1)?.payload.readUInt16BE(0), 1012)
    assert.equal(client.frames.at(-1)?.payload.toString('utf8', 2), 'restart')
  }
  assert.equal(guard.closes.length, 5)
  assert.deepEqual(guard.closes[0], { code: 1012, reason: 'restart', cause: 'restart' })
  assert.ok(Object.values(guard.held()).every((count) => count === 0))
})

test('P5: without connections there is nothing to wait for', async (t) => {
  const guard = await Guard.start(t)
  await within(guard.drain({ spreadMs: 60_000 }))
})

test('P5: more than a batch are told over several turns of the loop', async (t) => {
  const guard = await Guard.start(t)
  const opened = await openMany(guard, drainBatchSize + 20)
  answering(opened)
  const drained = guard.drain()
  const told = (): number => opened.filter(({ connection }) => connection.state !== 'open').length
  assert.ok(told() > 0 && told() <= drainBatchSize, String(told()))
  await within(drained)
  assert.equal(told(), opened.length)
})

test('P6: the closes are spread, also of few connections, and nobody waits after the last one', async (t) => {
  const guard = await Guard.start(t)
  const opened = await openMany(guard, 4)
  answering(opened)
  const times: number[] = []
  for (const { connection } of opened) connection.signal.addEventListener('abort', () => times.push(performance.now()))
  const startedAt = performance.now()
  await within(guard.drain({ spreadMs: 400 }))
  assert.equal(times.length, 4)
  const at = times.map((time) => time - startedAt)
  // Steps of 100 ms: a timer may be late, never early (a millisecond of rounding aside).
  for (const [step, time] of at.entries()) assert.ok(time >= step * 100 - 5, String(at))
})

test('P6: who has not been told yet is served', async (t) => {
  const guard = await Guard.start(t)
  const opened = await openMany(guard, 2)
  const drained = guard.drain({ spreadMs: 60_000, timeoutMs: 1500 })
  assert.notEqual(opened[0]?.connection.state, 'open')
  await settled((opened[1] as Opened).client)
  await within(drained, { timeoutMs: 5000 })
  // The time was over: destroyed, and the timer of the spread is gone with it.
  assert.equal(opened[1]?.connection.rawSocket.destroyed, true)
  await until(() => guard.closes.length === 2)
})

test('P5: a running handler and onClose hold the socket; the reply is not sent any more', async (t) => {
  const work = deferred()
  const closing = deferred()
  const order: unknown[] = []
  const guard = await Guard.start(t, {
    handlers: { say: () => work.promise.then(() => void order.push('handler')) },
    onClose: async () => {
      order.push('onClose')
      await closing.promise
      order.push('onClose settled')
    }
  })
  const { client, connection } = await guard.connect()
  await client.sendJson(say('a', 1))
  await until(() => connection.busy)
  const drained = guard.drain().then(() => order.push('drained'))
  connection.rawSocket.once('close', () => order.push('socket'))
  assert.deepEqual(await closeFrameOf(client), { code: 1012, reason: 'restart' })
  assert.equal(connection.signal.aborted, true)
  // As browsers do: the answer, and then they wait for the server to end.
  await client.sendClose(1012)
  await settled((await guard.connect()).client)
  assert.equal(order.length, 0)
  work.resolve()
  await until(() => order.length === 2)
  closing.resolve()
  await until(() => order.includes('onClose settled'))
  client.halfClose()
  await within(drained)
  assert.deepEqual(order, ['handler', 'onClose', 'onClose settled', 'socket', 'drained'])
  assert.deepEqual(texts(client), [])
})

test('P5: a handler that hangs is bounded by the time of the shutdown', async (t) => {
  const guard = await Guard.start(t, { handlers: { say: () => new Promise(() => {}) } })
  const { client, connection } = await guard.connect()
  await client.sendJson(say('a'))
  await until(() => connection.busy)
  await within(guard.drain({ timeoutMs: 100 }))
  assert.equal(connection.rawSocket.destroyed, true)
  await until(() => guard.closes.length === 1)
})

test('P5, L1: a handler that settles after its socket is gone leaves no timer', async (t) => {
  const work = deferred()
  const guard = await Guard.start(t, { closeTimeoutMs: 30_000, handlers: { say: () => work.promise } })
  const { client, connection } = await guard.connect()
  await client.sendJson(say('a'))
  await until(() => connection.busy)
  const before = timeouts()
  const drained = guard.drain()
  client.destroy()
  await until(() => connection.rawSocket.closed)
  // Its socket is gone, but the drain still waits for the handler.
  const { client: other } = await guard.connect()
  assert.equal(await Promise.race([drained.then(() => 'over'), settled(other)]), undefined)
  work.resolve()
  await within(drained)
  await until(() => timeouts() <= before)
})

test('P5: a peer that never answers the close is ended after closeTimeoutMs', async (t) => {
  const guard = await Guard.start(t, { closeTimeoutMs: 50 })
  const { connection } = await guard.connect()
  await within(guard.drain({ timeoutMs: 60_000 }))
  assert.equal(connection.rawSocket.destroyed, true)
  assert.deepEqual(guard.closes, [{ code: 1012, reason: 'restart', cause: 'restart' }])
})

test('P5: the handler of a raw route may wait for its socket to close', async (t) => {
  let isDone = false
  const guard = await Guard.start(t, {
    raw: true,
    onOpen: async ({ socket }) => {
      await new Promise((resolve) => socket.once('close', resolve))
      isDone = true
    }
  })
  const opened = await guard.connect()
  answering([opened])
  await within(guard.drain({ timeoutMs: 60_000 }))
  assert.equal(isDone, true)
})

test('P5: a connection that was already closing, in whichever way, is waited for', async (t) => {
  const guard = await Guard.start(t, { closeTimeoutMs: 100 })
  const [silent, abusive] = (await openMany(guard, 2)) as [Opened, Opened]
  silent.connection.close(4000)
  await abusive.client.sendText('{bad')
  await closeFrameOf(abusive.client)
  await within(guard.drain({ timeoutMs: 60_000 }))
  assert.deepEqual(new Set(guard.closes.map(({ cause }) => cause)), new Set(['server', 'invalid_json']))
})

test('P5: a socket that is gone when the drain begins, and an onClose that still runs', async (t) => {
  const closing = deferred()
  const guard = await Guard.start(t, { onClose: () => closing.promise })
  const { client, connection } = await guard.connect()
  client.destroy()
  await until(() => connection.state === 'closed')
  assert.equal(guard.held().closing, 1)
  let isOver = false
  const drained = guard.drain().then(() => {
    isOver = true
  })
  await settled((await guard.connect()).client)
  assert.equal(isOver, false)
  closing.resolve()
  await within(drained)
})

test('P5: a raw socket that has closed, while ws has not said so yet, is not waited for', async (t) => {
  const guard = await Guard.start(t)
  const { connection } = await guard.connect()
  const drained = new Promise<void>((resolve, reject) => {
    // In the turn in which the socket closes, before our own listener on ws.
    connection.rawSocket.once('close', () => guard.drain().then(resolve, reject))
    connection.rawSocket.destroy()
  })
  await within(drained)
  assert.equal(guard.closes.length, 1)
})

function timeouts(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
}

/** An app with a route that says when its connections have closed. */
async function buildDraining(order: unknown[], work: Promise<unknown>, timeoutMs = 5000): Promise<FastifyInstance> {
  const app = await buildApp({ guard: { shutdown: { timeoutMs }, closeTimeoutMs: 200 } })
  app.wsRoute('/echo', {
    contract: echo,
    handlers: {
      say: () => {
        order.push('started')
        return work.then(() => {})
      },
      ask: () => ({ items: [] })
    },
    onClose: async () => {
      order.push('onClose')
      await new Promise((resolve) => setImmediate(resolve))
      order.push('onClose settled')
    }
  })
  app.addHook('onClose', async () => void order.push('app'))
  return app
}

function open(app: FastifyInstance): Promise<TestSocket<typeof echo>> {
  return injectWs(app, '/echo', { contract: echo, token: tokenFor(app) })
}

test('P5: the hooks of the app run after every handler and onClose', async () => {
  const order: unknown[] = []
  const work = deferred()
  const app = await buildDraining(
    order,
    work.promise.then(() => order.push('handler'))
  )
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = await connect((app.server.address() as AddressInfo).port)
  await client.handshake({ path: '/echo', headers: { Origin: origin, Authorization: `Bearer ${tokenFor(app)}` } })
  await client.sendJson({ type: 'say', text: 'a' })
  await until(() => order.length === 1)
  const closed = app.close()
  assert.deepEqual(await closeFrameOf(client), { code: 1012, reason: 'restart' })
  await client.sendClose(1012)
  assert.deepEqual(order, ['started'])
  work.resolve()
  await until(() => order.includes('onClose settled'))
  client.halfClose()
  await within(closed)
  assert.deepEqual(order, ['started', 'handler', 'onClose', 'onClose settled', 'app'])
  assert.ok(
    Object.values(app.wsGuard.stats()).every((count) => count === 0),
    JSON.stringify(app.wsGuard.stats())
  )
  client.destroy()
})

test('P5: app.close() never hangs: idle, silent and hanging connections', async () => {
  const order: string[] = []
  const app = await buildDraining(order, new Promise(() => {}), 500)
  const sockets = [await open(app), await open(app), await open(app)]
  sockets[1]?.socket.pause()
  sockets[2]?.send('say', { text: 'hangs' })
  await until(() => order.includes('started'))
  await within(app.close(), { timeoutMs: 8000 })
  await until(() => {
    // A handler that never settles is the one thing nobody can end.
    const { closing, ...rest } = app.wsGuard.stats()
    return closing === 1 && Object.values(rest).every((count) => count === 0)
  })
})

test('Z4: disconnect, revoke and block close who they name, once', async () => {
  const app = await buildDraining([], Promise.resolve())
  const sockets = [
    await injectWs(app, '/echo', { token: tokenFor(app, 'alice', { jti: 'a1', sid: 's1' }) }),
    await injectWs(app, '/echo', { token: tokenFor(app, 'alice', { jti: 'a2', sid: 's2' }) }),
    await injectWs(app, '/echo', { token: tokenFor(app, 'bob') })
  ]
  assert.equal(await app.wsGuard.disconnect({ sid: 's1' }, { reason: 'elsewhere' }), 1)
  assert.deepEqual(await sockets[0]?.closed, { code: 4003, reason: 'elsewhere' })
  assert.equal(await app.wsGuard.revoke({ jti: 'a2' }), 1)
  assert.deepEqual(await sockets[1]?.closed, { code: 4003, reason: 'revoked' })
  assert.equal(await app.wsGuard.block({ sub: 'bob' }, { untilMs: Date.now() + 60_000 }), 1)
  assert.deepEqual(await sockets[2]?.closed, { code: 4003, reason: 'revoked' })
  assert.equal(await app.wsGuard.disconnect({ sub: 'alice' }), 0)
  await until(() => app.wsGuard.connections === 0)
  await app.close()
})

test('L1: after a hundred connections through the whole plugin nothing is left', async () => {
  const app = await buildDraining([], Promise.resolve())
  for (let round = 0; round < 20; round++) {
    const sockets = await Promise.all(
      Array.from({ length: 5 }, (_, at) => injectWs(app, '/echo', { token: tokenFor(app, `user ${at}`) }))
    )
    for (const [at, socket] of sockets.entries()) {
      assert.equal(socket.statusCode, 101)
      if (at % 2 === 0) socket.close()
      else socket.terminate()
    }
    await Promise.all(sockets.map(({ closed }) => closed))
  }
  await until(() => app.wsGuard.connections === 0)
  await until(() => {
    // The attempts of this minute are remembered.
    const { 'store.attempts': attempts, ...rest } = app.wsGuard.stats()
    return attempts !== undefined && Object.values(rest).every((count) => count === 0)
  })
  await app.close()
})
