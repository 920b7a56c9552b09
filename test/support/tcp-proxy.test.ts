/** The proxy that stands between a client and a server, on plain TCP. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Socket, connect as tcpConnect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { TcpProxy } from './tcp-proxy.ts'
import { until, within } from './wait.ts'

const patient = { timeoutMs: 15_000 }
const megabyte = 1024 * 1024

/** A client behind a proxy, and the server's side of its connection. */
async function connected(t: TestContext): Promise<{ proxy: TcpProxy; client: Socket; server: Socket }> {
  const listener = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const proxy = await TcpProxy.startFor(t, (listener.address() as { port: number }).port)
  const accepted = once(listener, 'connection')
  const client = tcpConnect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true })
  const [server] = (await within(accepted, patient)) as [Socket]
  t.after(() => {
    for (const socket of [client, server]) socket.destroy()
    listener.close()
  })
  for (const socket of [client, server]) socket.on('error', () => {})
  return { proxy, client, server }
}

/** True when it closed by an error. `events.once` would reject then. */
function closeOf(socket: Socket): Promise<boolean> {
  return new Promise((resolve) => socket.once('close', resolve))
}

async function errorOf(socket: Socket): Promise<string | undefined> {
  const error = new Promise<NodeJS.ErrnoException>((resolve) => socket.once('error', resolve))
  return (await within(error, patient)).code
}

function textOf(socket: Socket): () => string {
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  return () => text
}

test('what was delayed comes before what was sent after it, and the end comes last', async (t) => {
  const { proxy, client, server } = await connected(t)
  const text = textOf(server)
  const ended = once(server, 'end')
  let seen = 0
  proxy.drop = () => {
    seen++
    return false
  }
  proxy.latencyMs = 300
  const startedAt = performance.now()
  client.write('1')
  await until(() => seen === 1, patient)
  proxy.latencyMs = 0
  client.end('2')
  await within(ended, patient)
  assert.equal(text(), '12')
  const tookMs = performance.now() - startedAt
  assert.ok(tookMs >= 300 - 1, `took ${tookMs} ms`)
})

test('both directions are delayed', async (t) => {
  const { proxy, client, server } = await connected(t)
  proxy.latencyMs = 150
  server.pipe(server)
  const startedAt = performance.now()
  client.write('there and back')
  await within(once(client, 'data'), patient)
  const tookMs = performance.now() - startedAt
  assert.ok(tookMs >= 2 * 150 - 2, `took ${tookMs} ms`)
})

test('one side may end and go on reading', async (t) => {
  const { client, server } = await connected(t)
  const text = textOf(client)
  server.resume()
  client.end()
  await within(once(server, 'end'), patient)
  server.end('answer')
  await within(once(client, 'end'), patient)
  assert.equal(text(), 'answer')
})

test('a frozen proxy takes no more than a bound, passes not even the end, and loses nothing', async (t) => {
  const { proxy, client, server } = await connected(t)
  let received = 0
  server.on('data', (chunk) => {
    received += chunk.length
  })
  let hasEnded = false
  const ended = once(server, 'end').then(() => {
    hasEnded = true
  })
  proxy.freeze()
  client.end(Buffer.alloc(64 * megabyte))
  await assert.rejects(within(once(client, 'finish'), { timeoutMs: 500 }))
  assert.equal(received, 0)
  assert.equal(hasEnded, false)
  proxy.thaw()
  await within(ended, patient)
  assert.equal(received, 64 * megabyte)
})

test('a frozen proxy holds back what was on its way', async (t) => {
  const { proxy, client, server } = await connected(t)
  let seen = 0
  proxy.drop = () => {
    seen++
    return false
  }
  proxy.latencyMs = 200
  client.write('on its way')
  await until(() => seen === 1, patient)
  proxy.freeze()
  const arrived = once(server, 'data')
  await assert.rejects(within(arrived, { timeoutMs: 600 }))
  proxy.thaw()
  assert.equal(String((await within(arrived, patient))[0]), 'on its way')
})

test('a slow reader slows the writer down', async (t) => {
  const { client, server } = await connected(t)
  server.pause()
  client.end(Buffer.alloc(64 * megabyte))
  await assert.rejects(within(once(client, 'finish'), { timeoutMs: 500 }))
  let received = 0
  server.on('data', (chunk) => {
    received += chunk.length
  })
  server.resume()
  await within(once(server, 'end'), patient)
  assert.equal(received, 64 * megabyte)
})

test('a reset of the one side resets the other', async (t) => {
  const { proxy, client, server } = await connected(t)
  const closed = closeOf(client)
  server.resetAndDestroy()
  assert.equal(await within(closed, patient), true)
  await until(() => proxy.connections === 0, patient)
})

test('a cut proxy refuses, and mends, frozen or not', async (t) => {
  const { proxy, client, server } = await connected(t)
  const closed = Promise.all([closeOf(client), closeOf(server)])
  proxy.freeze()
  await proxy.cut()
  await within(closed, patient)
  assert.equal(proxy.connections, 0)
  assert.equal(await errorOf(tcpConnect(proxy.port, '127.0.0.1')), 'ECONNREFUSED')
  await proxy.mend()
  const again = tcpConnect(proxy.port, '127.0.0.1')
  t.after(() => again.destroy())
  await within(once(again, 'connect'), patient)
})

test('the connection to a server that is down is reset', async (t) => {
  const { proxy } = await connected(t)
  const other = await TcpProxy.startFor(t, proxy.port)
  await proxy.cut()
  assert.equal(await errorOf(tcpConnect(other.port, '127.0.0.1')), 'ECONNRESET')
})
