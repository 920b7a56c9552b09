import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import fc from 'fast-check'
import type { FastifyInstance } from 'fastify'
import {
  type CloseCause,
  type CloseCodeName,
  closeCauses,
  closeCodePresets,
  closeCodes,
  isSendableCloseCode,
  maxCloseReasonBytes,
  truncateCloseReason
} from '../../lib/close-codes.ts'
import type { WsGuardOptions } from '../../lib/index.ts'
import { refusalReasons, refusalStatuses } from '../../lib/index.ts'
import { injectWs } from '../../lib/testing.ts'
import { buildApp, echo, origin, tokenFor } from '../support/app.ts'
import { within } from '../support/wait.ts'

const apps: FastifyInstance[] = []
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close()
})

test('every code may be sent, is used once, and says whether to reconnect', () => {
  const codes = Object.values(closeCodes).map(({ code }) => code)
  assert.equal(new Set(codes).size, codes.length)
  for (const [name, { code, reconnect, meaning }] of Object.entries(closeCodes)) {
    assert.ok(isSendableCloseCode(code), name)
    assert.match(reconnect, /^(no|jitter|backoff|new-credential)$/)
    assert.notEqual(meaning, '')
  }
})

test('every cause names a code of the table and a reason that fits; an end without a code has no reason', () => {
  for (const [cause, { code, reason, meaning }] of Object.entries(closeCauses)) {
    if (code === null) assert.equal(reason, '', cause)
    else assert.ok(Object.hasOwn(closeCodes, code), cause)
    assert.match(reason, /^[a-z_]*$/)
    assert.equal(truncateCloseReason(reason), reason)
    assert.notEqual(meaning, '')
  }
  // Reasons tell causes apart, where there is one.
  const reasons = Object.values(closeCauses).flatMap(({ reason }) => reason || [])
  assert.equal(new Set(reasons).size, reasons.length)
  const used = new Set(Object.values(closeCauses).flatMap(({ code }) => code ?? []))
  const unused = Object.keys(closeCodes).filter((name) => !used.has(name as never))
  // For the developer's own use.
  assert.deepEqual(unused, ['going_away'])
})

test('every refusal has a status, and every status a close code', () => {
  for (const [reason, status] of Object.entries(refusalReasons)) assert.ok(status in refusalStatuses, reason)
  for (const { close } of Object.values(refusalStatuses)) assert.ok(close in closeCodes)
  const used = new Set(Object.values(refusalReasons))
  assert.deepEqual(
    Object.keys(refusalStatuses).filter((status) => !used.has(Number(status) as never)),
    []
  )
})

test('a preset names codes of the table, none that the table uses otherwise', () => {
  for (const preset of Object.values(closeCodePresets)) {
    const all = { ...Object.fromEntries(Object.entries(closeCodes).map(([name, { code }]) => [name, code])), ...preset }
    assert.equal(Object.keys(all).length, Object.keys(closeCodes).length)
    assert.equal(new Set(Object.values(all)).size, Object.keys(closeCodes).length)
    for (const code of Object.values(preset)) assert.ok(isSendableCloseCode(code))
  }
})

test('RFC 6455 7.4: which codes may be sent', () => {
  const sendable = Array.from({ length: 6_000 }, (_, code) => code).filter(isSendableCloseCode)
  assert.deepEqual(sendable.slice(0, 11), [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 1014])
  assert.equal(sendable[11], 3000)
  assert.equal(sendable.at(-1), 4999)
  assert.equal(sendable.length, 11 + 2_000)
  for (const code of [-1, 1000.5, Number.NaN, Number.POSITIVE_INFINITY, '1000', null, undefined, {}, 1000n]) {
    assert.equal(isSendableCloseCode(code), false)
  }
})

test('O4: a reason is cut to 123 bytes and never inside a character', () => {
  assert.equal(truncateCloseReason(''), '')
  assert.equal(truncateCloseReason('x'.repeat(123)), 'x'.repeat(123))
  assert.equal(truncateCloseReason('x'.repeat(124)), 'x'.repeat(123))
  assert.equal(truncateCloseReason('é'.repeat(61)), 'é'.repeat(61))
  assert.equal(truncateCloseReason('é'.repeat(62)), 'é'.repeat(61))
  assert.equal(truncateCloseReason('€'.repeat(41)), '€'.repeat(41))
  assert.equal(truncateCloseReason(`${'x'.repeat(121)}€`), 'x'.repeat(121))
  assert.equal(truncateCloseReason(`${'x'.repeat(120)}😀😀`), 'x'.repeat(120))
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), (reason) => {
      const cut = truncateCloseReason(reason)
      assert.ok(Buffer.byteLength(cut) <= maxCloseReasonBytes)
      assert.ok(reason.startsWith(cut))
      // The next character would not have fitted.
      const [next = ''] = reason.slice(cut.length)
      if (cut !== reason) assert.ok(Buffer.byteLength(cut + next) > maxCloseReasonBytes)
    })
  )
})

const wire: readonly [string, WsGuardOptions['closeCodes'], Partial<Record<CloseCodeName, number>>][] = [
  ['the defaults', undefined, {}],
  ["the preset 'iana'", 'iana', { unauthorized: 3000, forbidden: 3003, timeout: 3008 }],
  [
    'a partial map',
    { forbidden: 4403, invalid_data: 4007, normal: 4000 },
    { forbidden: 4403, invalid_data: 4007, normal: 4000 }
  ]
]

for (const [name, option, changed] of wire) {
  test(`closeCodes: ${name} on the wire`, async () => {
    const app = await buildApp({ guard: option === undefined ? {} : { closeCodes: option } })
    apps.push(app)
    const handlers = { say: () => {}, ask: () => ({ items: [] }) }
    app.wsRoute('/message', { contract: echo, handlers, auth: { from: ['message'] }, origins: false })
    app.wsRoute('/close', { contract: echo, handlers, refuse: 'close' })
    app.wsRoute('/done', { handler: (connection) => connection.close(), auth: false })
    app.wsRoute('/code', { handler: (connection) => connection.close(4999, 'mine'), auth: false })
    app.wsRoute('/idle', { contract: echo, handlers, idleTimeoutMs: 20 })
    await app.ready()
    const expected = (cause: CloseCause) => {
      const { code, reason } = closeCauses[cause]
      assert.ok(code !== null)
      return { code: changed[code] ?? closeCodes[code].code, reason }
    }

    const waiting = await injectWs(app, '/message')
    waiting.sendRaw('{"type":"say","text":""}')
    assert.deepEqual(await waiting.closed, expected('unauthorized'))

    const kicked = await injectWs(app, '/close', { token: tokenFor(app) })
    await app.wsGuard.disconnect({ sub: 'alice' })
    assert.deepEqual(await kicked.closed, expected('revoked'))

    const poisoned = await injectWs(app, '/close', { token: tokenFor(app) })
    poisoned.sendRaw('{')
    assert.deepEqual(await poisoned.closed, expected('invalid_json'))

    const refused = await injectWs(app, '/close', { origin: 'https://evil.example', protocols: ['b', 'ws-guard.v1'] })
    assert.deepEqual([refused.statusCode, refused.protocol], [101, 'ws-guard.v1'])
    assert.deepEqual(await refused.closed, { ...expected('forbidden'), reason: 'forbidden' })
    // A client that offers only others must not accept an answer without one of them.
    const others = injectWs(app, '/close', { origin: 'https://evil.example', protocols: 'other' })
    await assert.rejects(others, /Server sent no subprotocol/)
    const unknown = await injectWs(app, '/close', { protocols: 'ws-guard.v1', origin })
    assert.deepEqual(await unknown.closed, expected('unauthorized'))

    assert.deepEqual(await (await injectWs(app, '/done')).closed, expected('server'))
    assert.deepEqual(await (await injectWs(app, '/code')).closed, { code: 4999, reason: 'mine' })

    const idle = await injectWs(app, '/idle', { token: tokenFor(app) })
    assert.deepEqual(await within(idle.closed, { timeoutMs: 10_000 }), expected('idle'))

    const draining = await injectWs(app, '/close', { token: tokenFor(app) })
    await app.close()
    assert.deepEqual(await draining.closed, expected('restart'))
  })
}
