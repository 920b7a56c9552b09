/** Threat H10 by the crowd: a TCP reset at any stage ends that socket, and nothing else. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { frame, opcodes } from '../support/frames.ts'
import { captureLogs } from '../support/log-capture.ts'
import type { RawClient } from '../support/raw-client.ts'
import { connectionsOf, eventually, until, within } from '../support/wait.ts'
import { assertNothingHeld, goodHeaders, listen } from './harness.ts'
import { assertNoResources, closeMs, connectAll, leakApp, overMs, upgradeTo } from './leaks-harness.ts'

const resets = 100
/** All these hooks pend while their clients reset. */
const stuck = ['onRequest', 'preValidation', 'verify', 'authorize', 'data', 'preHandler']

interface Stage {
  readonly name: string
  /** Brings every client to the stage in which it resets. */
  readonly reach: (clients: readonly RawClient[], arrived: (count: number) => Promise<void>) => Promise<unknown>
}

const write = (clients: readonly RawClient[], bytes: Buffer | string): void => {
  for (const { socket } of clients) socket.write(bytes)
}

async function open(clients: readonly RawClient[], path = '/ws'): Promise<void> {
  write(clients, upgradeTo(path))
  for (const client of clients) assert.equal((await client.answer()).statusCode, 101)
}

const stages: readonly Stage[] = [
  { name: 'after connecting', reach: async () => {} },
  { name: 'after half of the head', reach: async (clients) => write(clients, upgradeTo('/ws').subarray(0, 50)) },
  {
    name: 'after half of the head, which has arrived',
    async reach(clients) {
      write(clients, upgradeTo('/ws').subarray(0, 50))
      await nextTurn()
      await nextTurn()
    }
  },
  { name: 'with the head', reach: async (clients) => write(clients, upgradeTo('/ws')) },
  { name: 'with the head of an upgrade that is refused', reach: async (clients) => write(clients, upgradeTo('/%')) },
  {
    name: 'during a refusal',
    async reach(clients) {
      write(clients, upgradeTo('/nope'))
      await nextTurn()
    }
  },
  {
    name: 'with a refusal unread',
    async reach(clients) {
      for (const client of clients) client.pause()
      write(clients, upgradeTo('/ws', { headers: { Origin: 'https://evil.example' } }))
      await nextTurn()
      await nextTurn()
    }
  },
  ...stuck.map((hook) => ({
    name: `while ${hook} is pending`,
    async reach(clients: readonly RawClient[], arrived: (count: number) => Promise<void>) {
      write(clients, upgradeTo(`/stuck/${hook}`))
      await arrived(clients.length)
    }
  })),
  {
    name: 'while a hook before ours is pending',
    async reach(clients, arrived) {
      write(clients, upgradeTo('/before'))
      await arrived(clients.length)
    }
  },
  { name: 'between the 101 and the first frame', reach: (clients) => open(clients) },
  {
    name: 'in the middle of a frame',
    async reach(clients) {
      await open(clients)
      write(clients, frame({ payload: 'x'.repeat(1_000) }).subarray(0, 500))
    }
  },
  {
    name: 'after our close frame',
    async reach(clients) {
      await open(clients, '/closing')
      for (const client of clients) await client.nextFrame({ opcode: opcodes.close })
    }
  },
  {
    name: 'after the close frame of a refusal',
    async reach(clients) {
      await open(clients, '/refused')
      for (const client of clients) await client.nextFrame({ opcode: opcodes.close })
    }
  }
]

/** Collects what would have ended the process. */
function catchUncaught(t: TestContext): unknown[] {
  const uncaught: unknown[] = []
  const note = (error: unknown): void => void uncaught.push(error)
  for (const event of ['uncaughtException', 'unhandledRejection', 'warning']) {
    process.on(event, note)
    t.after(() => process.off(event, note))
  }
  return uncaught
}

/** Somebody else: open since before the resets, and coming while they happen. */
async function assertServed(witness: RawClient, app: FastifyInstance, port: number): Promise<void> {
  await witness.sendFrame({ opcode: opcodes.ping, payload: 'still there?' })
  assert.equal((await witness.nextFrame({ opcode: opcodes.pong })).payload.toString(), 'still there?')
  const [other] = (await connectAll(1, port, app.server)) as [RawClient]
  assert.equal((await other.handshake({ path: '/ws', headers: goodHeaders('bob') })).statusCode, 101)
  other.destroy()
}

test(`H10: ${resets} resets at every stage: nothing is left, nothing is uncaught, everybody else is served`, async (t) => {
  const uncaught = catchUncaught(t)
  const logs = captureLogs()
  let arrivals = 0
  const app = await leakApp({ logger: logs.logger, onArrival: () => arrivals++ })
  app.wsRoute('/closing', { handler: (connection) => connection.close() })
  const port = await listen(app)
  const [witness] = (await connectAll(1, port, app.server)) as [RawClient]
  const all = [witness]
  t.after(() => {
    for (const client of all) client.destroy()
    return app.close()
  })
  assert.equal((await witness.handshake({ path: '/ws', headers: goodHeaders('alice') })).statusCode, 101)
  for (const { name, reach } of stages) {
    await t.test(name, async () => {
      const clients = await connectAll(resets, port, app.server)
      all.push(...clients)
      arrivals = 0
      await reach(clients, (count) => until(() => arrivals === count).then(() => {}))
      for (const client of clients) client.reset()
      await assertServed(witness, app, port)
      await eventually(async () => assert.equal(await connectionsOf(app.server), 1), { timeoutMs: overMs })
      await eventually(() => {
        const { handshakes, slots, connections, refused } = app.wsGuard.stats()
        assert.deepEqual(
          { handshakes, slots, connections, refused },
          { handshakes: 0, slots: 1, connections: 1, refused: 0 }
        )
      })
      assert.deepEqual(uncaught, [])
      // Nobody's error, so no line but the one of the refusal.
      const lines = logs.lines.filter(({ level, event }) => level >= 40 && event === undefined)
      assert.deepEqual(lines, [])
      logs.clear()
    })
  }
  witness.destroy()
  await assertNothingHeld(app)
  await within(app.close(), { timeoutMs: closeMs, what: 'app.close()' })
  await assertNoResources()
  assert.deepEqual(uncaught, [])
})
