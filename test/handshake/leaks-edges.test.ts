/** Threats H8, H9 and P5: single sockets in states that no crowd of clients gets into. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect as connectHttp2 } from 'node:http2'
import { connect as connectTcp, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { furtherServers } from '../../lib/handshake/server-sockets.ts'
import wsGuard from '../../lib/index.ts'
import { selfSigned } from '../support/certificate.ts'
import { eventually, until, within } from '../support/wait.ts'
import { assertNothingHeld, guarded, listen, rawClient } from './harness.ts'
import { assertNoResources, closeMs, httpGet, leakApp, overMs, slowMs, upgradeTo } from './leaks-harness.ts'

/** A connection whose peer has sent something, and reads nothing: no write to it is ever done. */
class UnreadSocket extends Duplex {
  readonly remoteAddress = '127.0.0.1'
  setTimeout(): this {
    return this
  }

  override _read(): void {}

  override _write(): void {}
}

for (const [name, path] of Object.entries({ 'of the guard': '/%', 'of Fastify': '/nope' })) {
  test(`H8: a refusal ${name} that its client never reads ends by the deadline`, async (t) => {
    const app = await leakApp()
    t.after(() => app.close())
    await app.ready()
    const socket = new UnreadSocket()
    app.server.emit('connection', socket)
    socket.push(upgradeTo(path))
    await until(() => app.wsGuard.stats().handshakes === 1)
    await eventually(() => assert.equal(socket.destroyed, true), { timeoutMs: overMs })
    await assertNothingHeld(app)
  })
}

test('P5: a refusal that its client never reads does not hold the shutdown', async (t) => {
  const app = await leakApp({ guard: { shutdown: { timeoutMs: 100 }, handshakeTimeoutMs: 30_000 } })
  t.after(() => app.close())
  await app.ready()
  const socket = new UnreadSocket()
  app.server.emit('connection', socket)
  socket.push(upgradeTo('/%'))
  await until(() => app.wsGuard.stats().handshakes === 1)
  await within(app.close(), { timeoutMs: closeMs, what: 'app.close()' })
  assert.equal(socket.destroyed, true)
  await assertNoResources()
})

test('H9, H10: a hook learns from request.signal that its client has left, and no timer stays', async (t) => {
  const { app } = await guarded(t, { guard: { handshakeTimeoutMs: 30_000 }, jwt: false })
  let signal: AbortSignal | undefined
  app.wsRoute('/ws', {
    auth: {
      verify: (_, request) => {
        signal = request.signal
        return new Promise(() => {})
      }
    },
    handler() {}
  })
  const client = await rawClient(t, await listen(app))
  await client.write(upgradeTo('/ws'))
  await until(() => signal !== undefined)
  assert.equal(signal?.aborted, false)
  client.reset()
  await until(() => signal?.aborted)
  await app.close()
  await assertNoResources()
})

test('H8: a handshake of app.injectWS ends by the deadline too', async (t) => {
  const app = await leakApp({ guard: { handshakeTimeoutMs: 1 } })
  t.after(() => app.close())
  await app.ready()
  // It rejects only where there is an answer.
  void app.injectWS('/plain/stuck').catch(() => {})
  await until(() => app.wsGuard.stats().handshakes === 1)
  await eventually(() => assert.equal(app.wsGuard.stats().handshakes, 0), { timeoutMs: overMs })
})

test('P5: on a Unix socket an idle client does not hold the shutdown, one that is being answered does', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'ws-guard-'))
  t.after(() => rm(folder, { recursive: true }))
  const path = join(folder, 'socket')
  let arrived = false
  const app = await leakApp({
    guard: { shutdown: { timeoutMs: slowMs / 4 } },
    onArrival: () => {
      arrived = true
    }
  })
  await app.listen({ path })
  const [slow, idle] = [connectTcp(path), connectTcp(path)] as [Socket, Socket]
  t.after(() => {
    for (const socket of [slow, idle]) socket.destroy()
    return app.close()
  })
  let answer = ''
  slow.setEncoding('utf8').on('data', (chunk: string) => {
    answer += chunk
  })
  slow.write(httpGet('/http/slow'))
  await until(() => arrived)
  const closed = app.close()
  idle.resume()
  await once(idle, 'end')
  assert.equal(answer, '')
  await until(() => answer.endsWith('slow'))
  await within(closed, { timeoutMs: closeMs, what: 'app.close()' })
})

test("P5: what an HTTP/2 session is being answered outlives the shutdown's timeout", async (t) => {
  const app = Fastify({ http2: true, https: { allowHTTP1: true, ...selfSigned() } }) as unknown as FastifyInstance
  await app.register(wsGuard, { origins: false, auth: false, shutdown: { timeoutMs: slowMs / 4 } })
  let arrived = false
  app.get('/slow', async () => {
    arrived = true
    await new Promise((resolve) => setTimeout(resolve, slowMs))
    return 'slow'
  })
  const session = connectHttp2(`https://127.0.0.1:${await listen(app)}`, { rejectUnauthorized: false })
  t.after(() => {
    session.destroy()
    return app.close()
  })
  const stream = session.request({ ':path': '/slow' })
  let answer = ''
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    answer += chunk
  })
  await until(() => arrived)
  const closed = app.close()
  await until(() => answer === 'slow')
  session.close()
  await within(closed, { timeoutMs: closeMs, what: 'app.close()' })
})

test('P5: the further servers of localhost are found, or none where Fastify keeps them elsewhere', async () => {
  const app = Fastify() as unknown as FastifyInstance
  assert.deepEqual(furtherServers(app), [])
  assert.deepEqual(furtherServers({} as FastifyInstance), [])
})
