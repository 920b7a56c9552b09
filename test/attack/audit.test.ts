/** The log tells what happened, in the order in which it did, and says why whoever was refused was refused. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import { deferred } from '../connection/harness.ts'
import { until, within } from '../support/wait.ts'
import { bearer, eventsOf, networkDown, seconds, tokenWith, unavailable } from './credentials.ts'
import { closeFrameOf, Target, turns } from './harness.ts'
import { SlowStore } from './slow-store.ts'

const longer = (): string => tokenWith({ exp: seconds(7200) })

for (const how of ['leaves', 'is kicked'] as const) {
  test(`P2, Z5: nothing is told of a refresh once who asked for it ${how}`, async (t) => {
    const store = new SlowStore()
    const target = await Target.start(t, { guard: { store } })
    const client = await target.open('/echo', bearer(tokenWith()))
    await until(() => eventsOf(target.logs).includes('ws.open'))
    const gate = store.hold('isRefused')
    await client.sendJson({ type: 'auth', token: longer() })
    await until(() => gate.held > 0)
    if (how === 'leaves') client.destroy()
    else {
      await target.app.wsGuard.disconnect({ sub: 'alice' })
      await closeFrameOf(client)
      gate.open()
      await turns(20)
      client.destroy()
    }
    await until(() => target.logs.find('ws.close') !== undefined)
    gate.open()
    await turns(20)
    const reason = how === 'leaves' ? '' : ':revoked'
    assert.deepEqual(eventsOf(target.logs), ['ws.open', `ws.close${reason}`])
    const { subjects, sessions, tokens } = target.app.wsGuard.stats()
    assert.deepEqual({ subjects, sessions, tokens }, { subjects: 0, sessions: 0, tokens: 0 })
  })
}

for (const store of [new MemoryStore(), new SlowStore()]) {
  test(`P2, Z4: who was revoked in their handshake is opened, refused and closed, in this order (${store.constructor.name})`, async (t) => {
    const entered = deferred()
    const leave = deferred()
    const authorize = async (): Promise<boolean> => {
      entered.resolve()
      await leave.promise
      return true
    }
    const target = await Target.start(t, { guard: { store }, route: { authorize } })
    const opening = target.open('/echo', bearer(tokenWith()))
    await within(entered.promise)
    await target.app.wsGuard.revoke({ sub: 'alice' })
    leave.resolve()
    const client = await opening
    assert.equal((await closeFrameOf(client)).code, 4003)
    client.destroy()
    await until(() => target.logs.find('ws.close') !== undefined)
    assert.deepEqual(eventsOf(target.logs), ['ws.open', 'ws.auth_failed:revoked', 'ws.close:revoked'])
  })
}

function fail(): never {
  throw new Error('looked at')
}

const unwritable: Readonly<Record<string, () => Error>> = {
  'that throws whatever is read of it': () => new Proxy(new Error('x'), { get: fail }),
  'with a property that throws': () => Object.defineProperty(new Error('x'), 'model', { enumerable: true, get: fail })
}

for (const [what, make] of Object.entries(unwritable)) {
  test(`P2, P3: an error ${what} costs its line the error, not the line`, async (t) => {
    const target = await Target.start(t, {
      route: {
        handlers: {
          say: () => {
            throw make()
          },
          ask: () => Promise.reject(make())
        }
      }
    })
    const client = await target.open('/echo', bearer(tokenWith()))
    for (const message of [
      { type: 'say', text: 'x' },
      { type: 'ask', count: 1 }
    ]) {
      await client.sendJson(message)
      assert.equal((await client.nextJson<{ code: string }>()).code, 'internal')
      const line = target.logs.filter('ws.handler_error').at(-1)
      assert.deepEqual([line?.reason, line?.sub, line?.route], ['handler', 'alice', '/echo'])
      assert.equal(typeof line?.connectionId, 'string')
      assert.equal(line?.err, undefined)
      target.logs.clear()
    }
  })
}

test('P2, Z5: a refresh that is refused is told: it expires earlier, or there are too many', async (t) => {
  const target = await Target.start(t, { guard: { auth: { refresh: { perMinute: 2 } } } })
  const client = await target.open('/echo', bearer(tokenWith()))
  const refused = async (token: string): Promise<unknown> => {
    await client.sendJson({ type: 'auth', token })
    return (await client.nextJson<{ code: string }>()).code
  }
  assert.equal(await refused(tokenWith({ exp: seconds(60) })), 'forbidden')
  await client.sendJson({ type: 'auth', token: longer() })
  assert.equal((await client.nextJson<{ type: string }>()).type, 'auth_ok')
  assert.equal(await refused(longer()), 'rate_limited')
  const events = [
    'ws.open',
    'ws.auth_failed:refresh_expires_earlier',
    'ws.refreshed:auth',
    'ws.auth_failed:refresh_limited'
  ]
  assert.deepEqual(eventsOf(target.logs), events)
  for (const line of target.logs.filter('ws.auth_failed')) assert.equal(line.sub, 'alice')
})

interface Down {
  /** What the store is down for from then on, by whom. */
  readonly when: 'first message' | 'after the 101' | 'refresh'
  readonly method: 'isRefused' | 'acquireSlot'
  readonly isAsync: boolean
}

const downs: readonly Down[] = [true, false].flatMap((isAsync) => [
  { when: 'first message', method: 'isRefused', isAsync },
  { when: 'first message', method: 'acquireSlot', isAsync },
  { when: 'after the 101', method: 'isRefused', isAsync },
  { when: 'refresh', method: 'isRefused', isAsync }
])

for (const { when, method, isAsync } of downs) {
  const how = isAsync ? 'rejects' : 'throws'
  test(`P2, N2: a store whose ${method} ${how}, ${when}, is told with its error code`, async (t) => {
    const store = new MemoryStore()
    const own = store[method].bind(store) as (...values: unknown[]) => boolean
    let isDown = false
    const value = (...values: unknown[]): boolean | Promise<never> => {
      if (!isDown) return own(...values)
      if (isAsync) return Promise.reject(networkDown())
      throw networkDown()
    }
    Object.defineProperty(store, method, { value })
    const authorize = (): boolean => {
      isDown ||= when === 'after the 101'
      return true
    }
    const target = await Target.start(t, {
      guard: { store, auth: { from: ['header', 'message'] } },
      route: { authorize }
    })
    const client = await target.open('/echo', bearer(when === 'first message' ? undefined : tokenWith()))
    if (when !== 'after the 101') {
      isDown = true
      await client.sendJson({ type: 'auth', token: longer() })
    }
    assert.deepEqual(await closeFrameOf(client), unavailable)
    client.destroy()
    await until(() => target.logs.find('ws.close') !== undefined)
    assert.deepEqual(eventsOf(target.logs), ['ws.open', 'ws.auth_failed:unavailable', 'ws.close:unavailable'])
    assert.equal(target.logs.find('ws.auth_failed')?.errorCode, 'ECONNREFUSED')
  })
}

for (const [how, data] of [
  ['throws', fail],
  ['rejects', async () => fail()]
] as const) {
  test(`P2, M12: a data that ${how} after the first message is told as what it is`, async (t) => {
    const target = await Target.start(t, {
      guard: { auth: { from: ['message'] } },
      route: { data: data as () => undefined }
    })
    const client = await target.open('/echo', bearer())
    await client.sendJson({ type: 'auth', token: tokenWith() })
    assert.deepEqual(await closeFrameOf(client), { code: 1011, reason: 'internal' })
    assert.deepEqual(
      target.logs.filter('ws.handler_error').map(({ reason }) => reason),
      ['data']
    )
  })
}

for (const how of ['leaves', 'is kicked'] as const) {
  test(`P2, A1: who ${how} while the store is asked about a first message is asked nothing more`, async (t) => {
    const store = new SlowStore()
    const asked: string[] = []
    const target = await Target.start(t, {
      guard: { store, auth: { from: ['message'], messageTimeoutMs: 1000 } },
      route: {
        authorize: () => {
          asked.push('authorize')
          return true
        },
        data: () => void asked.push('data')
      }
    })
    const client = await target.open('/echo', bearer())
    const gate = store.hold('isRefused')
    await client.sendJson({ type: 'auth', token: tokenWith() })
    await until(() => gate.held > 0)
    if (how === 'is kicked') await target.app.wsGuard.disconnect({ ip: '127.0.0.1' })
    client.destroy()
    await until(() => target.logs.find('ws.close') !== undefined)
    store.release('isRefused')
    gate.open()
    await turns(20)
    assert.deepEqual(asked, [])
    assert.match(String(eventsOf(target.logs).at(-1)), /^ws\.close/)
    const { slots, unauthenticated, subjects, 'store.slots': stored } = target.app.wsGuard.stats()
    assert.deepEqual(
      { slots, unauthenticated, subjects, stored },
      { slots: 0, unauthenticated: 0, subjects: 0, stored: 0 }
    )
  })
}

test('P2: a wall clock that was set back makes no connection shorter than none', async (t) => {
  const target = await Target.start(t)
  const client = await target.open('/echo', bearer(tokenWith()))
  const real = Date.now
  t.mock.method(Date, 'now', () => real() - 3_600_000)
  client.destroy()
  const line = await until(() => target.logs.find('ws.close'))
  assert.ok((line.ms as number) >= 0 && (line.ms as number) < 60_000, String(line.ms))
})
