/** `request.signal` tells the developer's own code that nobody waits for its answer any more (threat H9). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FastifyRequest } from 'fastify'
import { handshakeRequest } from '../support/http-message.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until, within } from '../support/wait.ts'
import {
  assertNoSockets,
  assertNothingHeld,
  assertRefused,
  type GuardedApp,
  goodHeaders,
  guarded,
  listen,
  rawClient
} from './harness.ts'

/** So long that a reset is not taken for a timeout. */
const longMs = 10_000

const places: Record<string, (wait: (request: FastifyRequest) => Promise<never>) => object> = {
  'auth.verify': (wait) => ({ auth: { verify: (_token: string, request: FastifyRequest) => wait(request) } }),
  authorize: (wait) => ({ authorize: (_user: unknown, request: FastifyRequest) => wait(request) }),
  data: (wait) => ({ data: wait }),
  preHandler: (wait) => ({ preHandler: wait })
}

interface Waiting extends GuardedApp {
  readonly client: RawClient
  /** What the place that waits was given. */
  readonly signal: AbortSignal
}

/** A handshake under way in the developer's code, which waits for its signal as a fetch would. */
async function waiting(t: TestContext, place: string, handshakeTimeoutMs: number): Promise<Waiting> {
  const all = await guarded(t, { jwt: false, guard: { handshakeTimeoutMs } })
  const seen: AbortSignal[] = []
  const wait = ({ signal }: FastifyRequest): Promise<never> => {
    seen.push(signal)
    return new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new Error('nobody waits for it')))
    })
  }
  const auth = { verify: () => ({ sub: 'alice' }) }
  const handler = (): void => assert.fail('nobody may come in')
  all.app.wsRoute('/ws', { auth, ...places[place]?.(wait), handler } as never)
  const client = await rawClient(t, await listen(all.app))
  await client.write(handshakeRequest({ path: '/ws', headers: goodHeaders('token') }))
  await until(() => seen.length > 0, { what: `a request in ${place}` })
  assert.equal(seen.length, 1)
  return { ...all, client, signal: seen[0] as AbortSignal }
}

function louder({ lines }: GuardedApp['logs']): unknown[] {
  return lines.filter(({ level }) => level >= 40)
}

function aborted(signal: AbortSignal): Promise<unknown> {
  const abort = signal.aborted || new Promise((resolve) => signal.addEventListener('abort', resolve))
  return within(Promise.resolve(abort), { what: 'the signal' })
}

for (const place of Object.keys(places)) {
  test(`H9: ${place}: the signal is aborted by the handshake timeout`, async (t) => {
    const { app, logs, client, signal, reasons } = await waiting(t, place, 100)
    assert.equal(signal.aborted, false)
    assertRefused(await client.answer(), 503)
    assert.equal(signal.aborted, true)
    await assertNothingHeld(app)
    // What the abort made of the place that waited is nobody's news.
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(reasons(), ['handshake_timeout'])
    assert.deepEqual(louder(logs), [])
  })

  test(`H9: ${place}: the signal is aborted when the client resets`, async (t) => {
    const { app, logs, client, signal, reasons } = await waiting(t, place, longMs)
    client.reset()
    await aborted(signal)
    await assertNothingHeld(app)
    await assertNoSockets(app)
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(reasons(), [], 'nobody is there to be refused')
    assert.deepEqual(louder(logs), [])
  })
}

test('H9: a handshake that is refused or accepted leaves its signal alone', async (t) => {
  const { app } = await guarded(t, { jwt: false })
  const signals: AbortSignal[] = []
  app.wsRoute('/ws', {
    auth: {
      verify: (token, { signal }) => {
        signals.push(signal)
        return token === 'good' ? { sub: 'alice' } : null
      }
    },
    handler() {}
  })
  const port = await listen(app)
  for (const [token, status] of [
    ['bad', 401],
    ['good', 101]
  ] as const) {
    const client = await rawClient(t, port)
    const { statusCode } = await client.handshake({ path: '/ws', headers: goodHeaders(token) })
    assert.equal(statusCode, status)
    client.reset()
    await assertNothingHeld(app)
  }
  assert.deepEqual(
    signals.map(({ aborted: isAborted }) => isAborted),
    [false, false]
  )
})
