/** Threat P6: refused clients are told different times, or they would all be back in the same second. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { goodHeaders, guarded, listen, rawClient } from './harness.ts'

const crowd = 30
const windowSeconds = 60
/** The window began with the first handshake: what a slow machine takes until the last is refused. */
const slackSeconds = 20

const cases: readonly {
  name: string
  status: number
  limits: NonNullable<WsGuardOptions['limits']>
  least: number
  most: number
}[] = [
  {
    name: 'attempts of one address',
    status: 429,
    limits: { attempts: { max: 1 } },
    least: windowSeconds - slackSeconds,
    most: windowSeconds + 4
  },
  {
    name: 'attempts of everybody together, whose window ends for all at once',
    status: 429,
    limits: { attempts: { globalMax: 1 } },
    least: windowSeconds - slackSeconds,
    most: windowSeconds + 4
  },
  { name: 'connections of an address', status: 429, limits: { connections: { perIp: 1 } }, least: 5, most: 9 },
  { name: 'connections of the node', status: 503, limits: { connections: { total: 1 } }, least: 5, most: 9 }
]

for (const { name, status, limits, least, most } of cases) {
  test(`P6: above the ${name}, each ${status} has a Retry-After of its own, and none too early`, async (t) => {
    const { app } = await guarded(t, { jwt: false, guard: { auth: false, limits } })
    app.wsRoute('/ws', { handler() {} })
    const port = await listen(app)
    const request = handshakeRequest({ path: '/ws', headers: goodHeaders() })
    const first = await rawClient(t, port)
    await first.write(request)
    assert.equal((await first.answer({ timeoutMs: 5000 })).statusCode, 101)
    const openedAt = performance.now()
    const told: number[] = []
    for (let n = 0; n < crowd; n++) {
      const client = await rawClient(t, port)
      await client.write(request)
      const { statusCode, headers } = await client.answer({ timeoutMs: 5000 })
      assert.equal(statusCode, status)
      const waitSeconds = Number(headers['retry-after'])
      // Nobody is told to come back before the window is over.
      if (most > windowSeconds) {
        assert.ok(waitSeconds >= Math.floor(windowSeconds - (performance.now() - openedAt) / 1000), `${waitSeconds} s`)
      }
      told.push(waitSeconds)
      client.destroy()
    }
    const distinct = new Set(told)
    assert.ok(distinct.size >= 3, `told ${[...distinct].join(', ')} s`)
    for (const seconds of distinct) assert.ok(seconds >= least && seconds <= most, `${seconds} s`)
  })
}
