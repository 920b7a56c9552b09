/** How long a frame says it is (RFC 6455 section 5.2), and how long a message may be (`limits.maxPayloadBytes`). */
import { test } from 'node:test'
import { frame, opcodes } from '../support/frames.ts'
import {
  Bench,
  type Case,
  type Ending,
  fragments,
  message,
  payloadOf,
  protocolError,
  type Route,
  routes,
  textOf,
  tooBig
} from './harness.ts'

/** The default of `limits.maxPayloadBytes`. */
const most = 65_536
const encodings = { 7: 125, 16: 65_535, 64: most } as const

/** A message whose payload has exactly `size` bytes. */
function sized(route: Route, size: number, lengthBits: 7 | 16 | 64, sizes: readonly number[] = []): Case {
  const text = textOf(route, size)
  return { bytes: frame({ payload: payloadOf(route, text), lengthBits }), seen: [text], sizes }
}

/** The text in frames of these sizes; the rest is the last. */
function inFrames(route: Route, size: number, frames: readonly number[]): Buffer {
  let rest = payloadOf(route, textOf(route, size))
  const pieces = frames.map((bytes) => {
    const piece = rest.subarray(0, bytes)
    rest = rest.subarray(bytes)
    return piece
  })
  return Buffer.concat(fragments([...pieces, rest]))
}

const notJson: Ending = { code: 1007, reason: 'invalid_json', cause: 'invalid_json' }

for (const route of routes) {
  test(`M10: every length is read in every encoding that holds it on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    for (const size of [0, 125, 126, 127, 65_535, most]) {
      for (const bits of [7, 16, 64] as const) {
        if (size > encodings[bits]) continue
        await t.test(`M10: ${size} bytes, ${bits} bits`, () => {
          if (size > 0) return bench.check(route, sized(route, size, bits))
          const bytes = frame({ lengthBits: bits })
          return bench.check(route, route === 'raw' ? { bytes, seen: [''] } : { bytes, ends: notJson })
        })
      }
    }
    await t.test('M10: a length that comes a byte at a time', async () => {
      for (const bits of [7, 16, 64] as const) await bench.check(route, sized(route, 120, bits, Array(15).fill(1)))
    })
    await t.test('M10: a mask of zeros', async () => {
      const bytes = frame({ payload: payloadOf(route, 'bare'), mask: Buffer.alloc(4) })
      await bench.check(route, { bytes, seen: ['bare'] })
    })
  })

  test(`R4, M10: ${most} bytes are served and one more is 1009 on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    const text = textOf(route, most)
    const evenly = Array(63).fill(1024)
    const splits = { 'two frames': [40_000], 'the last byte alone': [most - 1], 'sixty-four frames': evenly }
    for (const [name, frames] of Object.entries(splits)) {
      await t.test(`R4, M10: ${name}`, async () => {
        await bench.check(route, { bytes: inFrames(route, most, frames), seen: [text] })
        await bench.check(route, { bytes: inFrames(route, most + 1, frames), ends: tooBig })
      })
    }
    await t.test('R4, M10: one frame', async () => {
      for (const lengthBits of [64] as const) {
        const bytes = frame({ payload: payloadOf(route, textOf(route, most + 1)), lengthBits })
        await bench.check(route, { bytes, ends: tooBig })
      }
    })
    await t.test('R4, M10: the bound is of a message, not of all that came before', async () => {
      const bytes = Buffer.concat([message(route, text), message(route, text), message(route, 'more')])
      await bench.check(route, { bytes, seen: [text, text, 'more'] })
    })
  })

  test(`R4, M10: a length above the bound is 1009 on a ${route} route before any of its bytes came`, async (t) => {
    const bench = await Bench.start(t)
    const lengths = [most + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 32 + 10, Number.MAX_SAFE_INTEGER]
    for (const declaredLength of [...lengths, 2n ** 53n, 2n ** 62n, 2n ** 63n, 2n ** 63n + 10n, 2n ** 64n - 1n]) {
      await t.test(`R4, M10: ${declaredLength} declared`, () => {
        return bench.check(route, { bytes: frame({ declaredLength, lengthBits: 64 }), ends: tooBig })
      })
    }
    await t.test('R4, M10: declared by the second frame of a message', () => {
      const begin = frame({ fin: false, payload: 'x' })
      const rest = frame({ opcode: opcodes.continuation, declaredLength: most, lengthBits: 64 })
      return bench.check(route, { bytes: Buffer.concat([begin, rest]), ends: tooBig })
    })
    await t.test('R4, M10: of a binary frame', () => {
      const bytes = frame({ opcode: opcodes.binary, declaredLength: most + 1, lengthBits: 64 })
      return bench.check(route, { bytes, ends: tooBig })
    })
  })

  test(`M10: a control frame above 125 bytes is 1002 on a ${route} route, however its length is written`, async (t) => {
    const bench = await Bench.start(t)
    for (const name of ['ping', 'pong', 'close'] as const) {
      await t.test(`M10: ${name}`, async () => {
        const opcode = opcodes[name]
        const frames = [
          frame({ opcode, payload: Buffer.alloc(126, 3) }),
          frame({ opcode, payload: Buffer.alloc(126, 3), lengthBits: 64 }),
          // Its 4 bytes would be a fine length, but a control frame has no extended one.
          frame({ opcode, payload: '\x03xyz', lengthBits: 16 }),
          frame({ opcode, declaredLength: 2n ** 63n, lengthBits: 64 })
        ]
        for (const bytes of frames) await bench.check(route, { bytes, ends: protocolError })
      })
    }
  })
}
