import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PairedSocket, type SocketPair } from '../../lib/testing/duplex-pair.ts'
import { once, until } from '../support/wait.ts'

function pair(options: { address?: string; encrypted?: boolean } = {}): SocketPair {
  return PairedSocket.pair({
    client: { address: options.address ?? '192.0.2.7', port: 50_000 },
    server: { address: '127.0.0.1', port: 80 },
    encrypted: options.encrypted ?? false
  })
}

function read(end: PairedSocket): { text: () => string } {
  let text = ''
  end.on('data', (chunk: Buffer) => {
    text += chunk
  })
  return { text: () => text }
}

test('bytes arrive in order, both ways, and never in the turn in which they were written', async () => {
  const { client, server } = pair()
  const atServer = read(server)
  const atClient = read(client)
  client.write('a')
  client.write('b')
  server.write('1')
  assert.equal(atServer.text(), '')
  await until(() => atServer.text() === 'ab' && atClient.text() === '1')
  assert.deepEqual([client.bytesWritten, server.bytesRead, client.bytesRead], [2, 2, 1])
})

test('corked writes arrive as one chunk', async () => {
  const { client, server } = pair()
  client.cork()
  client.write('head')
  client.write('body')
  client.uncork()
  const [chunk] = await once(server, 'data')
  assert.equal(String(chunk), 'headbody')
})

test('a reader that does not read holds the writer back, and lets it go on when it reads', async () => {
  const { client, server } = pair()
  const chunk = Buffer.alloc(1000, 'x')
  let chunks = 1
  while (client.write(chunk)) {
    chunks++
    await new Promise(setImmediate)
  }
  let flushed = false
  client.once('drain', () => {
    flushed = true
  })
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
  assert.equal(flushed, false)
  assert.ok(client.writableLength > 0)
  assert.ok(server.readableLength >= server.readableHighWaterMark)
  server.resume()
  await until(() => flushed && server.bytesRead === chunks * chunk.length)
})

test('half-close: the server may still answer a client that has ended its side', async () => {
  const { client, server } = pair()
  const atClient = read(client)
  client.end('question')
  server.resume()
  await once(server, 'end')
  assert.equal(server.writable, true)
  server.end('answer')
  await Promise.all([once(client, 'close'), once(server, 'close')])
  assert.equal(atClient.text(), 'answer')
})

test('half-close: the client ends with the server, as net.connect() does', async () => {
  const { client, server } = pair()
  client.resume()
  server.resume()
  server.end()
  await Promise.all([once(client, 'close'), once(server, 'close')])
})

test('destroy: what was written before still arrives whole, then the end', async () => {
  const { client, server } = pair()
  const atClient = read(client)
  server.write('x'.repeat(200_000))
  server.destroy()
  await once(client, 'close')
  assert.equal(atClient.text().length, 200_000)
  assert.equal(client.errored, null)
})

test('destroy with an error: the error stays on that side, the other one sees the end', async () => {
  const { client, server } = pair()
  client.resume()
  const failure = new Error('local')
  const failed = once(server, 'error')
  server.destroy(failure)
  assert.deepEqual(await failed, [failure])
  await once(client, 'close')
  assert.equal(client.errored, null)
})

test('destroy of a reader fails the write that waited for it', async () => {
  const { client, server } = pair()
  client.write(Buffer.alloc(100_000))
  await until(() => server.bytesRead === 100_000)
  server.destroy()
  const [error] = await once(client, 'error')
  assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET')
})

test('a write to an end that is gone fails with EPIPE', async () => {
  const { client, server } = pair()
  client.destroy()
  await once(client, 'close')
  server.write('too late')
  const [error] = await once(server, 'error')
  assert.equal((error as NodeJS.ErrnoException).code, 'EPIPE')
})

test('resetAndDestroy: the other end fails with ECONNRESET even when it does not read', async () => {
  const { client, server } = pair()
  server.pause()
  client.resetAndDestroy()
  const [error] = await once(server, 'error')
  assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET')
  assert.equal(client.destroyed, true)
})

test('destroySoon: flushes, then destroys', async () => {
  const { client, server } = pair()
  const atClient = read(client)
  server.write('last words')
  server.destroySoon()
  await Promise.all([once(client, 'close'), once(server, 'close')])
  assert.equal(atClient.text(), 'last words')
})

test('an end destroyed while the FIN of the other is under way stays quiet', async () => {
  const { client, server } = pair()
  client.end()
  server.destroy()
  client.resume()
  await Promise.all([once(client, 'close'), once(server, 'close')])
  assert.equal(server.errored, null)
})

test('it has the face of a net.Socket', () => {
  const { client, server } = pair({ address: '2001:db8::1', encrypted: true })
  assert.deepEqual(
    [server.remoteAddress, server.remotePort, server.remoteFamily, server.localAddress, server.localPort],
    ['2001:db8::1', 50_000, 'IPv6', '127.0.0.1', 80]
  )
  assert.equal(client.remoteFamily, 'IPv4')
  assert.deepEqual([server.encrypted, server.connecting, server.pending], [true, false, false])
  assert.equal(server.setTimeout().setNoDelay().setKeepAlive().ref().unref(), server)
})
