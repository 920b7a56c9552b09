/** Redis is gone and `whenDown` is 'closed': nobody comes in, those who are in go on, and it recovers by itself. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tokenFor } from '../support/app.ts'
import { faults, Place } from './faults.ts'
import { answers, hears, news, patience, type Socket, soon, TestNode } from './harness.ts'

const storeDown = { code: 'WSG_ERR_STORE_DOWN', statusCode: 503 }
const crowd = 50
/** Handshakes while Redis does not answer; many where commands could queue. */
const flood = { few: 100, many: 2_000 }
const budget = { perSecond: 1, burst: 5 }

/** What a client waits for, and the rest of the time this process may take for a crowd on a busy machine. */
const refusedWithinMs = 500
const crowdWithinMs = 2_000

async function refusedAfter(node: TestNode, sub?: string): Promise<number> {
  const startedAt = performance.now()
  await using ws = await node.try(sub)
  const tookMs = performance.now() - startedAt
  assert.equal(ws.statusCode, 503)
  assert.match(String(ws.headers['retry-after']), /^[1-9]\d*$/)
  return tookMs
}

for (const fault of faults) {
  test(`N2: Redis ${fault.name}: handshakes are refused at once, none waits, and it recovers`, async (t) => {
    const place = await Place.make(t)
    const node = await TestNode.start(t, place.client())
    await node.admits()
    node.log.clear()
    await fault.begin(place)
    const first = await refusedAfter(node)
    assert.ok(first < refusedWithinMs, `the first was refused after ${first} ms`)
    const startedAt = performance.now()
    await Promise.all(Array.from({ length: crowd }, () => refusedAfter(node)))
    assert.ok(performance.now() - startedAt < crowdWithinMs, 'the crowd waited')
    let mostCommands = 0
    const count = fault.name === 'is stopped' ? flood.many : flood.few
    for (let at = 0; at < count; at += crowd) {
      await Promise.all(Array.from({ length: crowd }, () => refusedAfter(node)))
      mostCommands = Math.max(mostCommands, node.stat('store.commands'))
    }
    assert.ok(mostCommands <= 2 * crowd, `${mostCommands} commands were waiting`)
    assert.deepEqual(node.states, ['down'])
    await fault.end(place)
    await node.admits()
    await soon(() => node.states.length > 1)
    assert.deepEqual(node.states, ['down', 'up'])
    await soon(() => node.stat('store.commands') === 0)
    assert.equal(node.stat('store.slots'), 0)
  })

  test(`N2: Redis ${fault.name}: who is in goes on`, async (t) => {
    const place = await Place.make(t)
    let letGo = (): void => {}
    const gate = new Promise<void>((resolve) => {
      letGo = resolve
    })
    const node = await TestNode.start(t, place.client(), { gate, guard: { limits: { userMessages: budget } } })
    await using alice = await node.open('alice')
    await using bob = await node.open('bob')
    await using carol = await node.open('carol')
    await using slow = await node.open('dave', { path: '/slow' })
    assert.equal(await node.join(alice, 'hall'), 'true')
    await fault.begin(place)
    await refusedAfter(node, 'eve')

    // A message with a reply; what is published on this node reaches this node.
    bob.send('shout', { topic: 'hall', text: 'hello' }, { ref: 1 })
    assert.deepEqual((await bob.receive('reply', { timeoutMs: patience })).data, { reached: 1 })
    assert.equal(await news(alice), 'hello')
    // A subscription cannot be given, and its connection lives.
    assert.equal(await node.join(bob, 'yard'), storeDown.code)
    letGo()
    assert.equal((await slow.closed).code, 1013)
    await answers(bob)
    bob.send('auth', { token: tokenFor(node.app, 'bob') })
    assert.ok((await bob.receive('auth_ok', { timeoutMs: patience })).expiresInMs > 0)
    await assert.rejects(node.ticketFor('alice'), storeDown)

    await isLimited(carol)
    const slots = node.stat('slots')
    carol.close()
    await soon(() => node.stat('slots') === slots - 1)
  })

  test(`N2: Redis ${fault.name}: a revocation holds here at once, and everywhere afterwards`, async (t) => {
    const place = await Place.make(t)
    const [node, other] = await Promise.all([
      TestNode.start(t, place.client()),
      TestNode.start(t, place.directClient())
    ])
    const claims = { iat: Math.floor(Date.now() / 1000) - 60 }
    await using here = await node.open('mallory', { claims })
    await using there = await other.open('mallory', { claims })
    await using bob = await node.open('bob')
    await node.join(bob, 'hall')
    await hears(bob, other, 'hall')
    await fault.begin(place)
    await refusedAfter(node)
    await assert.rejects(node.app.wsGuard.revoke({ sub: 'mallory' }), storeDown)
    assert.equal((await here.closed).code, 4003)
    await assert.rejects(node.app.wsGuard.disconnect({ sub: 'nobody' }), storeDown)
    await fault.end(place)
    assert.equal((await there.closed).code, 4003)
    await Promise.all([node.admits(), other.admits()])
    for (const anywhere of [node, other]) {
      await using again = await anywhere.try('mallory', { claims })
      assert.equal(again.statusCode, 401)
    }
    // A message from another node: what was subscribed to is subscribed to again.
    await hears(bob, other, 'hall')
  })

  test(`N2: Redis ${fault.name}: an app closes, and leaves no timer and no socket`, async (t) => {
    const place = await Place.make(t)
    const timers = timersNow()
    const node = await TestNode.start(t, place.client())
    await using ws = await node.open()
    await node.join(ws, 'hall')
    assert.ok(socketsTo(place.proxy.port) > 0)
    await fault.begin(place)
    await refusedAfter(node)
    const startedAt = performance.now()
    await node.app.close()
    const tookMs = performance.now() - startedAt
    assert.ok(tookMs < 2_000, `it took ${tookMs} ms`)
    await soon(() => socketsTo(place.proxy.port) === 0, 2_000)
    await soon(() => timersNow() <= timers, 2_000)
  })
}

test('N2: Redis was never there: an app boots, refuses, and admits once there is one', async (t) => {
  const place = await Place.make(t)
  await place.redis.kill()
  const other = await TestNode.start(t, place.directClient())
  const startedAt = performance.now()
  const node = await TestNode.start(t, place.client())
  assert.ok(performance.now() - startedAt < 5_000, 'the boot waited')
  const first = await refusedAfter(node)
  assert.ok(first < refusedWithinMs, `the first was refused after ${first} ms`)
  await Promise.all(Array.from({ length: crowd }, () => refusedAfter(node)))
  await assert.rejects(node.app.wsGuard.revoke({ sub: 'mallory' }), storeDown)
  await assert.rejects(node.ticketFor('alice'), storeDown)
  assert.deepEqual(node.states, ['down'])
  await place.redis.restart()
  await Promise.all([node.admits(), other.admits()])
  await soon(() => node.states.length > 1)
  assert.deepEqual(node.states, ['down', 'up'])
  const claims = { iat: Math.floor(Date.now() / 1000) - 60 }
  await soon(async () => {
    await using ws = await other.try('mallory', { claims })
    return ws.statusCode === 401
  })
})

test('N2: an app whose Redis was never there closes, and leaves no timer and no socket', async (t) => {
  const place = await Place.make(t)
  place.proxy.freeze()
  const timers = timersNow()
  const node = await TestNode.start(t, place.client())
  await refusedAfter(node)
  const startedAt = performance.now()
  await node.app.close()
  assert.ok(performance.now() - startedAt < 2_000)
  await soon(() => socketsTo(place.proxy.port) === 0, 2_000)
  await soon(() => timersNow() <= timers, 2_000)
})

/** About the burst comes through, whoever counts: never all of it. */
async function isLimited(ws: Socket): Promise<void> {
  const sent = 10 * budget.burst
  let replies = 0
  let isRefused = false
  ws.socket.on('message', (data) => {
    const { type, code } = JSON.parse(String(data)) as { type: string; code?: string }
    if (type === 'reply') replies++
    if (code === 'rate_limited') isRefused = true
  })
  for (let ref = 0; ref < sent; ref++) ws.send('ask', {}, { ref })
  await soon(() => isRefused)
  // One bucket of Redis and one of this node at most, and what refills in the meantime.
  assert.ok(replies >= budget.burst && replies <= 3 * budget.burst, `${replies} of ${sent} came through`)
}

/** Sockets of this process to a port. */
function socketsTo(port: number): number {
  const { _getActiveHandles: handles } = process as unknown as { _getActiveHandles(): { remotePort?: number }[] }
  return handles.call(process).filter(({ remotePort }) => remotePort === port).length
}

/** Those that keep the process alive. */
function timersNow(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
}
