/** The bits of a frame's header that have one right value (RFC 6455 sections 5.1 and 5.2): no extension is agreed on. */
import { test } from 'node:test'
import { closeFrame, type FrameOptions, frame, opcodes } from '../support/frames.ts'
import { Bench, message, payloadOf, protocolError, routes } from './harness.ts'

const kinds: Readonly<Record<string, FrameOptions>> = {
  text: { payload: 'x' },
  'the begin of a text': { payload: 'x', fin: false },
  binary: { opcode: opcodes.binary, payload: 'x' },
  close: { opcode: opcodes.close },
  ping: { opcode: opcodes.ping, payload: 'x' },
  pong: { opcode: opcodes.pong }
}
const reservedOpcodes = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]

for (const route of routes) {
  test(`M10: a reserved bit is 1002 on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    for (const [name, options] of Object.entries(kinds)) {
      await t.test(`M10: on ${name}`, async () => {
        for (let rsv = 1; rsv <= 7; rsv++) {
          await bench.check(route, { bytes: frame({ ...options, rsv }), ends: protocolError })
        }
      })
    }
    await t.test('M10: behind a good message in the same segment', () => {
      const bytes = Buffer.concat([message(route, 'good'), frame({ rsv: 4, payload: payloadOf(route, 'bad') })])
      return bench.check(route, { bytes, seen: ['good'], ends: protocolError })
    })
  })

  test(`M10: a reserved opcode is 1002 on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    for (const opcode of reservedOpcodes) {
      await t.test(`M10: opcode ${opcode}`, async () => {
        for (const options of [{ opcode }, { opcode, payload: payloadOf(route, 'x') }, { opcode, fin: false }]) {
          await bench.check(route, { bytes: frame(options), ends: protocolError })
        }
      })
    }
    await t.test('M10: inside a message', () => {
      const bytes = Buffer.concat([frame({ fin: false, payload: 'x' }), frame({ opcode: 3, payload: 'y' })])
      return bench.check(route, { bytes, ends: protocolError })
    })
  })

  test(`M10: a frame without a mask is 1002 on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    for (const [name, options] of Object.entries(kinds)) {
      await t.test(`M10: ${name}`, () =>
        bench.check(route, { bytes: frame({ ...options, masked: false }), ends: protocolError })
      )
    }
    const bytesOf: Readonly<Record<string, Buffer>> = {
      'a good message': frame({ payload: payloadOf(route, 'x'), masked: false }),
      'an empty one': frame({ masked: false }),
      'a close with a code': Buffer.concat([frame({ opcode: opcodes.close, payload: '\x03\xe8', masked: false })]),
      'the end of a message': Buffer.concat([
        frame({ fin: false, payload: 'x' }),
        frame({ opcode: opcodes.continuation, payload: 'y', masked: false })
      ])
    }
    for (const [name, bytes] of Object.entries(bytesOf)) {
      await t.test(`M10: ${name}`, () => bench.check(route, { bytes, ends: protocolError }))
    }
  })

  test(`M10: of two mistakes the first is answered on a ${route} route, once`, async (t) => {
    const bench = await Bench.start(t)
    const bytes = Buffer.concat([frame({ rsv: 2 }), frame({ payload: Buffer.from([0xff]) }), closeFrame(1000)])
    await bench.check(route, { bytes, ends: protocolError })
    const others = Array.from({ length: 500 }, () => frame({ opcode: 11 }))
    await bench.check(route, { bytes: Buffer.concat(others), ends: protocolError })
  })
}
