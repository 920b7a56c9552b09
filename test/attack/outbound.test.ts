import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ServerMessageOf } from '../../lib/contract.ts'
import type { LimitsOptions } from '../../lib/route/options.ts'
import { echo } from '../support/app.ts'
import { selfSigned } from '../support/certificate.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { Target, turns } from './harness.ts'

type Said = ServerMessageOf<typeof echo, 'said'>
interface Sender {
  readonly user: unknown
  send(type: 'said', message: Said): boolean
}

const tls = selfSigned()
const timeoutMs = 10_000

test('O1, O5: over TLS a broadcast to reading clients ends none of them', async (t) => {
  const target = await Target.start(t, {
    tls,
    guard: { limits: { totalBufferedBytes: 500_000, connections: { perUser: 100 } } },
    route: { onOpen: async (connection) => void (await connection.subscribe('all')) }
  })
  const clients: RawClient[] = []
  while (clients.length < 20) clients.push(await target.open())
  await until(() => target.app.wsGuard.stats().topics === 1)
  const text = 'x'.repeat(50_000)
  assert.equal(target.app.wsGuard.publish(echo, 'all', 'said', { text }), clients.length)
  for (const client of clients) assert.equal((await client.nextJson<Said>({ timeoutMs })).text.length, text.length)
  await until(() => target.app.wsGuard.stats().bufferedBytes === 0, { timeoutMs })
  assert.equal(target.app.wsGuard.connections, clients.length)
  assert.deepEqual(target.closes, [])
})

test('O1: over TLS eight large messages of one turn reach a reading client', async (t) => {
  const text = 'x'.repeat(60_000)
  let sent: boolean[] = []
  const target = await Target.start(t, {
    tls,
    route: {
      onOpen: (connection) => {
        sent = Array.from({ length: 8 }, () => connection.send('said', { text }))
      }
    }
  })
  const client = await target.open()
  for (let at = 0; at < 8; at++) assert.equal((await client.nextJson<Said>({ timeoutMs })).text.length, text.length)
  assert.deepEqual(sent, Array(8).fill(true))
  assert.deepEqual(target.closes, [])
})

/** Opens a client that does not read, and returns what sends to it. */
async function openDeaf(
  target: Target,
  senders: Sender[],
  sub: string
): Promise<{ client: RawClient; sender: Sender }> {
  const { length } = senders
  const client = await target.open('/echo', target.headers(sub))
  client.pause()
  await until(() => senders.length > length)
  return { client, sender: senders[length] as Sender }
}

async function startDeaf(
  t: Parameters<typeof Target.start>[0],
  limits: LimitsOptions & { totalBufferedBytes?: number },
  isTls = false
): Promise<{ target: Target; senders: Sender[]; ended: string[] }> {
  const senders: Sender[] = []
  const ended: string[] = []
  const target = await Target.start(t, {
    ...(isTls && { tls }),
    guard: { limits },
    route: {
      onOpen: (connection) => void senders.push(connection),
      onClose: ({ user }, { cause }) => void ended.push(`${(user as { sub: string }).sub} ${cause}`)
    }
  })
  return { target, senders, ended }
}

const text = 'x'.repeat(60_000)

for (const isTls of [false, true]) {
  test(`O1: a client that does not read gets nothing above softBytes, over ${isTls ? 'TLS' : 'TCP'}`, async (t) => {
    const sendBuffer = { softBytes: 200_000, hardBytes: 20_000_000 }
    const { target, senders, ended } = await startDeaf(t, { sendBuffer }, isTls)
    const { client, sender } = await openDeaf(target, senders, 'deaf')
    let sent = 0
    while (sender.send('said', { text })) {
      assert.ok(++sent < 500, 'nothing is ever dropped')
      await turns(3)
    }
    // A backlog is no reason to end it: it reads again, and is sent to again.
    client.resume()
    for (let at = 0; at < sent; at++) await client.nextJson({ timeoutMs })
    await until(() => sender.send('said', { text }), { timeoutMs })
    assert.deepEqual(ended, [])
    assert.equal(target.logs.find('ws.slow_consumer')?.reason, 'dropped')
  })

  test(`O1: a client that does not read is ended above hardBytes, over ${isTls ? 'TLS' : 'TCP'}`, async (t) => {
    const sendBuffer = { softBytes: 400_000, hardBytes: 400_000 }
    const { target, senders, ended } = await startDeaf(t, { sendBuffer }, isTls)
    const { sender } = await openDeaf(target, senders, 'deaf')
    for (let round = 0; ended.length === 0; round++) {
      assert.ok(round < 500, 'it is never ended')
      for (let at = 0; at < 10; at++) sender.send('said', { text })
      await turns(20)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    assert.deepEqual(ended, ['deaf slow_consumer'])
    assert.equal(target.app.wsGuard.stats().bufferedBytes, 0)
  })
}

test('O1: above totalBufferedBytes the largest buffer goes first, and only as many as it takes', async (t) => {
  const sendBuffer = { softBytes: 3_000_000, hardBytes: 6_000_000 }
  const { target, senders, ended } = await startDeaf(t, { sendBuffer, totalBufferedBytes: 1_000_000 })
  const buffered = (): number => target.app.wsGuard.stats().bufferedBytes as number
  const small = await openDeaf(target, senders, 'small')
  while (buffered() < 200_000) {
    small.sender.send('said', { text })
    await turns(3)
  }
  const large = await openDeaf(target, senders, 'large')
  for (let round = 0; ended.length === 0; round++) {
    assert.ok(round < 500, 'nobody is ended')
    large.sender.send('said', { text })
    await turns(3)
  }
  assert.deepEqual(ended, ['large slow_consumer'])
  assert.ok(buffered() >= 200_000 && buffered() <= 1_000_000, `${buffered()} bytes`)
})
