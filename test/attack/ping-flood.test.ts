/** Pings and pongs without end. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { WsConnection } from '../../lib/connection/types.ts'
import { frame, opcodes } from '../support/frames.ts'
import { until } from '../support/wait.ts'
import { Target } from './harness.ts'

/** The threat asks for a second; a machine with other things to do has five. */
const soonMs = 5_000
const patient = { timeoutMs: 10_000 }
const text = 'x'.repeat(5_000)

for (const name of ['ping', 'pong'] as const) {
  for (const path of ['/echo', '/raw']) {
    test(`R6: who sends 50 ${name}s in each turn is gone soon, and its user is told once (${path})`, async (t) => {
      const target = await Target.start(t, { declare: (app) => app.wsRoute('/raw', { handler() {} }) })
      const bystander = await target.open('/raw', target.headers('bob'))
      const client = await target.open(path)
      const flood = Buffer.concat(Array.from({ length: 50 }, () => frame({ opcode: opcodes[name] })))
      const startedAt = performance.now()
      while (target.app.wsGuard.connections > 1) {
        if (client.socket.writable) client.socket.write(flood)
        await nextTurn()
        assert.ok(performance.now() - startedAt < soonMs, `not gone within ${soonMs} ms`)
      }
      await bystander.sendFrame({ opcode: opcodes.ping, payload: 'here' })
      assert.equal((await bystander.nextFrame(patient)).payload.toString(), 'here')
      const lines = target.logs.filter('ws.close')
      assert.deepEqual(
        lines.map(({ cause }) => cause),
        ['rate_limited']
      )
      assert.deepEqual(
        target.logs.filter('ws.rate_limited').map(({ reason }) => reason),
        ['closed']
      )
      await until(() => target.app.wsGuard.stats().slots === 1, patient)
    })
  }
}

test('R6: who does not read has so many pongs waiting, and no more, whatever its pings cost', async (t) => {
  let connection: WsConnection | undefined
  const target = await Target.start(t, {
    guard: {
      limits: {
        // So that nothing but the pongs can end it.
        controlFrames: { perSecond: 100_000, burst: 100_000 },
        sendBuffer: { softBytes: 500_000, hardBytes: 100_000_000 }
      }
    },
    route: {
      onOpen: (opened) => {
        connection = opened as unknown as WsConnection
      }
    }
  })
  const client = await target.open()
  client.pause()
  const { socket, send } = await until(() => connection && { ...connection, ...binding(connection) })
  // Until the kernel takes no more.
  await until(async () => {
    for (let count = 0; count < 100 && send('said', { text }); count++) {}
    await nextTurn()
    return socket.bufferedAmount > 500_000
  }, patient)
  const ping = frame({ opcode: opcodes.ping })
  for (let count = 1; count <= 16; count++) await client.write(ping)
  await until(() => (socket as unknown as { _pendingAutoPongs: number })._pendingAutoPongs === 16, patient)
  assert.equal(connection?.state, 'open')
  await client.write(ping)
  await until(() => target.closes.length === 1, patient)
  assert.deepEqual(target.closes, [{ code: 1006, reason: '', cause: 'rate_limited' }])
  await until(() => target.app.wsGuard.stats().bufferedBytes === 0)
})

function binding(connection: WsConnection): Pick<WsConnection, 'socket' | 'send'> {
  return { socket: connection.socket, send: connection.send.bind(connection) as WsConnection['send'] }
}
