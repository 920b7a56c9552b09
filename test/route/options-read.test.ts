/** Options are the developer's own objects, and those may be anything that can be read. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import wsGuard from '../../lib/index.ts'

type Options = Record<string, unknown>

const base = { origins: false, auth: false }

function withGetter(name: string, get: () => unknown): Options {
  return Object.defineProperty({}, name, { enumerable: true, get })
}

const angry = (): never => {
  throw new RangeError('the getter throws')
}

async function boot(plugin: Options, route: Options): Promise<FastifyInstance> {
  const app = Fastify() as unknown as FastifyInstance
  try {
    await app.register(wsGuard, plugin as never)
    app.wsRoute('/', route as never)
    await app.ready()
  } finally {
    await app.close()
  }
  return app
}

test('L4: a getter that throws is a wrong option of the plugin, and is named', async () => {
  const given = Object.defineProperties({ ...base }, { hosts: { enumerable: true, get: angry } })
  const expected = { code: 'WSG_ERR_OPTION', message: /option "hosts" cannot be read/ }
  await assert.rejects(boot(given, { handler: () => {} }), expected)
})

test('L4: a getter that throws inside a group of a route is named with its path', async () => {
  const given = { handler: () => {}, limits: withGetter('topics', angry) }
  const expected = { code: 'WSG_ERR_OPTION', message: /wsRoute\('\/'\): option "limits\.topics" cannot be read/ }
  await assert.rejects(boot(base, given), expected)
})

test('L4: an option is read once, so that what was checked is what holds', async () => {
  const values: unknown[] = [7, 0, -1, Number.NaN]
  const app = await boot(base, { handler: () => {}, limits: withGetter('topics', () => values.shift()) })
  assert.equal(app.wsGuard.routes()[0]?.limits.topics, 7)
})
