import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyBaseLogger } from 'fastify'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import { origin } from '../support/app.ts'
import { until, within } from '../support/wait.ts'
import type { TargetOptions } from './harness.ts'
import { closeFrameOf, Target } from './harness.ts'

// An error that nobody catches fails the test that runs: the runner sees to it.

class Down extends MemoryStore {
  readonly #failsAt: number
  #calls = 0

  constructor(failsAt: number) {
    super()
    this.#failsAt = failsAt
  }

  #fail(): void {
    if (++this.#calls === this.#failsAt) throw new Error('the store is down')
  }

  override takeUserBudget(...values: Parameters<MemoryStore['takeUserBudget']>): boolean {
    this.#fail()
    return super.takeUserBudget(...values)
  }

  override chargeUserBudget(...values: Parameters<MemoryStore['chargeUserBudget']>): void {
    this.#fail()
    super.chargeUserBudget(...values)
  }
}

for (const [what, failsAt] of [
  ['the message', 1],
  ["its handler's cost", 2]
] as const) {
  test(`R3, N2: a store that fails when ${what} is charged ends that connection with 1013`, async (t) => {
    let handled = 0
    const target = await Target.start(t, {
      guard: { store: new Down(failsAt), limits: { userMessages: { perSecond: 10, burst: 10 } } },
      route: {
        handlers: {
          say: () => void handled++,
          ask: {
            cost: 5,
            handler: () => {
              handled++
              return { items: [] }
            }
          }
        }
      }
    })
    const client = await target.open()
    await client.sendJson({ type: 'ask', count: 1, ref: 1 })
    assert.deepEqual(await closeFrameOf(client), { code: 1013, reason: 'unavailable' })
    assert.equal(handled, 0)
    const next = await target.open()
    await next.sendJson({ type: 'ask', count: 1, ref: 2 })
    assert.deepEqual(await next.nextJson(), { type: 'reply', ref: 2, data: { items: [] } })
  })
}

test('Z1, A12: a reauthorize that never settles ends with 1013 after handlerTimeoutMs', async (t) => {
  let asked = 0
  const target = await Target.start(t, {
    guard: { handlerTimeoutMs: 200 },
    route: {
      reauthorizeMs: 50,
      authorize: () => (asked++ === 0 ? true : new Promise(() => {}))
    }
  })
  const client = await target.open()
  assert.deepEqual(await closeFrameOf(client), { code: 1013, reason: 'unavailable' })
  assert.equal(asked, 2)
})

test('Z1: a reauthorize that answers in time, again and again, ends nobody', async (t) => {
  let asked = 0
  const target = await Target.start(t, {
    guard: { handlerTimeoutMs: 100 },
    route: {
      // Later than the time that an answer has: a deadline left behind would end it in between.
      reauthorizeMs: 500,
      authorize: async () => {
        asked++
        return true
      }
    }
  })
  await target.open()
  await until(() => asked >= 3, { timeoutMs: 10_000 })
  assert.equal(target.app.wsGuard.connections, 1)
})

function fail(): never {
  throw new Error('looked at')
}

/** Throws whatever is done with it. */
const untouchable = new Proxy(
  {},
  {
    get: fail,
    has: fail,
    getPrototypeOf: fail,
    ownKeys: fail,
    getOwnPropertyDescriptor: fail,
    set: fail,
    defineProperty: fail
  }
)

const hostile: Readonly<Record<string, unknown>> = {
  'a code without a prototype': { code: Object.create(null) },
  'a getter that throws': {
    get code(): never {
      return fail()
    }
  },
  'a Proxy that throws': untouchable,
  undefined: undefined,
  null: null,
  'a symbol': Symbol('thrown')
}

for (const [name, thrown] of Object.entries(hostile)) {
  test(`A5, A12: auth.verify that rejects with ${name} is 503, and 1013 in the first message`, async (t) => {
    const target = await Target.start(t, {
      guard: { auth: { from: ['header', 'message'], verify: () => Promise.reject(thrown) } }
    })
    assert.equal(await target.knock('/echo', { Origin: origin, Authorization: 'Bearer any' }), 503)
    const client = await target.open('/echo', { Origin: origin })
    await client.sendJson({ type: 'auth', token: 'any' })
    assert.deepEqual(await closeFrameOf(client), { code: 1013, reason: 'unavailable' })
  })
}

const unreadable = Object.defineProperty(new Error('x'), 'message', { get: fail })
const errors: Readonly<Record<string, unknown>> = {
  ...hostile,
  'an Error whose message throws': unreadable,
  'an Error whose stack throws': Object.defineProperty(new Error('x'), 'stack', { get: fail })
}

for (const [name, thrown] of Object.entries(errors)) {
  test(`M12, L2: a handler, onOpen, onClose, authorize and data that throw ${name} end nothing but their own`, async (t) => {
    let closes = 0
    let closed = 0
    const target = await Target.start(t, {
      route: {
        onClose: () => {
          closes++
          throw thrown
        },
        handlers: {
          say: () => {
            throw thrown
          },
          ask: () => Promise.reject(thrown)
        }
      },
      declare: (app) => {
        app.wsRoute('/raw', {
          handler: () => Promise.reject(thrown),
          onClose: () => {
            closed++
            return Promise.reject(thrown)
          }
        })
        app.wsRoute('/locked', { handler: () => {}, authorize: () => Promise.reject(thrown) })
        app.wsRoute('/dataless', { handler: () => {}, data: () => Promise.reject(thrown) })
      }
    })
    const client = await target.open()
    for (const message of [
      { type: 'say', text: 'x', ref: 1 },
      { type: 'ask', count: 1, ref: 1 }
    ]) {
      await client.sendJson(message)
      const { code, ref } = await client.nextJson<{ code: string; ref: number }>()
      assert.deepEqual({ code, ref }, { code: 'internal', ref: 1 })
    }
    assert.equal((await closeFrameOf(await target.open('/raw'))).code, 1011)
    for (const path of ['/locked', '/dataless']) {
      const answer = await (await target.dial()).handshake({ path, headers: target.headers() })
      assert.deepEqual(answer.json(), { statusCode: 500, error: 'Internal Server Error', code: 'internal' })
    }
    target.hangUp()
    await until(() => closes === 1 && closed === 1)
    await within(target.app.close(), { timeoutMs: 10_000 })
    assert.equal(closes, 1)
  })
}

function failingLogger(): FastifyBaseLogger {
  const quiet = (): void => {}
  // What Fastify itself writes about requests has to pass: it would not survive it.
  const info = (fields: unknown): void => {
    if (Object.hasOwn(Object(fields), 'event')) fail()
  }
  const levels = { fatal: fail, error: fail, warn: fail, info, debug: quiet, trace: quiet, silent: quiet }
  return { ...levels, level: 'info', child: failingLogger }
}

test('P2, L2: a logger that fails costs its lines, and nothing else', async (t) => {
  const server: TargetOptions['server'] = { loggerInstance: failingLogger() }
  let opened = 0
  const target = await Target.start(t, {
    server,
    route: {
      onOpen: () => void opened++,
      handlers: {
        say: (_message, connection) => connection.close(99_999, 'x'.repeat(500)),
        ask: () => fail()
      }
    },
    declare: (app) =>
      app.wsRoute('/locked', {
        handler: () => {},
        authorize: () => fail()
      })
  })
  const lost = await target.open()
  await lost.sendJson({ type: 'ask', count: 1, ref: 1 })
  assert.equal((await lost.nextJson<{ code: string }>()).code, 'internal')
  lost.reset()
  await until(() => target.closes.length === 1)
  const badCode = await target.open()
  await badCode.sendJson({ type: 'say', text: 'x' })
  assert.equal((await closeFrameOf(badCode)).code, 1011)
  assert.equal(await target.knock('/echo', { Origin: 'https://evil.example' }), 403)
  assert.equal(await target.knock('/locked'), 500)
  target.hangUp()
  await until(() => target.closes.length === opened)
  await within(target.app.close(), { timeoutMs: 10_000 })
  assert.equal(opened, 2)
})
