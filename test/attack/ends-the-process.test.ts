/** What nobody would catch, of a store or of what a handler throws: it would end the process, and everybody's connection. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { WsConnection } from '../../lib/connection/types.ts'
import { CloseError, MessageError } from '../../lib/errors.ts'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import { deferred } from '../connection/harness.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until, within } from '../support/wait.ts'
import { bearer, networkDown, tokenWith, unavailable } from './credentials.ts'
import { closeFrameOf, Target, type TargetOptions, turns } from './harness.ts'

// An error that nobody catches fails the test that runs: the runner sees to it.

/** A store in JavaScript, whose method was made async although it is not waited for. */
function rejecting(method: 'releaseSlot' | 'chargeUserBudget', done: () => void): MemoryStore {
  const store = new MemoryStore()
  const sync = store[method].bind(store) as (...values: unknown[]) => void
  const value = async (...values: unknown[]): Promise<never> => {
    sync(...values)
    done()
    throw networkDown()
  }
  return Object.defineProperty(store, method, { value })
}

test('L2, N2: a releaseSlot that rejects later costs nothing but its lease', async (t) => {
  let released = 0
  const store = rejecting('releaseSlot', () => released++)
  const target = await Target.start(t, { guard: { store } })
  const client = await target.open('/echo', bearer(tokenWith()))
  client.destroy()
  await until(() => released === 2, { what: 'the slots of the address and of the user' })
  await turns(20)
  assert.equal(target.app.wsGuard.stats().slots, 0)
  assert.equal(store.sizes().slots, 0)
  assert.equal(await target.knock('/echo', bearer(tokenWith())), 101)
})

test('L2, N2: a chargeUserBudget that rejects later ends that connection with 1013, and no other', async (t) => {
  let charged = 0
  const target = await Target.start(t, {
    guard: {
      store: rejecting('chargeUserBudget', () => charged++),
      limits: { userMessages: { perSecond: 9, burst: 9 } }
    },
    route: {
      handlers: {
        say: (_, connection) => void connection.send('said', { text: 'x' }),
        ask: { cost: 5, handler: () => ({ items: [] }) }
      }
    }
  })
  const bystander = await target.open('/echo', bearer(tokenWith({ sub: 'bob' })))
  const client = await target.open('/echo', bearer(tokenWith()))
  await client.sendJson({ type: 'ask', count: 1 })
  assert.deepEqual(await closeFrameOf(client), unavailable)
  await turns(20)
  assert.equal(charged, 1)
  await bystander.sendJson({ type: 'say', text: 'x' })
  assert.deepEqual(await bystander.nextJson(), { type: 'said', text: 'x' })
})

for (const [what, answer] of [
  ['no', async () => false],
  ['nothing, but fails', () => Promise.reject(networkDown())]
] as const) {
  test(`L2, N2: a takeUserBudget that says ${what} later lets no message through`, async (t) => {
    const store = Object.defineProperty(new MemoryStore(), 'takeUserBudget', { value: answer })
    const said: unknown[] = []
    const target = await Target.start(t, {
      guard: { store, limits: { userMessages: { perSecond: 9, burst: 9 } } },
      route: { handlers: { say: () => void said.push('said'), ask: () => ({ items: [] }) } }
    })
    const client = await target.open('/echo', bearer(tokenWith()))
    await client.sendJson({ type: 'say', text: 'x', ref: 1 })
    if (what === 'no') assert.equal((await client.nextJson<{ code: string }>()).code, 'rate_limited')
    else assert.deepEqual(await closeFrameOf(client), unavailable)
    assert.deepEqual(said, [])
  })
}

function fail(): never {
  throw new Error('looked at')
}

const unreadable = <T extends Error>(error: T, property: string): T =>
  Object.defineProperty(error, property, { get: fail })

class OwnMessageError extends MessageError {}
class OwnCloseError extends CloseError {}

const thrown: Readonly<Record<string, () => Error>> = {
  'a MessageError whose details throw': () => unreadable(new OwnMessageError('a', 'b'), 'details'),
  'a MessageError whose code throws': () => unreadable(new OwnMessageError('a', 'b'), 'code'),
  'a MessageError whose message throws': () => unreadable(new OwnMessageError('a', 'b'), 'message'),
  'a CloseError whose reason throws': () => unreadable(new OwnCloseError(4000, 'r'), 'reason'),
  'a CloseError whose closeCode throws': () => unreadable(new OwnCloseError(4000, 'r'), 'closeCode')
}

for (const [what, make] of Object.entries(thrown)) {
  const modes: Readonly<Record<string, () => undefined | Promise<never>>> = {
    throws: () => {
      throw make()
    },
    'rejects with': () => Promise.reject(make())
  }
  for (const [how, run] of Object.entries(modes)) {
    test(`M12, L2: a handler that ${how} ${what} is answered "internal" and reported, and all live`, async (t) => {
      const reported: unknown[] = []
      const target = await Target.start(t, {
        route: { handlers: { say: run, ask: () => ({ items: [] }) }, onError: (error) => void reported.push(error) }
      })
      const client = await target.open('/echo', bearer(tokenWith()))
      await client.sendJson({ type: 'say', text: 'x', ref: 1 })
      const { type, code, ref } = await client.nextJson<Record<string, unknown>>()
      assert.deepEqual({ type, code, ref }, { type: 'error', code: 'internal', ref: 1 })
      await client.sendJson({ type: 'ask', count: 1, ref: 2 })
      assert.deepEqual(await client.nextJson(), { type: 'reply', ref: 2, data: { items: [] } })
      assert.equal(reported.length, 1)
      assert.equal(target.logs.find('ws.handler_error')?.reason, 'handler')
    })

    test(`M12, L2: an onOpen that ${how} ${what} is 1011 and reported, and the others live`, async (t) => {
      const reported: unknown[] = []
      let opened = 0
      const target = await Target.start(t, {
        route: {
          onOpen: () => (opened++ === 0 ? undefined : run()),
          onError: (error) => void reported.push(error)
        }
      })
      const bystander = await target.open('/echo', bearer(tokenWith({ sub: 'bob' })))
      const client = await target.open('/echo', bearer(tokenWith()))
      assert.deepEqual(await closeFrameOf(client), { code: 1011, reason: 'internal' })
      await bystander.sendJson({ type: 'say', text: 'x' })
      assert.deepEqual(await bystander.nextJson(), { type: 'said', text: 'x' })
      assert.equal(reported.length, 1)
      assert.equal(target.logs.find('ws.handler_error')?.reason, 'onOpen')
    })
  }
}

/** Throws whatever is read of it; an AbortError would be told by its name. */
const proxy = (): Error => new Proxy(new Error('x'), { get: fail })

interface Touched {
  readonly target: Target
  readonly client: RawClient
  readonly connection: WsConnection
}

/** A connection whose signal was touched. */
async function touched(t: TestContext, route: TargetOptions['route']): Promise<Touched> {
  const opened = deferred<WsConnection>()
  const target = await Target.start(t, {
    route: { ...route, onOpen: (connection) => opened.resolve(connection as unknown as WsConnection) }
  })
  const client = await target.open('/echo', bearer(tokenWith()))
  const connection = await opened.promise
  assert.equal(connection.signal.aborted, false)
  return { target, client, connection }
}

async function stillServes(target: Target): Promise<void> {
  await turns(20)
  assert.equal(await target.knock('/echo', bearer(tokenWith({ sub: 'bob' }))), 101)
}

test('M12, L2: a handler that rejects after the end with what cannot be read ends nothing', async (t) => {
  const entered = deferred()
  const leave = deferred<never>()
  const { target, client, connection } = await touched(t, {
    handlers: {
      say: () => {
        entered.resolve()
        return leave.promise
      },
      ask: () => ({ items: [] })
    }
  })
  await client.sendJson({ type: 'say', text: 'x' })
  await within(entered.promise)
  connection.close()
  leave.reject(proxy())
  await stillServes(target)
})

test('M12, L2: an onClose that throws what cannot be read ends nothing', async (t) => {
  const closed = deferred()
  const { target, connection } = await touched(t, {
    onClose: () => {
      closed.resolve()
      throw proxy()
    }
  })
  connection.close()
  target.hangUp()
  await within(closed.promise)
  await stillServes(target)
})

test('M12, L2: an authorize asked again that rejects after the end with what cannot be read ends nothing', async (t) => {
  const entered = deferred()
  const leave = deferred<never>()
  let asked = 0
  const { target, connection } = await touched(t, {
    reauthorizeMs: 50,
    authorize: () => {
      if (asked++ !== 1) return true
      entered.resolve()
      return leave.promise
    }
  })
  await within(entered.promise)
  connection.close()
  leave.reject(proxy())
  await stillServes(target)
})
