/** What nobody would catch, and what would end the process. Each is tried in a process of its own in test/crash, too. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import { connectionsOf, eventually, until } from '../support/wait.ts'
import { bearer, tokenWith } from './credentials.ts'
import { Target, type TargetOptions, turns } from './harness.ts'

const fail = (): never => {
  throw new Error('of the developer')
}
const rejects = (): Promise<never> => Promise.reject(new Error('of the developer'))
const never = (): Promise<never> => new Promise(() => {})
/** Throws whatever is read of it. */
const unreadable = (): never => {
  throw new Proxy(new Error('x'), { get: fail })
}

async function statusOf(t: TestContext, options: TargetOptions): Promise<number> {
  const target = await Target.start(t, options)
  const status = await target.knock('/echo', bearer(tokenWith()))
  await turns(20)
  return status
}

test('L2: a bad frame after the developer has taken all listeners off ends that socket only', async (t) => {
  const target = await Target.start(t, { route: { onOpen: ({ socket }) => void socket.removeAllListeners() } })
  const client = await target.open('/echo', bearer(tokenWith()))
  await client.sendFrame({ masked: false, payload: 'x' })
  await client.serverEnd({ timeoutMs: 10_000 })
  client.destroy()
  assert.equal(await target.knock('/echo', bearer(tokenWith())), 101)
})

test('L2: a topics rule that rejects has not said yes, and is reported', async (t) => {
  let joined: boolean | undefined
  const target = await Target.start(t, {
    route: {
      topics: rejects as never,
      onOpen: async (connection) => {
        joined = await connection.subscribe('x')
      }
    }
  })
  await target.open('/echo', bearer(tokenWith()))
  await until(() => target.logs.find('ws.handler_error'))
  assert.equal(joined, false)
})

test('N2: a store whose attempts reject refuses with 503', async (t) => {
  const store = new MemoryStore()
  class Failing {
    incr = rejects
    child = (): Failing => this
  }
  Object.defineProperty(store, 'Attempts', { value: Failing })
  assert.equal(await statusOf(t, { guard: { store } }), 503)
})

test('L2: an auth.identity that rejects lets nobody in', async (t) => {
  const auth = { verify: () => ({ sub: 'alice' }), identity: rejects as never }
  assert.notEqual(await statusOf(t, { jwt: false, guard: { auth } }), 101)
})

test('H13, L2: a validator that throws is a 500', async (t) => {
  const schema = { querystring: { type: 'object' } }
  const server = { schemaController: { compilersFactory: { buildValidator: () => () => fail } } }
  assert.equal(await statusOf(t, { server: server as never, route: { schema } as never }), 500)
})

test('H13, L2: a validator whose error cannot be written to is a 500', async (t) => {
  const schema = { querystring: { type: 'object' } }
  const validate = (): object => ({ error: Object.freeze(new Error('x')) })
  const server = { schemaController: { compilersFactory: { buildValidator: () => () => validate } } }
  assert.equal(await statusOf(t, { server: server as never, route: { schema } as never }), 500)
})

test('H9, L2: a client that leaves while an onError hook never ends is not answered, and nothing is held', async (t) => {
  let waiting = 0
  const target = await Target.start(t, {
    declare: (app) => {
      app.addHook('onError', () => {
        waiting++
        return never()
      })
      app.wsRoute('/late', { preHandler: async () => fail(), handler() {} })
    }
  })
  const client = await target.dial()
  const answer = client.handshake({ path: '/late', headers: bearer(tokenWith()) }).catch(() => 'left')
  await until(() => waiting === 1)
  client.reset()
  assert.equal(await answer, 'left')
  await eventually(() => assert.equal(target.app.wsGuard.stats().handshakes, 0))
  await turns(20)
})

test('H9, L2: an onError hook that never ends is a 503', async (t) => {
  const target = await Target.start(t, {
    guard: { handshakeTimeoutMs: 300 },
    declare: (app) => {
      app.addHook('onError', never)
      app.wsRoute('/late', { preHandler: async () => fail(), handler() {} })
    }
  })
  assert.equal(await target.knock('/late', bearer(tokenWith())), 503)
  await turns(20)
})

test('H10, L2: routing that throws what cannot be read destroys the socket', async (t) => {
  const target = await Target.start(t, { server: { genReqId: unreadable } })
  const client = await target.dial()
  await assert.rejects(client.handshake({ path: '/echo', headers: bearer(tokenWith()) }))
  await eventually(async () => assert.equal(await connectionsOf(target.app.server), 0))
})

test('L2: stats() leaves out what a store cannot tell at once', async (t) => {
  const store = Object.defineProperty(new MemoryStore(), 'sizes', { value: rejects })
  const target = await Target.start(t, { guard: { store } })
  assert.equal(target.app.wsGuard.stats().connections, 0)
  await assert.rejects(target.app.wsGuard.disconnect(undefined as never), { code: 'WSG_ERR_OPTION' })
  await assert.rejects(target.app.wsGuard.revoke(undefined as never), { code: 'WSG_ERR_OPTION' })
  await turns(20)
})
