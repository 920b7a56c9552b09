import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Admitted } from '../../lib/connection/parts.ts'
import { until } from '../support/wait.ts'
import { Guard, type Opened } from './harness.ts'

test('Z4: connections are found by each name and by all that are given', async (t) => {
  const people: Partial<Admitted>[] = [
    { identity: { subject: 'alice', sessionId: 's1', tokenId: 't1' }, ip: '10.0.0.1' },
    { identity: { subject: 'alice', sessionId: 's1', tokenId: 't2' }, ip: '10.0.0.2' },
    { identity: { subject: 'alice', sessionId: 's2', tokenId: 't3' }, ip: '10.0.0.1' },
    { identity: { subject: 'bob' }, ip: '10.0.0.2' },
    { identity: undefined, ip: '10.0.0.3' }
  ]
  const guard = await Guard.start(t, { admitted: () => people.shift() as Partial<Admitted> })
  const opened: Opened[] = []
  for (let count = 0; count < 5; count++) opened.push(await guard.connect())
  const [a, b, c, d, e] = opened.map(({ connection }) => connection)
  const { registry } = guard.runtime
  const found = (query: object): Set<unknown> => new Set(registry.find(query))
  assert.deepEqual(found({ sub: 'alice' }), new Set([a, b, c]))
  assert.deepEqual(found({ sid: 's1' }), new Set([a, b]))
  assert.deepEqual(found({ jti: 't3' }), new Set([c]))
  assert.deepEqual(found({ ip: '10.0.0.2' }), new Set([b, d]))
  assert.deepEqual(found({ id: e?.id }), new Set([e]))
  assert.deepEqual(found({ route: '/house' }), new Set([a, b, c, d, e]))
  assert.deepEqual(found({ route: '/other' }), new Set())
  assert.deepEqual(found({ sub: 'alice', ip: '10.0.0.1' }), new Set([a, c]))
  assert.deepEqual(found({ sub: 'bob', sid: 's1' }), new Set())
  assert.deepEqual(found({ sub: 'nobody' }), new Set())
  assert.deepEqual(guard.held(), {
    connections: 5,
    closing: 0,
    ids: 5,
    ips: 3,
    subjects: 2,
    sessions: 2,
    tokens: 3,
    topics: 0,
    bufferedBytes: 0
  })
  // The first one leaves, so that the last takes its place in the list.
  for (const at of [0, 3, 4, 1, 2]) {
    opened[at]?.client.destroy()
    await until(() => opened[at]?.connection.state === 'closed')
    const left = opened.filter(({ connection }) => connection.state !== 'closed').map(({ connection }) => connection)
    assert.deepEqual(new Set(registry.list), new Set(left))
    for (const [position, connection] of registry.list.entries()) assert.equal(connection.position, position)
    assert.deepEqual(found({ sub: 'alice' }), new Set(left.filter((one) => one.identity?.subject === 'alice')))
  }
  await until(() => Object.values(guard.held()).every((count) => count === 0))
})

test('L1: an identity that another connection has taken over is not forgotten with the first', async (t) => {
  const guard = await Guard.start(t, { admitted: { identity: { subject: 'alice', tokenId: 'one' } } })
  const first = await guard.connect()
  const { registry } = guard.runtime
  registry.identify(first.connection, { subject: 'alice', tokenId: 'two' })
  const second = await guard.connect()
  registry.identify(first.connection, { subject: 'alice', tokenId: 'three' })
  assert.deepEqual(registry.find({ jti: 'one' }), [second.connection])
  assert.deepEqual(registry.find({ jti: 'two' }), [])
  assert.deepEqual(registry.find({ jti: 'three' }), [first.connection])
  first.client.destroy()
  await until(() => first.connection.state === 'closed')
  assert.deepEqual(registry.find({ sub: 'alice' }), [second.connection])
})
