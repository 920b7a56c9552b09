/** Threats H8 and P5 by the crowd: `app.close()` ends in time and leaves nothing, whatever is under way. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until, within } from '../support/wait.ts'
import { assertNothingHeld, goodHeaders, listen } from './harness.ts'
import {
  allEnded,
  assertNoResources,
  beginAll,
  connectAll,
  crowd,
  endedVectors,
  leakApp,
  sendAll,
  statusesOf,
  stuckVectors,
  upgradeTo,
  type Vector
} from './leaks-harness.ts'

const shutdownMs = 300
/** Beyond `shutdown.timeoutMs`: what a busy machine needs to destroy the crowd. */
const slackMs = 1_500
/** No deadline but the shutdown's. */
const guard = { handshakeTimeoutMs: 30_000, closeTimeoutMs: 30_000, shutdown: { timeoutMs: shutdownMs } }

const silent: Vector = { name: 'nothing at all', bytes: Buffer.alloc(0), answers: [], fin: 'none' }
const quiet = [silent, ...endedVectors].map((vector): Vector => ({ ...vector, fin: 'none' }))

for (const vector of [...quiet, ...stuckVectors]) {
  test(`H8, P5: app.close() while ${crowd} sockets are under way, ${vector.name}`, async (t) => {
    let hanging = 0
    const app = await leakApp({ guard, onArrival: () => hanging++ })
    const clients = await connectAll(crowd, await listen(app), app.server)
    t.after(() => {
      for (const client of clients) client.destroy()
      return app.close()
    })
    await sendAll(clients, vector)
    if (stuckVectors.includes(vector)) await until(() => hanging === crowd)
    await within(app.close(), { timeoutMs: shutdownMs + slackMs, what: 'app.close()' })
    await assertNothingHeld(app)
    await allEnded(clients)
    await assertNoResources()
  })
}

test(`P5: ${crowd} upgrades during the drain are refused, and their sockets do not hold it`, async (t) => {
  const app = await leakApp({ guard: { shutdown: { timeoutMs: 10_000 } } })
  const [holder, ...clients] = await connectAll(1 + crowd, await listen(app), app.server)
  t.after(() => {
    for (const client of [holder, ...clients]) client?.destroy()
    return app.close()
  })
  const complete = beginAll(clients, { name: 'during the drain', bytes: upgradeTo('/ws'), answers: [503] })
  assert.equal((await holder?.handshake({ path: '/ws', headers: goodHeaders('alice') }))?.statusCode, 101)
  const closed = app.close()
  await holder?.nextFrame({ opcode: 8 })
  await sendAll(clients, complete)
  await allEnded(clients)
  for (const client of clients) assert.deepEqual(statusesOf(client), [503])
  await holder?.sendClose(1012)
  holder?.halfClose()
  await within(closed, { timeoutMs: slackMs, what: 'app.close()' })
  await assertNothingHeld(app)
  await assertNoResources()
})
