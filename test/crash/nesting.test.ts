/** Public methods called inside each other, and a server that is closed from within. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { child, sees, stopChild } from './child.ts'
import { assertOnce, onOwnServer } from './matrix.ts'
import { endings, nestings } from './nesting.ts'

after(stopChild)

for (const [name, { when, outcome, sees: expected }] of Object.entries(nestings)) {
  test(`L2, M12: ${name}: onClose runs once, and nobody else feels it`, () =>
    onOwnServer(async () => {
      const server = await child()
      await server.call('begin')
      await server.call('nest', name)
      const client = await server.open('/act', 'mallory')
      if (when === 'onClose') await client.sendClose(1000)
      else if (when === 'handler') await client.sendJson({ type: 'act', what: 'handler', ref: 1 })
      assert.equal(await server.alive(sees(client)), expected)
      await server.eventually(async () => assert.equal(await server.call('outcome'), outcome))
      // Reserved bits: ws answers it with an error of its own.
      await client.sendFrame({ rsv: 7 })
      client.destroy()
      await server.assertServes()
      await server.assertNothingLeft()
      await assertOnce(server)
    }))
}

for (const [name, { when, outcome, sees: expected }] of Object.entries(endings)) {
  test(`L2, M12: ${name}: it is closed, onClose runs once, and nothing is left`, () =>
    onOwnServer(async () => {
      const server = await child()
      await server.call('begin')
      await server.call('nest', name)
      const closed = server.closed()
      const client = await server.open('/act', 'mallory')
      if (when === 'onClose') await client.sendClose(1000)
      else if (when === 'handler') await client.sendJson({ type: 'act', what: 'handler', ref: 1 })
      assert.equal(await server.alive(sees(client)), expected)
      await server.eventually(async () => assert.equal(await server.call('outcome'), outcome))
      server.hangUp()
      await closed
      const held = await server.call<Record<string, number>>('held')
      assert.deepEqual(
        Object.entries(held).filter(([, size]) => size !== 0),
        []
      )
      await assertOnce(server)
      stopChild()
    }))
}
