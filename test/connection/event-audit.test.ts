/** Who came in by their first message, and who did not: the audit trail says so as it does for the handshake. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VerifyOutcome } from '../../lib/connection/session.ts'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { Identity, Store } from '../../lib/limits/store.ts'
import { until } from '../support/wait.ts'
import { defined, only, recordEvents } from './event-recorder.ts'
import { closeFrameOf, FakeClock, frames, Guard, type GuardOptions, say } from './harness.ts'

const startsAt = new FakeClock().wall()

/** A token is the JSON of an identity; `bad` is none. */
async function verify(token: string): Promise<VerifyOutcome> {
  if (token === 'bad') return { ok: false, cause: 'unauthorized', errorCode: 'BAD' }
  return { ok: true, user: {}, identity: JSON.parse(token) as Identity }
}

const auth = (identity: Partial<Identity> = {}): Record<string, unknown> => ({
  type: 'auth',
  token: JSON.stringify({ subject: 'alice', ...identity })
})
const revoking = (): Store => Object.assign(new MemoryStore(), { isRefused: () => true })

test('P2: a first message that says who it is is an event, with the subject and the expiry', async (t) => {
  const seen = recordEvents(t)
  const guard = await Guard.start(t, { auth: {}, session: { verify } })
  const { client, connection } = await guard.connect(frames(auth({ expiresAt: startsAt + 60_000 })))
  await client.nextJson()
  const about = { connectionId: connection.id, route: '/house', ip: '203.0.113.7', sub: 'alice' }
  const expected = [{ event: 'ws.authenticated', ...about, expiresAt: startsAt + 60_000 }]
  assert.deepEqual(only(seen, 'ws.authenticated').map(defined), expected)
})

const failures: ReadonlyArray<readonly [string, GuardOptions, unknown, Record<string, unknown>]> = [
  ['none', {}, say('hello'), { event: 'ws.auth_failed', reason: 'no_credential' }],
  [
    'a bad one',
    {},
    { type: 'auth', token: 'bad' },
    { event: 'ws.auth_failed', reason: 'unauthorized', errorCode: 'BAD' }
  ],
  ['a revoked one', { store: revoking() }, auth(), { event: 'ws.auth_failed', reason: 'revoked', sub: 'alice' }],
  [
    'one that the checks of a user find revoked',
    { auth: { admit: async () => 'revoked' } },
    auth(),
    { event: 'ws.auth_failed', reason: 'revoked', sub: 'alice' }
  ],
  [
    'one that they find expired',
    { auth: { admit: async () => 'session_expired' } },
    auth(),
    { event: 'ws.auth_failed', reason: 'session_expired', sub: 'alice' }
  ],
  [
    'one that `authorize` refuses',
    { auth: { admit: async () => 'forbidden' } },
    auth(),
    { event: 'ws.forbidden', reason: 'forbidden', sub: 'alice' }
  ]
]
for (const [title, options, message, expected] of failures) {
  test(`P2: a credential in the first message is an event when it does not let in: ${title}`, async (t) => {
    const seen = recordEvents(t)
    const guard = await Guard.start(t, { auth: {}, session: { verify }, ...options })
    const { client, connection } = await guard.connect(frames(message))
    await closeFrameOf(client)
    const about = { connectionId: connection.id, route: '/house', ip: '203.0.113.7' }
    const failed = [...only(seen, 'ws.auth_failed'), ...only(seen, 'ws.forbidden')]
    assert.deepEqual(failed.map(defined), [{ ...about, ...expected }])
    assert.deepEqual(only(seen, 'ws.authenticated'), [])
  })
}

test('P2: no first message in time is an event; a verifier that takes too long is none about the credential', async (t) => {
  const seen = recordEvents(t)
  const slow = { verify: () => new Promise<VerifyOutcome>(() => {}) }
  for (const [message, session] of [[Buffer.alloc(0), { verify }] as const, [frames(auth()), slow] as const]) {
    const guard = await Guard.start(t, { auth: { timeoutMs: 100 }, session })
    const { client, connection } = await guard.connect(message)
    if (message.length > 0) await until(() => connection.received === 1)
    guard.tick(100)
    await closeFrameOf(client)
  }
  assert.deepEqual(
    only(seen, 'ws.auth_failed').map(({ reason }) => reason),
    ['no_credential']
  )
})

test('P2: a place that is full is no failed credential', async (t) => {
  const seen = recordEvents(t)
  const admit = async () => 'too_many_connections' as const
  const guard = await Guard.start(t, { auth: { admit }, session: { verify } })
  const { client } = await guard.connect(frames(auth()))
  await closeFrameOf(client)
  assert.deepEqual([...only(seen, 'ws.auth_failed'), ...only(seen, 'ws.forbidden')], [])
})
