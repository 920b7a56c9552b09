/** The close frame (RFC 6455 sections 5.5.1 and 7.4): what is answered, what is dispatched behind it, and who hangs up. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { closeFrame, closeOf, frame, opcodes } from '../support/frames.ts'
import { eventually, until } from '../support/wait.ts'
import {
  Bench,
  type Case,
  type Ending,
  fragments,
  message,
  notUtf8,
  payloadOf,
  ping,
  protocolError,
  type Route,
  routes
} from './harness.ts'

/** 1012 to 1014 are registered with IANA, after the RFC; ws takes them. */
const validCodes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
const invalidCodes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]

function byPeer(code: number, reason = ''): { readonly bytes: Buffer; readonly ends: Ending } {
  // Its reason goes back to it on the wire and nowhere else.
  return { bytes: closeFrame(code, reason), ends: { code, sent: reason, cause: 'client' } }
}

function bodyOf(bytes: Buffer): Buffer {
  return frame({ opcode: opcodes.close, payload: bytes })
}

for (const route of routes) {
  test(`M10: every code that a peer may send is answered with itself on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    for (const code of validCodes) await t.test(`M10: ${code}`, () => bench.check(route, byPeer(code)))
    await t.test('M10: none', () => {
      return bench.check(route, { bytes: closeFrame(), ends: { code: 1005, cause: 'client' } })
    })
    for (const [name, reason] of Object.entries({
      'a reason': 'bye',
      'a reason of 123 bytes': 'x'.repeat(123),
      'a reason of four-byte characters': '\u{1f600}'.repeat(30)
    })) {
      await t.test(`M10: ${name}`, () => bench.check(route, byPeer(1000, reason)))
    }
  })

  test(`M10: a code that nobody may send is 1002 on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    for (const code of invalidCodes) {
      await t.test(`M10: ${code}`, () => bench.check(route, { bytes: closeFrame(code, 'x'), ends: protocolError }))
    }
  })

  test(`M10: a close frame against the rules is answered as such on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    const cases: Readonly<Record<string, Case>> = {
      'a body of one byte': { bytes: bodyOf(Buffer.from([0x03])), ends: protocolError },
      'a reason of 124 bytes': { bytes: closeFrame(1000, 'x'.repeat(124)), ends: protocolError },
      'a reason that is not UTF-8': { bytes: bodyOf(Buffer.from('03e8ff', 'hex')), ends: notUtf8 },
      'a reason that breaks off': { bytes: bodyOf(Buffer.from('03e8f09f98', 'hex')), ends: notUtf8 },
      'a surrogate in the reason': { bytes: bodyOf(Buffer.from('03e8eda080', 'hex')), ends: notUtf8 },
      'a bad code and a bad reason': { bytes: bodyOf(Buffer.from('03edff', 'hex')), ends: protocolError }
    }
    for (const [name, one] of Object.entries(cases)) await t.test(`M10: ${name}`, () => bench.check(route, one))
  })

  test(`M2, M10: nothing behind a close is dispatched on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    const close = closeFrame(1000)
    const { ends } = byPeer(1000)
    const behind: Readonly<Record<string, readonly Buffer[]>> = {
      'a message': [message(route, 'late')],
      'the rest of a message that was begun before': [frame({ opcode: opcodes.continuation, payload: 'late' })],
      'another close, with another code': [closeFrame(4000, 'other')],
      'a second close like the first': [close],
      'frames against the rules': [frame({ rsv: 7 }), frame({ masked: false, payload: 'x' })],
      'a thousand messages': Array.from({ length: 1000 }, () => message(route, 'late'))
    }
    for (const [name, frames] of Object.entries(behind)) {
      await t.test(`M2, M10: ${name}`, async () => {
        await bench.check(route, { bytes: Buffer.concat([close, ...frames]), ends })
        // In a segment of its own.
        const bytes = Buffer.concat([message(route, 'good'), close, ...frames])
        await bench.check(route, {
          bytes,
          sizes: [bytes.length - Buffer.concat([...frames]).length],
          seen: ['good'],
          ends
        })
      })
    }
    await t.test('M2, M10: a close a byte at a time', () => {
      return bench.check(route, { bytes: close, sizes: Array.from(close, () => 1), ends })
    })
  })

  test(`M10: after a clean close the server hangs up first, and does not wait for us on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    const { client, sub } = await bench.open(route)
    await client.write(closeFrame(3000))
    assert.equal(closeOf(await client.nextFrame({ opcode: opcodes.close })).code, 3000)
    // We neither end our side nor stop sending.
    await client.serverEnd()
    await client.write(message(route, 'late'))
    await bench.assertClosed(sub, { code: 3000, cause: 'client' })
    await gone(bench)
    assert.deepEqual(bench.seenBy(sub), [])
    client.destroy()
  })

  test(`M10, R7: after a bad frame the server hangs up, whether its peer does or not, on a ${route} route`, async (t) => {
    const { client, bench, sub } = await opened(t, route)
    await client.write(frame({ rsv: 1 }))
    await client.serverEnd()
    await client.write(Buffer.concat([closeFrame(1002), message(route, 'late')]))
    await bench.assertClosed(sub, protocolError)
    await gone(bench)
    assert.deepEqual(bench.seenBy(sub), [])
    client.destroy()
  })

  test(`M10: a peer that hangs up without a close is lost, with 1006, on a ${route} route`, async (t) => {
    const hangUps: Readonly<Record<string, (client: Awaited<ReturnType<Bench['open']>>['client']) => void>> = {
      'with a FIN': (client) => client.halfClose(),
      'with an RST': (client) => client.reset()
    }
    const bench = await Bench.start(t)
    for (const [name, hangUp] of Object.entries(hangUps)) {
      for (const before of [[], fragments([payloadOf(route, 'never'), '']).slice(0, 1), [ping().subarray(0, 3)]]) {
        await t.test(
          `M10: ${name}, ${before.length === 0 ? 'between messages' : 'in the middle of a message'}`,
          async () => {
            const { client, sub } = await bench.open(route)
            await client.write(Buffer.concat([message(route, 'whole'), ...before]))
            await until(() => bench.seenBy(sub).length === 1)
            hangUp(client)
            await bench.assertClosed(sub, { code: 1006, cause: 'lost' })
            await gone(bench)
            assert.deepEqual(bench.seenBy(sub), ['whole'])
          }
        )
      }
    }
  })
}

async function opened(t: TestContext, route: Route): Promise<{ bench: Bench } & Awaited<ReturnType<Bench['open']>>> {
  const bench = await Bench.start(t)
  return { bench, ...(await bench.open(route)) }
}

/** Its socket too. */
async function gone({ target }: Bench): Promise<void> {
  await eventually(
    () => {
      const { connections, slots } = target.app.wsGuard.stats()
      assert.deepEqual(
        { connections, slots, sockets: target.app.websocketServer.clients.size },
        { connections: 0, slots: 0, sockets: 0 }
      )
    },
    { timeoutMs: 10_000 }
  )
}
