/** A promise of somebody else's making, that settles twice or whose `then` returns nothing, as a handler's `authorize`. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { bearer, tokenWith } from './credentials.ts'
import { Target, turns } from './harness.ts'

type Settle = (value: boolean) => void

interface Asked {
  readonly client: RawClient
  /** How often the handler has run. */
  readonly runs: () => number
}

const reply = (ref: number): object => ({ type: 'reply', ref, data: { items: [] } })

/** `ask` is authorized by `then`. */
async function authorizedBy(t: TestContext, then: (resolve: Settle) => unknown): Promise<Asked> {
  let runs = 0
  const handler = (): { items: string[] } => {
    runs++
    return { items: [] }
  }
  const authorize = (): Promise<boolean> => ({ then }) as unknown as Promise<boolean>
  const target = await Target.start(t, {
    route: {
      handlers: { say: (_, connection) => void connection.send('said', { text: 'x' }), ask: { authorize, handler } }
    }
  })
  const client = await target.open('/echo', bearer(tokenWith()))
  return { client, runs: () => runs }
}

test('Z1, M11: an authorize that says yes twice runs the handler once, and is answered once', async (t) => {
  const { client, runs } = await authorizedBy(t, (resolve) => {
    resolve(true)
    resolve(true)
  })
  await client.sendJson({ type: 'ask', count: 1, ref: 1 })
  await client.sendJson({ type: 'say', text: 'x' })
  assert.deepEqual(await client.nextJson(), reply(1))
  assert.deepEqual(await client.nextJson(), { type: 'said', text: 'x' })
  await turns(20)
  assert.equal(runs(), 1)
  assert.equal(client.frames.length, 2)
})

test('Z1, M11: an authorize that says no and then yes runs nothing', async (t) => {
  const { client, runs } = await authorizedBy(t, (resolve) => {
    resolve(false)
    resolve(true)
  })
  await client.sendJson({ type: 'ask', count: 1, ref: 1 })
  assert.equal((await client.nextJson<{ code: string }>()).code, 'forbidden')
  await turns(20)
  assert.equal(runs(), 0)
})

test('Z1, M11: a then() that returns nothing is waited for, and what is behind it too', async (t) => {
  const waiting: Settle[] = []
  const { client, runs } = await authorizedBy(t, (resolve) => void waiting.push(resolve))
  await client.sendJson({ type: 'ask', count: 1, ref: 1 })
  await client.sendJson({ type: 'ask', count: 1, ref: 2 })
  await until(() => waiting.length === 1)
  await turns(50)
  assert.deepEqual(
    { runs: runs(), answers: client.frames.length, asked: waiting.length },
    { runs: 0, answers: 0, asked: 1 }
  )
  waiting[0]?.(true)
  assert.deepEqual(await client.nextJson(), reply(1))
  await until(() => waiting.length === 2)
  assert.equal(runs(), 1)
  waiting[1]?.(true)
  assert.deepEqual(await client.nextJson(), reply(2))
  assert.equal(runs(), 2)
})
