/** Lines to Redis that are none any more, although TCP has not noticed; and a node that was busy itself. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket as TcpSocket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { Link, type RedisClient } from '../../lib/redis/link.ts'
import { countAttempt } from '../../lib/redis/scripts.ts'
import { RedisServer } from '../support/redis.ts'
import { hears, soon, TestNode } from './harness.ts'

/** Stands before Redis; a connection that it has given up stays open, and silent for ever. */
class LosingProxy {
  /** Which connections are given up, by what they send. */
  loses: (chunk: Buffer) => boolean = () => false
  port = 0
  readonly lost = new Set<TcpSocket>()
  readonly #sockets = new Set<TcpSocket>()

  static async startFor(t: TestContext, targetPort: number): Promise<LosingProxy> {
    const proxy = new LosingProxy()
    const server = createServer((client) => proxy.#accept(client, targetPort))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    proxy.port = (server.address() as { port: number }).port
    t.after(() => {
      server.close()
      proxy.breakAll()
    })
    return proxy
  }

  breakAll(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #accept(client: TcpSocket, targetPort: number): void {
    const server = connect(targetPort, '127.0.0.1')
    for (const [from, to] of [
      [client, server],
      [server, client]
    ] as const) {
      this.#sockets.add(from)
      from.on('error', () => {})
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
      from.on('data', (chunk) => {
        if (from === client && this.loses(chunk)) this.lost.add(client)
        if (!this.lost.has(client)) to.write(chunk)
      })
    }
  }
}

async function behindProxy(t: TestContext): Promise<{ proxy: LosingProxy; node: TestNode; other: TestNode }> {
  const redis = await RedisServer.startFor(t)
  const proxy = await LosingProxy.startFor(t, redis.port)
  const node = await TestNode.start(t, redis.client({ port: proxy.port, lazyConnect: true }), {
    store: { commandTimeoutMs: 100, leaseMs: 300 }
  })
  const other = await TestNode.start(t, redis.client({ lazyConnect: true }))
  await node.admits()
  node.log.clear()
  return { proxy, node, other }
}

for (const line of ['subscribe', 'evalsha']) {
  test(`N2: a line that was lost without a word is made anew: that of ${line}`, async (t) => {
    const { proxy, node, other } = await behindProxy(t)
    await using alice = await node.open()
    await node.join(alice, 'hall')
    proxy.loses = (chunk) => proxy.lost.size === 0 && chunk.includes(line)
    await soon(() => node.states.includes('down'))
    assert.equal(proxy.lost.size, 1)
    await node.admits()
    await hears(alice, other, 'hall')
  })
}

test('N2: a line that was lost while it was made is made anew', async (t) => {
  const { proxy, node, other } = await behindProxy(t)
  await using alice = await node.open()
  await node.join(alice, 'hall')
  proxy.loses = () => proxy.lost.size < 1
  proxy.breakAll()
  await soon(() => proxy.lost.size === 1)
  await node.admits()
  await hears(alice, other, 'hall')
})

test('N2: a node that was busy itself does not take Redis for gone', async (t) => {
  const redis = await RedisServer.startFor(t)
  const link = new Link(redis.client({ lazyConnect: true }) as unknown as RedisClient, 200)
  t.after(() => link.close())
  await link.connect()
  await soon(() => link.isReady)
  await link.run(countAttempt, ['warm'], [1_000]).catch(() => {})
  const answer = link.run(countAttempt, ['key'], [60_000])
  const startedAt = performance.now()
  // What was sent is answered long before anybody looks.
  while (performance.now() - startedAt < 600);
  assert.equal(((await answer) as number[])[0], 1)
})
