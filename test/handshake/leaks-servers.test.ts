/** Threats H8 and P5 by the crowd, on the other servers an app may have: TLS, IPv6, and the second one of localhost. */
import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import dns from 'node:dns'
import { type AddressInfo, isIP, type Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { selfSigned } from '../support/certificate.ts'
import { opcodes } from '../support/frames.ts'
import { type ConnectOptions, connect, type RawClient } from '../support/raw-client.ts'
import { connectionsOf, eventually, until, within } from '../support/wait.ts'
import { assertNothingHeld, goodHeaders } from './harness.ts'
import {
  allEnded,
  assertNoResources,
  beginAll,
  closeMs,
  connectAll,
  crowd,
  endedVectors,
  httpGet,
  type LeakAppOptions,
  leakApp,
  overMs,
  sendAll,
  sendsFin,
  slowMs,
  statusesOf,
  stuckVectors,
  upgradeTo,
  type Vector
} from './leaks-harness.ts'

const shutdownMs = 300
const slackMs = 3_000

const all = [...endedVectors, ...stuckVectors]
const few = ['an unknown path', 'a hanging verify', 'a hanging hook before ours']
const some = all.filter(({ name }) => few.includes(name))
const lasting = ['half a head', 'a hanging verify']
const underWay = all.filter(({ name }) => lasting.includes(name)).map((vector): Vector => ({ ...vector, fin: 'none' }))

const hasIpv6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'))
/** The second address of localhost, where the machine has one. */
const secondAddress = hasIpv6 ? '::1' : '127.0.0.2'

interface Kind {
  /** What the app listens on. */
  readonly host: string
  readonly https?: object
  /** How its clients come. */
  readonly client: ConnectOptions
  /** How a client of the app's first server comes, where that is another one. */
  readonly first?: ConnectOptions
}

const kinds: Readonly<Record<string, Kind>> = {
  TLS: { host: '127.0.0.1', https: selfSigned(), client: { tls: true } },
  [secondAddress]: { host: secondAddress, client: { host: secondAddress } },
  'the second server of localhost': { host: 'localhost', client: { host: secondAddress }, first: {} }
}

/** Most machines know localhost by two addresses, for each of which Fastify makes a server; some by one only. */
function giveLocalhostBoth(t: TestContext): void {
  const both = ['127.0.0.1', secondAddress].map((address) => ({ address, family: isIP(address) }))
  t.mock.method(dns, 'lookup', (host: string, ...parameters: unknown[]) => {
    const done = parameters.at(-1) as (error: null, found: unknown, family?: number) => void
    const { all } = parameters[0] as { all?: boolean }
    const found = host === 'localhost' ? both : [{ address: host, family: isIP(host) }]
    const [{ address, family }] = found as [{ address: string; family: number }]
    process.nextTick(() => (all === true ? done(null, found) : done(null, address, family)))
  })
}

interface Served {
  readonly app: FastifyInstance
  readonly port: number
  /** The server that the clients of the kind reach. */
  readonly server: Server
  readonly crowdOf: (count: number, options?: ConnectOptions) => Promise<RawClient[]>
}

async function serve(t: TestContext, { host, https, client }: Kind, options: LeakAppOptions = {}): Promise<Served> {
  giveLocalhostBoth(t)
  const app = await leakApp({ ...options, ...(https && { https }) })
  await app.listen({ port: 0, host })
  const { port } = app.server.address() as AddressInfo
  const server = await serverBehind(port, client)
  const clients: RawClient[] = []
  t.after(() => {
    for (const each of clients) each.destroy()
    return app.close()
  })
  const crowdOf: Served['crowdOf'] = async (count, options = client) => {
    const more = await connectAll(count, port, server, options)
    clients.push(...more)
    return more
  }
  return { app, port, server, crowdOf }
}

/** Fastify shows a second server to nobody, Node does. */
async function serverBehind(port: number, options: ConnectOptions): Promise<Server> {
  let found: Server | undefined
  const note = (message: unknown): void => {
    found = (message as { server: Server }).server
  }
  subscribe('http.server.request.start', note)
  await using client = await connect(port, options)
  await client.write(httpGet('/http'))
  await client.answer()
  unsubscribe('http.server.request.start', note)
  client.halfClose()
  await client.closed
  await eventually(async () => assert.equal(await connectionsOf(found as Server), 0))
  return found as Server
}

for (const [name, kind] of Object.entries(kinds)) {
  test(`H8, H9: ${name}: ${crowd} sockets of each kind, none is left`, async (t) => {
    const { app, server, crowdOf } = await serve(t, kind)
    for (const vector of some) {
      const clients = await crowdOf(crowd)
      await sendAll(clients, vector)
      await eventually(async () => assert.equal(await connectionsOf(server), 0), { timeoutMs: overMs })
      await allEnded(clients)
      // A TLS socket cannot be half open: who ends his side is not answered any more.
      const answered = kind.https ? clients.filter((_, n) => !sendsFin(vector, n)) : clients
      for (const client of answered) assert.deepEqual(statusesOf(client), vector.answers, vector.name)
    }
    await assertNothingHeld(app)
    await within(app.close(), { timeoutMs: closeMs, what: 'app.close()' })
    await assertNoResources()
  })

  test(`H8, P5: ${name}: app.close() while ${crowd} sockets of each kind are under way`, async (t) => {
    const { app, server, crowdOf } = await serve(t, kind, {
      guard: { handshakeTimeoutMs: 30_000, shutdown: { timeoutMs: shutdownMs } }
    })
    const clients: RawClient[] = []
    for (const vector of underWay) {
      const more = await crowdOf(crowd)
      await sendAll(more, vector)
      clients.push(...more)
    }
    // Not even a TLS handshake.
    clients.push(...(await crowdOf(crowd, { ...kind.client, tls: false })))
    await within(app.close(), { timeoutMs: shutdownMs + slackMs, what: 'app.close()' })
    assert.equal(await connectionsOf(server), 0)
    assert.equal(server.listening, false)
    await assertNothingHeld(app)
    await allEnded(clients)
    await assertNoResources()
  })

  test(`P5: ${name}: ${crowd} upgrades during the drain are refused, nobody new gets in`, async (t) => {
    const { app, port, server, crowdOf } = await serve(t, kind, { guard: { shutdown: { timeoutMs: 10_000 } } })
    const clients = await crowdOf(crowd)
    const upgrade: Vector = { name: 'an upgrade', bytes: upgradeTo('/ws'), answers: [503], fin: 'none' }
    const complete = beginAll(clients, upgrade)
    // It holds the first server open, for whose end Fastify would wait before it closes another.
    const holder = await connect(port, kind.first ?? kind.client)
    t.after(() => holder.destroy())
    assert.equal((await holder.handshake({ path: '/ws', headers: goodHeaders('alice') })).statusCode, 101)
    const closed = app.close()
    await holder.nextFrame({ opcode: opcodes.close })
    await sendAll(clients, complete)
    await allEnded(clients)
    for (const client of clients) assert.deepEqual(statusesOf(client), upgrade.answers)
    await assert.rejects(connect(port, kind.client), { code: 'ECONNREFUSED' })
    await holder.sendClose(1012)
    holder.halfClose()
    await within(closed, { timeoutMs: closeMs, what: 'app.close()' })
    assert.equal(await connectionsOf(server), 0)
    await assertNothingHeld(app)
  })

  test(`P5: ${name}: a request that is being answered outlives the shutdown's timeout, an idle client does not`, async (t) => {
    let arrived = false
    const onArrival = (): void => {
      arrived = true
    }
    const { app, crowdOf } = await serve(t, kind, { onArrival, guard: { shutdown: { timeoutMs: slowMs / 4 } } })
    const [slow, idle] = (await crowdOf(2)) as [RawClient, RawClient]
    await slow.write(httpGet('/http/slow'))
    await until(() => arrived)
    const closed = app.close()
    await idle.serverEnd()
    assert.equal(slow.unparsed.length, 0)
    assert.equal((await slow.answer()).body, 'slow')
    // Fastify alone would keep it for another request: 72 s by default.
    await allEnded([slow, idle])
    await within(closed, { timeoutMs: closeMs, what: 'app.close()' })
  })
}
