/** Pings and pongs (RFC 6455 sections 5.5.2 and 5.5.3), up to what the default bounds allow and above it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { closeFrame, frame, opcodes } from '../support/frames.ts'
import { Bench, type Ending, message, ping, pong, protocolError, routes } from './harness.ts'

/** The defaults of `limits.controlFrames`. */
const pendingPongs = 16
const burst = 20

const payloads: Readonly<Record<string, Buffer>> = {
  'without a payload': Buffer.alloc(0),
  'of 1 byte': Buffer.from('x'),
  'of 125 bytes': Buffer.alloc(125, 'p'),
  'of bytes that are no text': Buffer.from('00fffe80c328', 'hex'),
  'of 125 zeros': Buffer.alloc(125)
}

const times = (count: number, make: (at: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, at) => make(at)))

for (const route of routes) {
  test(`M10: a ping is answered with its own payload on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    for (const [name, payload] of Object.entries(payloads)) {
      const pongs = [payload.toString('latin1')]
      await t.test(`M10: a ping ${name}`, () => bench.check(route, { bytes: ping(payload), pongs }))
      await t.test(`M10: a ping ${name}, a byte at a time`, () => {
        const bytes = ping(payload)
        return bench.check(route, { bytes, sizes: Array.from(bytes, () => 1), pongs })
      })
      await t.test(`M10: a pong ${name} that nobody asked for is no question`, () => {
        return bench.check(route, { bytes: pong(payload) })
      })
    }
    await t.test('M10: pings around messages, each answered', () => {
      const bytes = Buffer.concat([ping('a'), message(route, 'one'), ping('b'), pong('c'), message(route, 'two')])
      return bench.check(route, { bytes, seen: ['one', 'two'], pongs: ['a', 'b'] })
    })
    await t.test('M10: 126 bytes are 1002, for a ping and for a pong', async () => {
      for (const opcode of [opcodes.ping, opcodes.pong]) {
        const bytes = frame({ opcode, payload: Buffer.alloc(126) })
        await bench.check(route, { bytes, ends: protocolError })
      }
    })
  })

  test(`R6, M10: ${pendingPongs} pings in one segment are answered in order on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    const pongs = Array.from({ length: pendingPongs }, (_, at) => String(at))
    await bench.check(route, { bytes: times(pendingPongs, (at) => ping(String(at))), pongs })
  })

  test(`R6, M10: ${burst} pongs in one segment are served on a ${route} route, one more is 1008`, async (t) => {
    const bench = await Bench.start(t)
    await bench.check(route, { bytes: times(burst, () => pong()) })
    const ends: Ending = { code: 1008, reason: 'rate_limited', cause: 'rate_limited' }
    await bench.check(route, { bytes: times(burst + 1, () => pong()), ends })
  })

  test(`M10: what comes behind a close is not answered on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    const bytes = Buffer.concat([ping('before'), closeFrame(1000), ping('behind'), message(route, 'behind')])
    await bench.check(route, { bytes, pongs: ['before'], ends: { code: 1000, cause: 'client' } })
  })
}

test('R6, M10: a ping too many in one segment ends the connection, and its user is told so once', async (t) => {
  const bench = await Bench.start(t)
  for (const route of routes) {
    for (const count of [pendingPongs + 1, burst + 1, 50, 1000]) {
      const { client, sub } = await bench.open(route)
      await client.write(Buffer.concat([times(count, () => ping()), message(route, 'behind')]))
      await client.serverEnd({ timeoutMs: 10_000 })
      client.destroy()
      await bench.assertClosed(sub, { code: 1006, cause: 'rate_limited' })
      assert.deepEqual(bench.seenBy(sub), [])
    }
  }
})
