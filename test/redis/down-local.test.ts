/** Redis is gone and `whenDown` is 'local': each node goes on with limits of its own, and is never open. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { faults, Place } from './faults.ts'
import { hears, type NodeOptions, news, patience, type Socket, soon, TestNode } from './harness.ts'

const budget = { perSecond: 1, burst: 5 }
const perUser = 2
const perIp = 3
const attempts = 8
const address = { ip: '198.51.100.7' }

type Limits = NonNullable<NonNullable<NodeOptions['guard']>['limits']>

function startLocal(t: TestContext, client: unknown, limits: Limits = {}): Promise<TestNode> {
  return TestNode.start(t, client, { store: { whenDown: 'local' }, guard: { limits } })
}

/** The first handshake notices it. */
async function noticed(node: TestNode): Promise<void> {
  await using ws = await node.try('canary', { ip: '192.0.2.99' })
  assert.equal(ws.statusCode, 101)
  assert.equal(node.states.at(-1), 'down')
}

async function statuses(count: number, handshake: (index: number) => Promise<Socket>): Promise<number[]> {
  const all = await Promise.all(Array.from({ length: count }, (_, index) => handshake(index)))
  return all.map(({ statusCode }) => statusCode).sort()
}

const oldClaims = (): object => ({ iat: Math.floor(Date.now() / 1000) - 60 })

for (const fault of faults) {
  test(`N2: Redis ${fault.name}, locally: every limit holds on each node`, async (t) => {
    const place = await Place.make(t)
    const limits: Limits = { connections: { perUser, perIp }, userMessages: budget }
    const node = await startLocal(t, place.client(), limits)
    const few = await startLocal(t, place.client(), { attempts: { max: attempts } })
    await fault.begin(place)
    await noticed(node)
    await noticed(few)
    const byUser = await statuses(3 * perUser, (index) => node.try('alice', { ip: `203.0.113.${index}` }))
    assert.deepEqual(byUser, [...Array(perUser).fill(101), ...Array(2 * perUser).fill(429)])
    const byAddress = await statuses(3 * perIp, (index) => node.try(`user-${index}`, address))
    assert.deepEqual(byAddress, [...Array(perIp).fill(101), ...Array(2 * perIp).fill(429)])
    const byAttempt = await statuses(2 * attempts, (index) => few.try(`user-${index}`, address))
    assert.deepEqual(byAttempt, [...Array(attempts).fill(101), ...Array(attempts).fill(429)])
    await isLimited(await node.open('carol'))
  })

  test(`N2: Redis ${fault.name}, locally: what was revoked or blocked stays out`, async (t) => {
    const place = await Place.make(t)
    const nodes = await Promise.all([startLocal(t, place.client()), startLocal(t, place.client())])
    const [node, other] = nodes as [TestNode, TestNode]
    await node.app.wsGuard.revoke({ sub: 'mallory' })
    await node.app.wsGuard.block({ sub: 'trudy' }, { untilMs: Date.now() + 600_000 })
    await soon(async () => {
      await using ws = await other.try('trudy')
      return ws.statusCode === 401
    })
    await fault.begin(place)
    for (const anywhere of nodes) {
      await noticed(anywhere)
      for (const sub of ['mallory', 'trudy']) {
        await using ws = await anywhere.try(sub, { claims: oldClaims() })
        assert.equal(ws.statusCode, 401)
      }
    }
    // What is given meanwhile holds here at once, and rejects nothing: the others are told in time.
    await using here = await node.open('eve', { claims: oldClaims() })
    await using there = await other.open('eve', { claims: oldClaims() })
    assert.equal(await node.app.wsGuard.revoke({ sub: 'eve' }), 1)
    assert.equal((await here.closed).code, 4003)
    assert.equal(there.socket.readyState, 1)
    await fault.end(place)
    assert.equal((await there.closed).code, 4003)
  })

  test(`N2: Redis ${fault.name}, locally: tickets, subscriptions and slots hold here, and then everywhere`, async (t) => {
    const place = await Place.make(t)
    const limits: Limits = { connections: { perUser } }
    const node = await startLocal(t, place.client(), limits)
    const other = await startLocal(t, place.directClient(), limits)
    await fault.begin(place)
    await noticed(node)
    const { ticket } = await node.ticketFor('bob')
    assert.equal(await node.tryTicket(ticket), 101)
    // Nobody can say that it was not used, or is not one of another node.
    assert.equal(await node.tryTicket(ticket), 503)
    const held = await Promise.all(Array.from({ length: perUser }, () => node.open('alice')))
    const [alice] = held as [Socket]
    assert.equal(await node.join(alice, 'hall'), 'true')
    assert.equal(node.publish('hall', 'hello'), 1)
    assert.equal(await news(alice), 'hello')
    await fault.end(place)
    await soon(() => node.states.at(-1) === 'up' && node.states.length > 1)
    await soon(() => other.states.at(-1) !== 'down')
    await using tooMany = await other.try('alice')
    assert.equal(tooMany.statusCode, 429)
    await hears(alice, other, 'hall')
    for (const ws of held) ws.close()
    await soon(async () => {
      await using again = await other.try('alice')
      return again.statusCode === 101
    })
  })
}

test('N2: locally, a node that has never read the revocations admits no credential', async (t) => {
  const place = await Place.make(t)
  const other = await startLocal(t, place.directClient())
  await other.app.wsGuard.revoke({ sub: 'mallory' })
  await place.proxy.cut()
  const node = await startLocal(t, place.client())
  for (const sub of ['mallory', 'alice']) {
    await using ws = await node.try(sub, { claims: oldClaims() })
    assert.equal(ws.statusCode, 503)
  }
  await place.proxy.mend()
  await node.admits()
  await using ws = await node.try('mallory', { claims: oldClaims() })
  assert.equal(ws.statusCode, 401)
})

/** About the burst comes through, never all of it. */
async function isLimited(ws: Socket): Promise<void> {
  const sent = 10 * budget.burst
  let replies = 0
  ws.socket.on('message', (data) => {
    if ((JSON.parse(String(data)) as { type: string }).type === 'reply') replies++
  })
  for (let ref = 0; ref < sent; ref++) ws.send('ask', {}, { ref })
  await ws.receive('error', { timeoutMs: patience })
  assert.ok(replies >= budget.burst && replies <= 2 * budget.burst, `${replies} of ${sent} came through`)
}
