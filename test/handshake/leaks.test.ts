/** Threats H8 and H9 by the crowd: whatever was asked for, a socket on which an upgrade came does not stay. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { within } from '../support/wait.ts'
import { assertNoSockets, assertNothingHeld, listen } from './harness.ts'
import {
  allEnded,
  assertNoResources,
  closeMs,
  connectAll,
  crowd,
  endedVectors,
  handshakeTimeoutMs,
  leakApp,
  overMs,
  sendAll,
  statusesOf,
  stuckVectors
} from './leaks-harness.ts'

for (const vector of [...endedVectors, ...stuckVectors]) {
  test(`H8, H9: ${crowd} sockets, ${vector.name}: none is left`, async (t) => {
    const app = await leakApp({
      // Only the handshakes that are stuck need the deadline, nobody else shall.
      guard: { handshakeTimeoutMs: stuckVectors.includes(vector) ? handshakeTimeoutMs : 30_000 },
      ...(vector.name === 'half a head and silence' && { headersTimeout: handshakeTimeoutMs })
    })
    const clients = await connectAll(crowd, await listen(app), app.server)
    t.after(() => {
      for (const client of clients) client.destroy()
      return app.close()
    })
    await sendAll(clients, vector)
    await assertNoSockets(app, overMs)
    await assertNothingHeld(app)
    // The clients see it too: an end, or a reset.
    await allEnded(clients)
    for (const client of clients) assert.deepEqual(statusesOf(client), vector.answers)
    await within(app.close(), { timeoutMs: closeMs, what: 'app.close()' })
    await assertNoResources()
  })
}
