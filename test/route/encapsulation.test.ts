/** Threat L3 on the wire: scopes keep to themselves, and another @fastify/websocket is never beside the guard's. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import websocket from '@fastify/websocket'
import Fastify, { type FastifyInstance } from 'fastify'
import wsGuard from '../../lib/index.ts'
import { closeFrameOf, Target } from '../attack/harness.ts'
import { echo, origin } from '../support/app.ts'
import { until } from '../support/wait.ts'

const timeoutMs = 10_000
const handlers = {
  say: ({ text }: { text: string }, connection: { send(type: 'said', message: { text: string }): boolean }): void => {
    connection.send('said', { text })
  },
  ask: () => ({ items: [] })
}

test('L3: routes in encapsulated scopes, under prefixes, have their own limits, hooks and ends', async (t) => {
  const asked: string[] = []
  const target = await Target.start(t, {
    declare: (app) => {
      for (const [prefix, maxPayloadBytes] of [
        ['/small', 200],
        ['/large', 2_000]
      ] as const) {
        app.register(
          async (scope) => {
            scope.addHook('preHandler', async () => void asked.push(prefix))
            await scope.register(async (inner) => {
              inner.wsRoute('/:room', { contract: echo, handlers, limits: { maxPayloadBytes } })
            })
          },
          { prefix }
        )
      }
    }
  })
  const [small, large, outside] = [await target.open('/small/a'), await target.open('/large/a'), await target.open()]
  assert.deepEqual(asked, ['/small', '/large'])
  const long = { type: 'say', text: 'x'.repeat(1_000) }
  for (const client of [small, large, outside]) await client.sendJson(long)
  assert.equal((await closeFrameOf(small, timeoutMs)).code, 1009)
  for (const client of [large, outside]) assert.equal((await client.nextJson<typeof long>({ timeoutMs })).type, 'said')
  assert.equal(await target.app.wsGuard.disconnect({ route: '/large/:room' }), 1)
  assert.deepEqual(await closeFrameOf(large, timeoutMs), { code: 4003, reason: 'revoked' })
  large.halfClose()
  await until(() => target.app.wsGuard.connections === 1, { timeoutMs })
  await outside.sendJson(long)
  await outside.nextJson({ timeoutMs })
})

/** Options with which nothing would be bounded. */
const unsafe = { options: { maxPayload: 0, perMessageDeflate: true, skipUTF8Validation: true } }
const options = { origins: [origin], auth: false as const }

function emptyApp(t: TestContext): FastifyInstance {
  const app = Fastify() as unknown as FastifyInstance
  // One that did not boot rejects again when it is closed.
  t.after(() => app.close().catch(() => {}))
  return app
}

test('L3: @fastify/websocket with options of its own, before the guard, does not boot: the error says to remove it', async (t) => {
  const app = emptyApp(t)
  await app.register(websocket, unsafe)
  await assert.rejects(async () => void (await app.register(wsGuard, options)), {
    code: 'WSG_ERR_OPTION',
    message: /remove @fastify\/websocket, fastify-ws-guard registers it/
  })
})

test('L3: nor in a scope of its own, where the guard cannot see it but on the server', async (t) => {
  const app = emptyApp(t)
  app.register(async (scope) => void (await scope.register(websocket, unsafe)))
  await app.register(wsGuard, options)
  await assert.rejects(async () => void (await app.ready()), {
    code: 'WSG_ERR_OPTION',
    message: /another "upgrade" listener is on the server/
  })
})
