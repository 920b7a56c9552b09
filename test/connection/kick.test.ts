/** Whom an order from another node, perhaps a late one, ends. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kick } from '../../lib/connection/kick.ts'
import { Guard } from './harness.ts'

test('N3: a late order ends those who were open when it was given, and nobody who came later', async (t) => {
  const guard = await Guard.start(t)
  const { registry } = guard.runtime
  const early = await guard.connect()
  guard.clock.ms += 5_000
  const late = await guard.connect()
  guard.clock.ms += 1_000
  const query = { sub: 'alice' }
  assert.equal(kick(registry, { query, openForMs: 6_001 }), 0)
  assert.equal(kick(registry, { query, openForMs: 3_000, reason: 'out' }), 1)
  assert.equal(early.connection.state, 'closing')
  assert.equal(late.connection.state, 'open')
  assert.equal(kick(registry, { query, openForMs: 3_000 }), 0, 'once is enough')
  assert.equal(kick(registry, { query: { sub: 'bob' } }), 0)
  assert.equal(kick(registry, { query }), 1)
})

test('N3: an order given while a handshake ran ends its connection: the client may have had its 101 already', async (t) => {
  const guard = await Guard.start(t, { admitted: () => ({ askedAt: guard.clock.now() - 20 }) })
  const { connection } = await guard.connect()
  assert.equal(kick(guard.runtime.registry, { query: { sub: 'alice' }, openForMs: 21 }), 0)
  assert.equal(kick(guard.runtime.registry, { query: { sub: 'alice' }, openForMs: 20 }), 1)
  assert.equal(connection.cause, 'revoked')
})

test('N3: a revocation ends older credentials, those of the same second, and those without a time', async (t) => {
  let identity: object = {}
  const guard = await Guard.start(t, { admitted: () => ({ identity: { subject: 'alice', ...identity } }) })
  const now = guard.clock.wall()
  const connections = []
  for (identity of [{ issuedAt: now - 10_000 }, { issuedAt: now + 100 }, { issuedAt: now + 60_000 }, {}]) {
    guard.clock.ms += 1_000
    connections.push((await guard.connect()).connection)
  }
  const count = kick(guard.runtime.registry, { query: { sub: 'alice' }, issuedBefore: now })
  assert.deepEqual(
    connections.map(({ state }) => state),
    ['closing', 'closing', 'open', 'closing']
  )
  assert.equal(count, 3)
})
