/** Topics on a store that has other nodes: when a subscription is live, what leaves, and what comes in is used. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { receiveFromBus } from '../../lib/connection/from-bus.ts'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import { StoreDownError } from '../../lib/limits/store.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, deferred, Guard, settled, texts } from './harness.ts'

/** Keeps what it is told, and answers a `subscribe` when a test says so. */
class Bus extends MemoryStore {
  readonly told: string[] = []
  live: Promise<void> | undefined

  override subscribe(key?: string): void {
    this.told.push(`subscribe ${key}`)
    return this.live as never
  }

  override unsubscribe(key?: string): void {
    this.told.push(`unsubscribe ${key}`)
  }

  override publish(key?: string, payload?: string): void {
    this.told.push(`publish ${key} ${payload}`)
  }
}

function said(client: RawClient): unknown[] {
  return texts(client)
    .filter(({ type }) => type === 'said')
    .map(({ text }) => text)
}

test('a subscription is live when the store says so, and not when the connection has left meanwhile', async (t) => {
  const store = new Bus()
  const guard = await Guard.start(t, { store })
  const { connection } = await guard.connect()
  const live = deferred()
  store.live = live.promise
  const [stays, leaves] = [connection.subscribe('a'), connection.subscribe('b')]
  connection.unsubscribe('b')
  let isLive: boolean | undefined
  void stays.then((answer) => {
    isLive = answer
  })
  await settled((await guard.connect()).client)
  assert.equal(isLive, undefined)
  live.resolve()
  assert.deepEqual([await stays, await leaves], [true, false])
  assert.deepEqual(store.told, ['subscribe house\na', 'subscribe house\nb', 'unsubscribe house\nb'])
  const ends = connection.subscribe('c')
  connection.close()
  assert.equal(await ends, false)
  assert.equal(guard.runtime.topics.size, 0)
})

test('N2: a store that cannot hear rejects; what was live before stays', async (t) => {
  const store = new Bus()
  const guard = await Guard.start(t, { store })
  const { connection, client } = await guard.connect()
  assert.equal(await connection.subscribe('a'), true)
  store.live = Promise.reject(new StoreDownError('test'))
  await assert.rejects(connection.subscribe('b'), { code: 'WSG_ERR_STORE_DOWN', statusCode: 503 })
  await assert.rejects(connection.subscribe('a'), { code: 'WSG_ERR_STORE_DOWN' })
  assert.deepEqual([...(connection.topicKeys ?? [])], ['house\na'])
  assert.equal(guard.runtime.topics.publish('house', 'a', '{"type":"said","text":"x"}'), 1)
  assert.equal(guard.runtime.topics.publish('house', 'b', '{"type":"said","text":"y"}'), 0)
  await until(() => said(client).length === 1)
})

test('N2: thrown out of onOpen it closes with 1013', async (t) => {
  const store = new Bus()
  store.live = Promise.reject(new StoreDownError('test'))
  store.live.catch(() => {})
  const guard = await Guard.start(t, { store, onOpen: (connection) => connection.subscribe('a') })
  const { client } = await guard.connect()
  assert.deepEqual(await closeFrameOf(client), { code: 1013, reason: 'unavailable' })
  assert.equal(guard.errors.length, 1)
})

test('what is published leaves with the name of its contract, and a store that throws stops nobody', async (t) => {
  const store = new Bus()
  const guard = await Guard.start(t, { store })
  const { connection, client } = await guard.connect()
  await connection.subscribe('a')
  guard.runtime.topics.publish('house', 'a', '{"type":"said","text":"x"}')
  assert.equal(store.told[1], 'publish house\na house\n{"type":"said","text":"x"}')
  store.publish = () => {
    throw new Error('test')
  }
  store.unsubscribe = () => Promise.reject(new Error('test')) as never
  assert.equal(guard.runtime.topics.publish('house', 'a', '{"type":"said","text":"y"}'), 1)
  await until(() => said(client).length === 2)
  connection.unsubscribe('a')
  assert.equal(guard.runtime.topics.size, 0)
})

const ignored: ReadonlyArray<readonly [string, string, string | undefined]> = [
  ['nothing', '', 'contract'],
  ['no name', '{"type":"said","text":"x"}', 'contract'],
  ['another contract', 'other\n{"type":"said","text":"x"}', 'contract'],
  ['no JSON', 'house\n{"type":', 'malformed'],
  ['no object', 'house\n[1]', 'malformed'],
  ['no type', 'house\n{"text":"x"}', 'malformed'],
  ['a poisoned prototype', 'house\n{"type":"said","text":"x","__proto__":{"a":1}}', 'malformed'],
  ['an unknown type', 'house\n{"type":"toString","text":"x"}', 'type'],
  ['a type of the client', 'house\n{"type":"say","text":"x"}', 'type'],
  ['the wire’s own', 'house\n{"type":"auth_ok"}', 'type'],
  ['another schema', 'house\n{"type":"said","text":5}', 'schema']
]

test('N4: what comes over the bus is used only when it matches the contract of this node', async (t) => {
  const guard = await Guard.start(t)
  const { connection, client } = await guard.connect()
  await connection.subscribe('a')
  const { topics } = guard.runtime
  const receive = (payload: string, key = 'house\na') =>
    receiveFromBus(topics, (name) => (name === 'house' ? guard.settings.contract : undefined), key, payload)
  for (const [what, payload, reason] of ignored) assert.equal(receive(payload), reason, what)
  assert.equal(receive('house\n{"type":"said","text":"x"}', 'other\na'), 'contract')
  const deep = `house\n{"type":"said","text":"x","more":${'['.repeat(2_000)}${']'.repeat(2_000)}}`
  assert.equal(receive(deep), 'malformed')
  const good = 'house\n{"type":"said","text":"good","secret":"s","ref":7,"more":{"deep":true}}'
  assert.equal(receive(good), undefined)
  await settled(client)
  assert.deepEqual(
    texts(client).filter(({ type }) => type !== 'reply'),
    [{ type: 'said', text: 'good' }]
  )
})
