/** The servers and faults that the tests of the Redis store rely on. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { suite, type TestContext, test } from 'node:test'
import type { Redis } from 'ioredis'
import { skipWithout } from '../proxies/processes.ts'
import { RedisCluster, RedisSentinels, RedisServer } from './redis.ts'
import { parseReply } from './redis-ask.ts'
import { TcpProxy } from './tcp-proxy.ts'
import { eventually, until, within } from './wait.ts'

const patient = { timeoutMs: 15_000 }

suite('Redis for tests', { skip: skipWithout('redis-server') }, () => {
  test('a server starts empty, keeps its keys while it is frozen, and is empty after a restart', async (t) => {
    const server = await RedisServer.startFor(t)
    const client = server.client()
    await client.set('a', '1')
    assert.deepEqual(await server.keys(), ['a'])

    server.freeze()
    let isAnswered = false
    const answer = client.get('a').then((value) => {
      isAnswered = true
      return value
    })
    await assert.rejects(server.ask('PING'), /PING on port \d+ did not settle/)
    assert.equal(isAnswered, false)
    server.thaw()
    assert.equal(await within(answer, patient), '1')

    const { pid } = server
    await server.restart()
    assert.notEqual(server.pid, pid)
    assert.deepEqual(await server.keys(), [])
    await eventually(async () => assert.equal(await client.ping(), 'PONG'), patient)
  })

  test('a killed server keeps its port, and a stopped one leaves neither process nor client', async (t) => {
    const server = await RedisServer.startFor(t)
    const { pid, port } = server
    const client = server.client()
    await client.ping()
    const closed = closeOf(client)
    await server.kill()
    await within(closed, patient)
    assert.throws(() => server.pid, /is not running/)
    assert.throws(() => server.freeze(), /is not running/)
    await server.restart()
    assert.equal(server.port, port)
    await until(() => client.status === 'ready', patient)

    server.freeze()
    const last = server.pid
    await server.stop()
    for (const id of [pid, last]) assert.throws(() => process.kill(id, 0), { code: 'ESRCH' })
    await until(() => client.status === 'end', patient)
  })

  test('the commands of others are counted, its own are not', async (t) => {
    const server = await RedisServer.startFor(t)
    const client = server.client()
    await client.ping()
    const before = await server.commandsProcessed()
    assert.equal(await server.commandsProcessed(), before)
    await server.keys()
    for (let index = 0; index < 7; index++) await client.incr('count')
    assert.equal((await server.commandsProcessed()) - before, 7)
  })

  test('all keys are listed, more than one page of them', async (t) => {
    const server = await RedisServer.startFor(t)
    const names = Array.from({ length: 2500 }, (_, index) => `key ${index} é`).sort()
    await server.client().mset(Object.fromEntries(names.map((name) => [name, 'x'])))
    assert.deepEqual(await server.keys(), names)
  })

  test('a server that cannot start says why, and leaves nothing', async (t) => {
    await assert.rejects(RedisServer.start({ args: ['--no-such-option', '1'] }), /ended before.*no-such-option/s)
    const taken = await listener(t)
    await assert.rejects(RedisServer.start({ port: taken }), /Address already in use/)
  })

  test('sentinels make the replica the master', async (t) => {
    const group = await RedisSentinels.startFor(t)
    const client = group.client()
    await client.set('a', '1')
    await group.master.kill()
    const next = await group.failedOver()
    assert.equal(next, group.replica)
    await eventually(async () => assert.equal(await client.set('b', '2'), 'OK'), patient)
    assert.deepEqual(await next.keys(), ['a', 'b'])
  })

  test('a cluster spreads the keys over its nodes', async (t) => {
    const cluster = await RedisCluster.startFor(t)
    const client = cluster.client()
    const names = Array.from({ length: 60 }, (_, index) => `key-${index}`).sort()
    for (const name of names) await client.set(name, 'x')
    assert.deepEqual(await cluster.keys(), names)
    for (const node of cluster.nodes) assert.notEqual((await node.keys()).length, 0)
  })

  test('the proxy delays, swallows, freezes, cuts and mends', async (t) => {
    const server = await RedisServer.startFor(t)
    const proxy = await TcpProxy.startFor(t, server.port)
    const [client, publisher] = [server.client({ port: proxy.port }), server.client()]
    const received: string[] = []
    client.on('message', (_channel: string, message: string) => received.push(message))
    await client.subscribe('news')
    assert.equal(proxy.connections, 1)

    let dropped = 0
    proxy.drop = (chunk, direction) => {
      const isLost = direction === 'down' && chunk.includes('lost')
      if (isLost) dropped++
      return isLost
    }
    await publisher.publish('news', 'lost')
    // Else both messages may come as one chunk, which is lost.
    await until(() => dropped === 1, patient)
    await publisher.publish('news', 'found')
    await until(() => received.includes('found'), patient)
    assert.deepEqual(received, ['found'])

    proxy.freeze()
    await publisher.publish('news', 'late')
    await publisher.ping()
    assert.deepEqual(received, ['found'])
    proxy.thaw()
    await until(() => received.includes('late'), patient)

    const closed = closeOf(client)
    await proxy.cut()
    await within(closed, patient)
    assert.equal(proxy.connections, 0)
    await proxy.mend()
    // The number of its receivers: the client has subscribed again.
    await until(async () => (await publisher.publish('news', 'again')) === 1, patient)
    await until(() => received.includes('again'), patient)
  })
})

test('a reply is read wherever it is cut', () => {
  const bytes = Buffer.from('*3\r\n$2\r\né\r\n*2\r\n:7\r\n$-1\r\n-ERR no\r\n')
  const value = ['é', [7, null], new Error('ERR no')]
  assert.deepEqual(parseReply(bytes), { value, end: bytes.length })
  for (let length = 0; length < bytes.length; length++) assert.equal(parseReply(bytes.subarray(0, length)), undefined)
  assert.throws(() => parseReply(Buffer.from('HTTP/1.1\r\n')), /not a reply/)
})

/** `events.once` would reject by the error that comes before it. */
function closeOf(client: Redis): Promise<void> {
  return new Promise((resolve) => client.once('close', () => resolve()))
}

/** The port of a server that is not Redis. */
async function listener(t: TestContext): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  return (server.address() as { port: number }).port
}
