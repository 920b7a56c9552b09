import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildApp } from '../support/app.ts'
import { jsonFrame } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { Target } from './harness.ts'

interface Costly {
  readonly target: Target
  readonly handledAt: number[]
}

async function startCostly(t: Parameters<typeof Target.start>[0], burst: number, perSecond: number): Promise<Costly> {
  const handledAt: number[] = []
  const target = await Target.start(t, {
    guard: { limits: { userMessages: { perSecond, burst } } },
    route: {
      handlers: {
        say: () => {},
        ask: {
          cost: 5,
          handler: () => {
            handledAt.push(performance.now())
            return { items: [] }
          }
        }
      }
    }
  })
  return { target, handledAt }
}

async function ask(client: RawClient, count: number): Promise<void> {
  await client.write(Buffer.concat(Array.from({ length: count }, () => jsonFrame({ type: 'ask', count: 1 }))))
}

test("R3: a handler's cost is taken from the budget that the user's connections share", async (t) => {
  const { target, handledAt } = await startCostly(t, 10, 0.01)
  const [first, second] = [await target.open(), await target.open()]
  await ask(first, 4)
  await until(() => target.logs.find('ws.rate_limited') !== undefined)
  assert.equal(handledAt.length, 2)
  await second.sendJson({ type: 'ask', count: 1, ref: 7 })
  assert.equal((await second.nextJson<{ code: string }>()).code, 'rate_limited')
  assert.equal(handledAt.length, 2)
})

test('R3: the cost holds over time too, whatever little is left when a message comes', async (t) => {
  const { target, handledAt } = await startCostly(t, 5, 20)
  const startedAt = performance.now()
  // One at once, the second on the next token: from then on four a second, not twenty.
  while (handledAt.length < 5) {
    const client = await target.open()
    const { length } = handledAt
    while (handledAt.length === length && target.app.wsGuard.connections > 0) {
      await ask(client, 1)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    client.reset()
    await until(() => target.app.wsGuard.connections === 0)
  }
  const tookMs = (handledAt[4] as number) - startedAt
  assert.ok(tookMs >= 3 * 250 - 50, `five handlers of cost 5 within ${tookMs} ms`)
})

test('P2: every open and close is logged, however many in a second; refusals are sampled', async (t) => {
  const target = await Target.start(t, {
    guard: { logSamplePerSecond: 1, limits: { connections: { perUser: 100 } } }
  })
  for (let at = 0; at < 30; at++) (await target.open()).reset()
  await until(() => target.logs.filter('ws.close').length === 30)
  assert.equal(target.logs.filter('ws.open').length, 30)
  const startedAt = performance.now()
  for (let at = 0; at < 30; at++) await target.knock('/echo', { Origin: 'https://evil.example' })
  const refused = target.logs.filter('ws.refused')
  const seconds = (performance.now() - startedAt) / 1000
  assert.ok(refused.length <= seconds + 1, `${refused.length} lines in ${seconds} s`)
})

test('L1, Z9: a topic of more than 256 characters is refused', async (t) => {
  const answers: boolean[] = []
  const target = await Target.start(t, {
    route: {
      onOpen: async (connection) => {
        for (const length of [257, 1_000_000, 256]) answers.push(await connection.subscribe('x'.repeat(length)))
      }
    }
  })
  await target.open()
  await until(() => answers.length === 3)
  assert.deepEqual(answers, [false, false, true])
  assert.equal(target.app.wsGuard.stats().topics, 1)
})

for (const timeWindow of ['0 s', '1 hs', '0', '1.5 s', '-1 s', '01 s', '']) {
  test(`R4, L4: limits.attempts.timeWindow '${timeWindow}' does not boot`, async () => {
    await assert.rejects(buildApp({ guard: { limits: { attempts: { timeWindow } } } }), {
      code: 'WSG_ERR_OPTION',
      message: /"limits\.attempts\.timeWindow" must be/
    })
  })
}

test('L4: the time windows that @fastify/rate-limit can read boot', async () => {
  for (const timeWindow of ['1 s', '500ms', '2 m', '1 h', '1 minute', '10 seconds', '3 hours', 1000]) {
    await (await buildApp({ guard: { limits: { attempts: { timeWindow } } } })).close()
  }
})

test('L4, A7: a source that auth.from names twice does not boot', async () => {
  await assert.rejects(buildApp({ guard: { auth: { from: ['header', 'header'] } } }), {
    code: 'WSG_ERR_OPTION',
    message: /"auth\.from" must be a list of different sources/
  })
})
