/** A handler or `onClose` of the developer's that never settles: it is not kept, nor waited for, without end. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until, within } from '../support/wait.ts'
import { Guard, type GuardOptions, say } from './harness.ts'

const handlerTimeoutMs = 300
const never = (): Promise<never> => new Promise(() => {})

const kinds: Readonly<Record<string, GuardOptions>> = {
  'a handler': { handlers: { say: never } },
  'an onOpen': { onOpen: never },
  'an onClose': { onClose: never }
}

for (const [what, options] of Object.entries(kinds)) {
  test(`L2, P5: ${what} that never settles is let go of after handlerTimeoutMs`, async (t) => {
    const guard = await Guard.start(t, { ...options, handlerTimeoutMs })
    const { client } = await guard.connect()
    await client.sendJson(say('x'))
    await until(() => guard.runtime.registry.list[0]?.received === 1)
    client.reset()
    await until(() => guard.runtime.registry.size === 0)
    assert.equal(guard.held().closing, 1)
    // A shutdown that begins meanwhile waits for it, but not as long as it might.
    await within(guard.drain({ timeoutMs: 60_000 }), { timeoutMs: 10_000 })
    assert.ok(Object.values(guard.held()).every((size) => size === 0))
  })
}
