/** Revocations and a store that takes its time, hangs or fails: nobody is served while it is not known. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { deferred } from '../connection/harness.ts'
import { jsonFrame } from '../support/frames.ts'
import { handshakeRequest } from '../support/http-message.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until, within } from '../support/wait.ts'
import { bearer, networkDown, revoked, tokenWith, unavailable } from './credentials.ts'
import { closeFrameOf, Target, type TargetOptions, turns } from './harness.ts'
import { type Gate, SlowStore } from './slow-store.ts'

const say = (text: string): object => ({ type: 'say', text })

const kicks = {
  revoke: ({ app }: Target) => app.wsGuard.revoke({ sub: 'alice' }),
  block: ({ app }: Target) => app.wsGuard.block({ sub: 'alice' }, { untilMs: Date.now() + 60_000 })
}

for (const name of ['revoke', 'block'] as const) {
  const kick = kicks[name]

  test(`Z4, N2: ${name}() closes at once, and again who came in while the store was asked`, async (t) => {
    const store = new SlowStore()
    const said: string[] = []
    const handlers = { say: ({ text }: { text: string }) => void said.push(text), ask: () => ({ items: [] }) }
    const target = await Target.start(t, { guard: { store }, route: { handlers } })
    const early = await target.open('/echo', bearer(tokenWith()))
    const bob = await target.open('/echo', bearer(tokenWith({ sub: 'bob' })))
    const gate = store.hold(name, 'question')
    const kicked = kick(target)
    assert.deepEqual(await closeFrameOf(early), revoked)
    await early.sendJson(say('after it was called'))
    const late = await target.open('/echo', bearer(tokenWith()))
    gate.open()
    assert.equal(await within(kicked), 2)
    assert.deepEqual(await closeFrameOf(late), revoked)
    await late.sendJson(say('after it resolved'))
    await bob.sendJson(say('bob'))
    await until(() => said.length > 0)
    await turns(20)
    assert.deepEqual(said, ['bob'])
    assert.equal(await target.knock('/echo', bearer(tokenWith())), 401)
  })

  test(`Z4, N2: a store that rejects ${name}() later is told, and has kept nobody in`, async (t) => {
    const store = new SlowStore()
    const target = await Target.start(t, { guard: { store } })
    const client = await target.open('/echo', bearer(tokenWith()))
    const gate = store.hold(name, 'question')
    const kicked = kick(target)
    assert.deepEqual(await closeFrameOf(client), revoked)
    gate.fail(networkDown())
    await assert.rejects(kicked, { code: 'ECONNREFUSED' })
  })
}

interface Inside {
  readonly target: Target
  readonly client: RawClient
  /** What ran, in order: `open`, and the texts of messages. */
  readonly ran: string[]
  /** Holds the store's answer to the question after the 101. */
  readonly gate: Gate
}

interface Entrance {
  readonly path: '/echo' | '/raw'
  readonly guard?: TargetOptions['guard']
  /** Runs while `authorize` is asked, after the store's first answer. */
  readonly during?: (target: Target) => Promise<unknown>
}

/** Comes in with two messages behind the handshake; the store is asked once more, and does not answer. */
async function comeIn(t: TestContext, { path, guard, during }: Entrance): Promise<Inside> {
  const store = new SlowStore()
  const ran: string[] = []
  const held = deferred<Gate>()
  const authorize = async (): Promise<boolean> => {
    await during?.(target)
    held.resolve(store.hold('isRefused'))
    return true
  }
  const target: Target = await Target.start(t, {
    guard: { ...guard, store },
    route: {
      authorize,
      onOpen: () => void ran.push('open'),
      handlers: { say: ({ text }) => void ran.push(text), ask: () => ({ items: [] }) }
    },
    declare: (app) =>
      app.wsRoute('/raw', {
        authorize,
        handler: ({ socket }) => {
          ran.push('open')
          socket.on('message', (data) => ran.push(JSON.parse(String(data)).text))
        }
      })
  })
  const client = await target.dial()
  const request = handshakeRequest({ path, headers: bearer(tokenWith()) })
  await client.write(Buffer.concat([request, jsonFrame(say('one')), jsonFrame(say('two'))]))
  assert.equal((await client.answer()).statusCode, 101)
  const gate = await within(held.promise)
  await until(() => gate.held > 0)
  return { target, client, ran, gate }
}

for (const path of ['/echo', '/raw'] as const) {
  test(`Z4, M1: ${path} serves nobody before the store has answered after the 101, and loses nothing`, async (t) => {
    const { client, ran, gate } = await comeIn(t, { path })
    await client.sendJson(say('three'))
    await turns(50)
    assert.deepEqual(ran, [])
    gate.open()
    await until(() => ran.length >= 4)
    await client.sendJson(say('four'))
    await until(() => ran.length >= 5)
    assert.deepEqual(ran, ['open', 'one', 'two', 'three', 'four'])
  })

  for (const name of ['revoke', 'block'] as const) {
    test(`Z4: a ${name}() that was complete before the 101 lets nothing run on ${path}`, async (t) => {
      const during = async (target: Target): Promise<void> => assert.equal(await kicks[name](target), 0)
      const { target, client, ran, gate } = await comeIn(t, { path, during })
      await client.sendJson(say('three'))
      await turns(50)
      gate.open()
      assert.deepEqual(await closeFrameOf(client), revoked)
      await turns(20)
      assert.deepEqual(ran, [])
      assert.equal(target.closes.length, 0, 'what was never open is not closed')
    })
  }

  test(`Z4, N2: a store that does not answer after the 101 is 1013 on ${path}, and nothing has run`, async (t) => {
    const { target, client, ran, gate } = await comeIn(t, { path, guard: { handlerTimeoutMs: 300 } })
    assert.deepEqual(await closeFrameOf(client), unavailable)
    client.destroy()
    await until(() => target.app.wsGuard.connections === 0)
    gate.open()
    await turns(20)
    assert.deepEqual(ran, [])
  })

  test(`Z4, N2: a store that fails after the 101 is 1013 on ${path}, and nothing has run`, async (t) => {
    const { client, ran, gate } = await comeIn(t, { path })
    await turns(50)
    gate.fail(networkDown())
    assert.deepEqual(await closeFrameOf(client), unavailable)
    assert.deepEqual(ran, [])
  })

  test(`Z4, Z8: who is kicked, or gone, while the store is asked after the 101 was never open on ${path}`, async (t) => {
    const { target, client, ran, gate } = await comeIn(t, { path })
    assert.equal(await target.app.wsGuard.disconnect({ sub: 'alice' }), 1)
    assert.deepEqual(await closeFrameOf(client), revoked)
    client.destroy()
    await until(() => target.app.wsGuard.connections === 0)
    gate.open()
    await turns(20)
    assert.deepEqual(ran, [])
    const { slots, closing } = target.app.wsGuard.stats()
    assert.deepEqual({ slots, closing }, { slots: 0, closing: 0 })
  })

  test(`Z4, P5: a shutdown does not wait for the store's answer after the 101 on ${path}`, async (t) => {
    const guard = { shutdown: { timeoutMs: 6000 } }
    const { target, client, ran } = await comeIn(t, { path, guard })
    const closed = target.app.close()
    assert.equal((await closeFrameOf(client)).code, 1012)
    client.destroy()
    await within(closed, { timeoutMs: 3000 })
    assert.deepEqual(ran, [])
  })
}
