/** Everything at once with a store on a network, in an order that nobody thought of: what holds, holds whatever comes first. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { RawClient } from '../support/raw-client.ts'
import { eventually, within } from '../support/wait.ts'
import { bearer, eventsOf, seconds, tokenWith } from './credentials.ts'
import { Target, turns } from './harness.ts'
import { SlowStore } from './slow-store.ts'

const handshakes = 60
const atOnce = 12

/** mulberry32: the same numbers for the same seed. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

interface Flow {
  readonly target: Target
  readonly random: (below: number) => number
  /** Subjects of whom a revoke or block has resolved. */
  readonly gone: Set<string>
  /** What ran for one of them. */
  readonly wrong: string[]
  /** How often anything ran. */
  readonly ran: Map<string, number>
}

async function start(t: TestContext, seed: number): Promise<Flow> {
  const random = randomFrom(seed)
  const pause = (): Promise<void> => turns(random(8))
  const gone = new Set<string>()
  const wrong: string[] = []
  const ran = new Map<string, number>()
  const run = (what: string, { user }: { readonly user: unknown }): void => {
    const { sub } = user as { sub: string }
    ran.set(what, (ran.get(what) ?? 0) + 1)
    if (gone.has(sub)) wrong.push(`${what} of ${sub}`)
  }
  const target = await Target.start(t, {
    guard: {
      store: new SlowStore(pause),
      logSamplePerSecond: 10_000,
      auth: { from: ['header', 'message'], refresh: { perMinute: 100 } },
      limits: { attempts: { max: 10_000 } }
    },
    route: {
      authorize: async () => {
        await pause()
        return true
      },
      onOpen: async (connection) => {
        run('onOpen', connection)
        await pause()
      },
      handlers: {
        say: async (_, connection) => {
          run('say', connection)
          await pause()
        },
        ask: (_, connection) => {
          run('ask', connection)
          return { items: [] }
        }
      }
    }
  })
  return { target, random, gone, wrong, ran }
}

type End = (flow: Flow, sub: string, client: RawClient) => Promise<unknown>

const ends: readonly End[] = [
  async ({ target, gone }, sub) => {
    await target.app.wsGuard.revoke({ sub })
    gone.add(sub)
  },
  async ({ target, gone }, sub) => {
    await target.app.wsGuard.block({ sub }, { untilMs: Date.now() + 60_000 })
    gone.add(sub)
  },
  ({ target }, sub) => target.app.wsGuard.disconnect({ sub }),
  async (_flow, _sub, client) => client.reset(),
  (_flow, _sub, client) => client.sendClose(1000)
]

/** One client: comes in with a header or a message, talks, refreshes, and is ended in the middle of it. */
async function live(flow: Flow, index: number): Promise<void> {
  const { target, random } = flow
  const sub = `user-${index}`
  const token = tokenWith({ sub, sid: `session-${index % 3}` })
  const byMessage = random(2) === 1
  const client = await target.dial()
  const end = ends[index % ends.length] as End
  const ended = turns(random(60)).then(() => end(flow, sub, client))
  // Whom the end finds in the handshake may never get an answer.
  const answer = client
    .handshake({ path: '/echo', headers: bearer(byMessage ? undefined : token) })
    .catch(() => undefined)
  if ((await answer)?.statusCode === 101) {
    if (byMessage) await client.sendJson({ type: 'auth', token })
    for (let count = 0; count < 10; count++) {
      const messages = [
        { type: 'say', text: 'x' },
        { type: 'ask', count: 1, ref: count },
        { type: 'auth', token: tokenWith({ sub, exp: seconds(7200), jti: `token-${index}-${count}` }) }
      ]
      await client.sendJson(messages[random(messages.length)])
      await turns(random(6))
    }
  }
  await ended
  await turns(20)
  client.destroy()
}

/** Sizes of what must be empty once everybody has left; what was refused for later stays. */
function heldBy({ app }: Target): Record<string, number> {
  const kept = ['store.attempts', 'store.punished', 'store.revocations', 'store.blocks']
  const all = Object.entries(app.wsGuard.stats())
  return Object.fromEntries(all.filter(([name, size]) => size !== 0 && !kept.includes(name)))
}

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)

test(`Z4, Z8, P2, R2: ${handshakes} connections with a slow store, opened, refreshed and ended anyhow`, async (t) => {
  t.diagnostic(`SEED=${seed}`)
  const flow = await start(t, seed)
  const { target, wrong, ran } = flow
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < handshakes) await live(flow, next++)
  }
  await within(Promise.all(Array.from({ length: atOnce }, worker)), {
    timeoutMs: 60_000,
    what: `the flow (SEED=${seed})`
  })
  await eventually(() => assert.deepEqual(heldBy(target), {}), { timeoutMs: 10_000 })
  assert.deepEqual(wrong, [], `served after a revoke or block had resolved (SEED=${seed})`)
  for (const what of ['onOpen', 'say', 'ask']) assert.ok((ran.get(what) ?? 0) > 0, `${what} ran`)
  const ids = new Set(target.logs.filter('ws.open').map(({ connectionId }) => connectionId))
  assert.ok(ids.size > handshakes / 2, `${ids.size} connections (SEED=${seed})`)
  for (const id of ids) {
    const events = eventsOf(target.logs, ({ connectionId }) => connectionId === id)
    const story = `${events.join(', ')} (SEED=${seed})`
    assert.equal(events[0], 'ws.open', story)
    assert.equal(events.filter((event) => event.startsWith('ws.close')).length, 1, story)
    assert.match(String(events.at(-1)), /^ws\.close/, story)
  }
})
