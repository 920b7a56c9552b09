import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import jwt from '@fastify/jwt'
import Fastify, { type FastifyInstance } from 'fastify'
import wsGuard from '../../lib/index.ts'
import { injectWs } from '../../lib/testing.ts'
import { buildApp, echo, origin, secret, tokenFor } from '../support/app.ts'
import { connect } from '../support/raw-client.ts'
import { until, within } from '../support/wait.ts'

interface Stage {
  readonly app: FastifyInstance
  readonly order: string[]
  readonly work: { finish(): void }
}

/** An app with hooks of its own on both sides of the plugin, and a handler that runs until it is told to finish. */
async function stage(t: TestContext, timeoutMs: number): Promise<Stage> {
  const order: string[] = []
  let finish = (): void => {}
  const app = Fastify() as unknown as FastifyInstance
  app.addHook('onClose', async () => void order.push('added before'))
  await app.register(jwt, { secret })
  await app.register(wsGuard, { origins: [origin], auth: {}, shutdown: { timeoutMs } })
  app.addHook('onClose', async () => void order.push('added after'))
  app.wsRoute('/echo', {
    contract: echo,
    handlers: {
      say: async () => {
        order.push('started')
        await new Promise<void>((resolve) => {
          finish = resolve
        })
        order.push('finished')
      },
      ask: () => ({ items: [] })
    },
    onClose: () => void order.push('onClose')
  })
  t.after(() => {
    finish()
    return app.close()
  })
  return { app, order, work: { finish: () => finish() } }
}

/** Starts the handler and leaves. */
async function startAndLeave({ app, order }: Stage): Promise<void> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = await connect((app.server.address() as AddressInfo).port)
  const headers = { Origin: origin, Authorization: `Bearer ${tokenFor(app)}` }
  await client.handshake({ path: '/echo', headers })
  await client.sendJson({ type: 'say', text: 'x' })
  await until(() => order.includes('started'))
  client.reset()
  await until(() => order.includes('onClose'))
}

test("P5: a handler whose client has gone is waited for before the app's own onClose hooks run", async (t) => {
  const here = await stage(t, 30_000)
  await startAndLeave(here)
  const closed = here.app.close()
  // Whatever did not wait for it has run by then.
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.deepEqual(here.order, ['started', 'onClose'])
  here.work.finish()
  await within(closed)
  assert.deepEqual(here.order, ['started', 'onClose', 'finished', 'added after', 'added before'])
})

test('P5: the same of an app that never listened', async (t) => {
  const here = await stage(t, 30_000)
  const socket = await injectWs(here.app, '/echo', { contract: echo, token: tokenFor(here.app) })
  socket.send('say', { text: 'x' })
  await until(() => here.order.includes('started'))
  socket.terminate()
  await until(() => here.order.includes('onClose'))
  const closed = here.app.close()
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.deepEqual(here.order, ['started', 'onClose'])
  here.work.finish()
  await within(closed)
  assert.deepEqual(here.order, ['started', 'onClose', 'finished', 'added after', 'added before'])
})

test('P5: it is waited for also when something else has closed the server before Fastify does', async (t) => {
  const here = await stage(t, 30_000)
  here.app.addHook('preClose', async () => void here.app.server.close())
  await startAndLeave(here)
  const closed = here.app.close()
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.deepEqual(here.order, ['started', 'onClose'])
  here.work.finish()
  await within(closed)
  assert.deepEqual(here.order, ['started', 'onClose', 'finished', 'added after', 'added before'])
})

test('P5: a handler that never finishes is waited for as long as shutdown.timeoutMs, and no longer', async (t) => {
  const here = await stage(t, 300)
  await startAndLeave(here)
  const startedAt = performance.now()
  await within(here.app.close(), { timeoutMs: 5000 })
  assert.ok(performance.now() - startedAt >= 290)
  assert.deepEqual(here.order, ['started', 'onClose', 'added after', 'added before'])
})

test('P5, L4: a spread longer than the shutdown itself does not boot', async () => {
  await assert.rejects(buildApp({ guard: { shutdown: { timeoutMs: 500, spreadMs: 501 } } }), {
    code: 'WSG_ERR_OPTION',
    message: /"shutdown\.timeoutMs" \(500\) must be at least "shutdown\.spreadMs" \(501\)/
  })
  const app = await buildApp({ guard: { shutdown: { timeoutMs: 500, spreadMs: 500 } } })
  await app.close()
})
