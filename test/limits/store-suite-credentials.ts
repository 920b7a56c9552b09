/** Tickets, revocations and blocks, of any store. */
import assert from 'node:assert/strict'
import type { Identity, Ticket } from '../../lib/limits/store.ts'
import { eventually } from '../support/wait.ts'
import type { StoreTest } from './store-suite.ts'

const ticket: Ticket = { user: { sub: 'ada' }, identity: { subject: 'ada' }, route: '/chat', origin: undefined }
/** A time of issue, long ago. */
const now = 1_700_000_000_000

export function testCredentials(storeTest: StoreTest): void {
  testTickets(storeTest)
  testIssuedBefore(storeTest)
  testRevocations(storeTest)
  testBlocks(storeTest)
}

function testTickets(storeTest: StoreTest): void {
  storeTest('A6: a ticket is taken once', async ({ store }) => {
    await store.putTicket('hash', ticket, 30_000)
    assert.deepEqual(await store.takeTicket('hash'), ticket)
    assert.equal(await store.takeTicket('hash'), undefined)
    assert.equal(await store.takeTicket('other'), undefined)
  })

  storeTest('A6: of those that race for a ticket one gets it', async ({ store }) => {
    await store.putTicket('hash', ticket, 30_000)
    const all = await Promise.all(Array.from({ length: 50 }, async () => store.takeTicket('hash')))
    assert.deepEqual(
      all.filter((taken) => taken !== undefined),
      [ticket]
    )
  })

  storeTest('A6: an expired ticket is none', async ({ store, advance, spanMs }) => {
    for (const hash of ['early', 'late']) await store.putTicket(hash, ticket, spanMs)
    await advance(spanMs / 4)
    assert.deepEqual(await store.takeTicket('early'), ticket)
    await advance(spanMs * 0.75)
    assert.equal(await store.takeTicket('late'), undefined)
    assert.equal(store.sizes().tickets, 0)
  })

  storeTest('A6: a ticket keeps every field', async ({ store }) => {
    const tickets: Ticket[] = [
      { user: 'ada', identity: undefined, route: '/', origin: 'https://app.example.com' },
      {
        user: { sub: 'ada "Ä" \u2028 💬', roles: ['a', []], deep: { none: null, no: false, zero: 0, half: 0.5 } },
        identity: { subject: 'ä', sessionId: 's', tokenId: 't', issuedAt: now, expiresAt: now + 0.5 },
        route: '/rooms/:id',
        origin: undefined
      }
    ]
    for (const [index, kept] of tickets.entries()) {
      await store.putTicket(`hash ${index}`, kept, 30_000)
      assert.deepEqual(await store.takeTicket(`hash ${index}`), kept)
    }
  })
}

const refusals: [name: string, identity: Identity, refused: boolean][] = [
  ['issued before', { subject: 'ada', issuedAt: now - 5000 }, true],
  ['issued in the same second, before', { subject: 'ada', issuedAt: now }, true],
  ['issued in the same second, after', { subject: 'ada', issuedAt: now + 999 }, true],
  ['issued in the next second', { subject: 'ada', issuedAt: now + 1000 }, false],
  ['without issuedAt', { subject: 'ada' }, true],
  ['with a NaN', { subject: 'ada', issuedAt: Number.NaN }, true],
  ['of somebody else', { subject: 'bob', issuedAt: now - 5000 }, false]
]

function testIssuedBefore(storeTest: StoreTest): void {
  for (const [name, identity, refused] of refusals) {
    storeTest(`Z4: after a revocation a credential ${name} is ${refused ? 'refused' : 'good'}`, async ({ store }) => {
      assert.equal(await store.isRefused(identity), false)
      await store.revoke({ kind: 'sub', value: 'ada', issuedBefore: now + 500, keepMs: 60_000 })
      assert.equal(await store.isRefused(identity), refused)
    })
  }
}

function testRevocations(storeTest: StoreTest): void {
  storeTest('Z4: a revocation goes by its own claim', async ({ store }) => {
    await store.revoke({ kind: 'sid', value: 'x', issuedBefore: now, keepMs: 60_000 })
    await store.revoke({ kind: 'jti', value: 'y', issuedBefore: now, keepMs: 60_000 })
    const old = { subject: 'ada', issuedAt: now }
    assert.equal(await store.isRefused({ ...old, sessionId: 'x' }), true)
    assert.equal(await store.isRefused({ ...old, tokenId: 'y' }), true)
    assert.equal(await store.isRefused({ ...old, sessionId: 'y', tokenId: 'x' }), false)
    assert.equal(await store.isRefused({ subject: 'x', issuedAt: now }), false)
    assert.equal(await store.isRefused({ subject: 'sid x', issuedAt: now }), false)
  })

  storeTest('Z4: a revocation without an end refuses whenever it was issued', async ({ store }) => {
    await store.revoke({ kind: 'jti', value: 'y', issuedBefore: Number.POSITIVE_INFINITY, keepMs: 60_000 })
    for (const issuedAt of [now, Date.now() + 86_400_000, Number.MAX_SAFE_INTEGER]) {
      assert.equal(await store.isRefused({ subject: 'ada', tokenId: 'y', issuedAt }), true)
    }
    assert.equal(await store.isRefused({ subject: 'ada', tokenId: 'x', issuedAt: now }), false)
  })

  storeTest('Z4: a revocation is kept for keepMs', async ({ store, advance, spanMs, slackMs }) => {
    await store.revoke({ kind: 'sub', value: 'ada', issuedBefore: now, keepMs: spanMs })
    await advance(spanMs / 4)
    assert.equal(await store.isRefused({ subject: 'ada' }), true)
    await advance(spanMs * 0.75)
    await eventually(async () => assert.equal(await store.isRefused({ subject: 'ada' }), false), { timeoutMs: slackMs })
  })

  storeTest('Z4: revoked twice: the later time and the longer keep hold, in either order', async (subject) => {
    const { store, advance, spanMs, slackMs } = subject
    const orders = { ada: ['early', 'late'], bob: ['late', 'early'] } as const
    for (const [value, order] of Object.entries(orders)) {
      const early = { kind: 'sub', value, issuedBefore: now, keepMs: spanMs } as const
      const late = { kind: 'sub', value, issuedBefore: now + 10_000, keepMs: spanMs / 40 } as const
      for (const which of order) await store.revoke(which === 'early' ? early : late)
    }
    await advance(spanMs / 4)
    for (const person of Object.keys(orders)) {
      assert.equal(await store.isRefused({ subject: person, issuedAt: now + 10_000 }), true, person)
      assert.equal(await store.isRefused({ subject: person, issuedAt: now + 11_000 }), false, person)
    }
    await advance(spanMs * 0.75)
    for (const person of Object.keys(orders)) {
      const assertion = async (): Promise<void> => {
        assert.equal(await store.isRefused({ subject: person, issuedAt: now }), false, person)
      }
      await eventually(assertion, { timeoutMs: slackMs })
    }
  })
}

function testBlocks(storeTest: StoreTest): void {
  const later = { subject: 'ada', issuedAt: now + 50_000 }

  storeTest(
    'Z4: a block holds until its time on the wall, whatever the credential, or until it is taken back',
    async (subject) => {
      const { store, advance, wall, spanMs, slackMs } = subject
      await store.block('ada', wall() + spanMs)
      assert.equal(await store.isRefused(later), true)
      assert.equal(await store.isRefused({ subject: 'bob' }), false)
      await advance(spanMs / 4)
      assert.equal(await store.isRefused(later), true)
      await advance(spanMs * 0.75)
      await eventually(async () => assert.equal(await store.isRefused(later), false), { timeoutMs: slackMs })
      await store.block('ada', Number.POSITIVE_INFINITY)
      assert.equal(await store.isRefused(later), true)
      await store.unblock('ada')
      assert.equal(await store.isRefused(later), false)
    }
  )

  storeTest('Z4: blocked twice: the last call holds, also an earlier time', async (subject) => {
    const { store, advance, wall, spanMs, slackMs } = subject
    await store.block('ada', wall() + 10 * spanMs)
    await store.block('ada', wall() + spanMs)
    await store.block('bob', wall() + spanMs)
    await store.block('bob', wall() + 10 * spanMs)
    await store.block('eve', wall() + 10 * spanMs)
    await store.block('eve', wall() - 1)
    assert.equal(await store.isRefused(later), true)
    assert.equal(await store.isRefused({ subject: 'eve' }), false)
    await advance(spanMs)
    await eventually(async () => assert.equal(await store.isRefused(later), false), { timeoutMs: slackMs })
    assert.equal(await store.isRefused({ subject: 'bob' }), true)
  })

  storeTest('Z4: a block and its end hold at once, however closely they follow each other', async ({ store, wall }) => {
    for (let index = 0; index < 50; index++) {
      await store.block('ada', wall() + 60_000)
      assert.equal(await store.isRefused(later), true, `blocked ${index}`)
      await store.unblock('ada')
      assert.equal(await store.isRefused(later), false, `unblocked ${index}`)
    }
  })

  storeTest('Z4: to unblock somebody who is not blocked changes nothing', async ({ store }) => {
    await store.revoke({ kind: 'sub', value: 'ada', issuedBefore: now, keepMs: 60_000 })
    await store.unblock('ada')
    await store.unblock('bob')
    assert.equal(await store.isRefused({ subject: 'ada', issuedAt: now }), true)
    assert.equal(await store.isRefused({ subject: 'bob' }), false)
  })
}
