/** Guessing tokens: how many guesses reach a verifier, over real sockets. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import cookie from '@fastify/cookie'
import type { Store } from '../../lib/limits/store.ts'
import { echo, origin } from '../support/app.ts'
import { defaultStore } from '../support/default-store.ts'
import { closeOf, opcodes } from '../support/frames.ts'
import { assertNothingHeld, assertRefused, goodHeaders, guarded, listen, rawClient } from './harness.ts'
import { ways } from './hostile-tokens.ts'

const max = 20
const guesses = 1_000
const atOnce = 50

interface Target {
  readonly app: Awaited<ReturnType<typeof guarded>>['app']
  readonly store: Store
  /** The tokens that a verifier was asked about. */
  readonly verified: string[]
  readonly guess: (n: number, path?: string, headers?: Record<string, string>) => Promise<number>
}

/** Two routes with the same limits behind a proxy on this machine, which says where its clients are. */
async function target(t: TestContext): Promise<Target> {
  const store = defaultStore()
  const verified: string[] = []
  const verify = async (token: string): Promise<object | null> => {
    verified.push(token)
    return token === 'right' ? { sub: 'alice' } : null
  }
  const { app } = await guarded(t, {
    jwt: false,
    server: { trustProxy: ['127.0.0.1'] },
    guard: { store, auth: { verify }, limits: { attempts: { max } } }
  })
  app.wsRoute('/a', { handler() {} })
  app.wsRoute('/b', { limits: { attempts: { max, timeWindow: '1 minute' } }, handler() {} })
  const port = await listen(app)
  return {
    app,
    store,
    verified,
    guess: async (n, path = '/a', headers = {}) => {
      const client = await rawClient(t, port)
      const answer = await client.handshake({
        path,
        headers: { ...goodHeaders(`guess-${n}`), ...headers },
        timeoutMs: 10_000
      })
      assertRefused(answer, answer.statusCode)
      client.destroy()
      return answer.statusCode
    }
  }
}

/** @returns how many got which status */
async function count(all: readonly number[], guess: (n: number) => Promise<number>): Promise<Record<number, number>> {
  const counts: Record<number, number> = {}
  for (let start = 0; start < all.length; start += atOnce) {
    const statuses = await Promise.all(all.slice(start, start + atOnce).map(guess))
    for (const status of statuses) counts[status] = (counts[status] ?? 0) + 1
  }
  return counts
}

const numbers = Array.from({ length: guesses }, (_, n) => n)

test('A9: of a thousand guesses from one address exactly as many are verified as it has attempts', async (t) => {
  const { app, store, verified, guess } = await target(t)
  const counts = await count(numbers, (n) => guess(n, n % 2 === 0 ? '/a' : '/b'))
  assert.deepEqual(counts, { 401: max, 429: guesses - max })
  assert.equal(verified.length, max, 'two routes with the same limits are one allowance')
  assert.equal(new Set(verified).size, max)
  assert.equal(await guess(0, '/a', { Authorization: 'Bearer right' }), 429, 'nor is the right one looked at')
  assert.equal(verified.length, max)
  assert.equal(await guess(0, '/a', { 'X-Forwarded-For': '10.0.0.2' }), 401, 'somebody else is not held up')
  await assertNothingHeld(app, store)
})

test('A9, R1: the addresses of an IPv6 /64 are one client, those of a /48 eight', async (t) => {
  const { app, verified, guess } = await target(t)
  const address = (net: number, n: number): Record<string, string> => {
    return {
      'X-Forwarded-For': `2001:db8:0:${net.toString(16)}:${((n * 7919) % 65_536).toString(16)}::${n.toString(16)}`
    }
  }
  const one = await count(numbers.slice(0, 200), (n) => guess(n, '/a', address(1, n % 8191)))
  assert.deepEqual(one, { 401: max, 429: 200 - max })
  assert.equal(verified.length, max)
  const wide = await count(numbers, (n) => guess(n, '/a', address(2 + (n % 500), n % 8191)))
  assert.deepEqual(wide, { 401: 8 * max - max, 429: guesses - (8 * max - max) })
  assert.equal(verified.length, 8 * max)
  await assertNothingHeld(app)
})

test('A9: what is malformed, foreign or too long is an attempt, and never verified', async (t) => {
  const { verified, guess } = await target(t)
  const requests: ReadonlyArray<readonly [Record<string, string>, number]> = [
    [{ Authorization: `Bearer ${'x'.repeat(9_000)}` }, 401],
    [{ Authorization: `Bearer ${'x'.repeat(8_193)}` }, 401],
    [{ Authorization: 'Bearer' }, 401],
    [{ Authorization: 'Basic eDp5' }, 401],
    [{ Origin: 'https://evil.example' }, 403],
    [{ 'Sec-WebSocket-Protocol': 'other' }, 400],
    [{ 'Sec-WebSocket-Version': '8' }, 426]
  ]
  for (let n = 0; n < max; n++) {
    const [headers, status] = requests[n % requests.length] as (typeof requests)[number]
    assert.equal(await guess(n, '/a', headers), status, JSON.stringify(headers).slice(0, 60))
  }
  assert.equal(await guess(max), 429)
  assert.deepEqual(verified, [])
})

test('A9: a token above 8 KiB is not verified, in whichever way it comes', async (t) => {
  let calls = 0
  const verify = (): object => {
    calls++
    return { sub: 'alice' }
  }
  const from = ['header', 'subprotocol', 'query', 'cookie', 'message'] as const
  const { app } = await guarded(t, { jwt: false, guard: { auth: { from, verify } } })
  await app.register(cookie)
  app.wsRoute('/ws', { contract: echo, handlers: { say() {}, ask: () => ({ items: [] }) } })
  const port = await listen(app)
  const [long, longest] = ['x'.repeat(8_193), 'x'.repeat(8_192)] as const
  for (const [way, request] of Object.entries(ways)) {
    const client = await rawClient(t, port)
    assertRefused(await client.handshake(request(long)), 401)
    assert.equal(calls, 0, way)
  }
  const client = await rawClient(t, port)
  await client.handshake({ path: '/ws', headers: { Origin: origin } })
  await client.sendJson({ type: 'auth', token: long })
  assert.equal(closeOf(await client.nextFrame({ opcode: opcodes.close })).code, 4001)
  assert.equal(calls, 0)
  for (const [way, request] of Object.entries(ways)) {
    const client = await rawClient(t, port)
    assert.equal((await client.handshake(request(longest))).statusCode, 101, way)
  }
  assert.equal(calls, 4)
})
