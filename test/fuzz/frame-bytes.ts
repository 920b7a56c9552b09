/** What a client might send after its 101: good frames, bad frames, good ones made bad, in any pieces. */
import fc from 'fast-check'
import { frame, opcodes } from '../support/frames.ts'

/** Bounds of the routes, small enough that a few frames pass them. */
export const bounds = { maxPayloadBytes: 2_000, maxFragments: 8, controlBurst: 6, depth: 5, keys: 10, strikes: 3 }

export interface Stream {
  readonly bytes: Buffer
  /** Where it is cut into segments, as shares of its length. */
  readonly cuts: readonly number[]
}

const ref = fc.oneof(
  fc.integer(),
  fc.string({ maxLength: 66 }),
  fc.constantFrom(null, 1.5, true, 2 ** 53, 'r'.repeat(64), 'r'.repeat(65))
)
const nested = fc
  .tuple(fc.integer({ min: bounds.depth - 3, max: bounds.depth }), fc.boolean())
  .map(([depth, isArray]) => (isArray ? '[' : '{"k":').repeat(depth) + 1 + (isArray ? ']' : '}').repeat(depth))
const wide = fc.integer({ min: bounds.keys - 4, max: bounds.keys }).map((count) => {
  const keys = Array.from({ length: count }, (_, at) => `"k${at}":${at}`)
  return `{${keys.join(',')}}`
})
const long = fc.integer({ min: -40, max: 5 }).map((more) => JSON.stringify('x'.repeat(bounds.maxPayloadBytes + more)))

const good = fc.oneof(
  fc.record({ type: fc.constant('say'), text: fc.string({ unit: 'grapheme', maxLength: 30 }) }),
  fc.record({ type: fc.constant('say'), text: fc.string({ unit: 'grapheme', maxLength: 9 }), ref }),
  fc.record({ type: fc.constant('ask'), count: fc.integer({ min: -1, max: 4 }), ref }),
  fc.record({ type: fc.constant('put'), value: fc.jsonValue({ maxDepth: 2 }) })
)
const poison = fc.constantFrom(
  '{"type":"put","value":{"__proto__":1}}',
  '{"type":"put","value":{"\\u005f_proto__":1}}',
  '{"type":"put","value":[{"constructor":{"prototype":{}}}]}',
  '{"type":"put","value":{"constructor":1}}',
  '{"type":"put","value":"__proto__"}',
  '{"type":"say","text":"a","text":"b"}',
  '{"type":"say","text":"\\ud800"}',
  '{"type":"constructor"}',
  '{"type":"auth","token":"x"}',
  '{"type":"say","text":"x","more":1}',
  '\ufeff{"type":"say","text":"x"}',
  ' {"type":"say","text":"x"}\n',
  '{"type":"say","text":"x"}}',
  '[]',
  'null',
  ''
)
const text = fc.oneof(
  { weight: 12, arbitrary: good.map((value) => JSON.stringify(value)) },
  { weight: 2, arbitrary: fc.oneof(nested, wide, long).map((value) => `{"type":"put","value":${value}}`) },
  { weight: 2, arbitrary: poison }
)
/** Long, short, overlong, surrogate, beyond the last, cut off: what UTF-8 is not. */
const notUtf8 = fc
  .constantFrom('ff', 'c0af', 'eda080', 'f4908080', 'e282', '80', 'f09f98')
  .map((hex) => Buffer.from(hex, 'hex'))
const payload = fc.oneof(
  { weight: 20, arbitrary: text.map((all) => Buffer.from(all)) },
  {
    weight: 1,
    arbitrary: fc.tuple(text, notUtf8, fc.nat(99)).map(([all, bad, at]) => splice(Buffer.from(all), at, 0, bad))
  }
)

const mask = fc.oneof(
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => Buffer.from(bytes)),
  fc.constant(Buffer.alloc(4))
)
const lengthBits = fc.constantFrom(undefined, undefined, undefined, 16 as const, 64 as const)
const small = fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes))
const controlPayload = fc.oneof(
  small,
  fc.constantFrom(124, 125, 126).map((size) => Buffer.alloc(size, 0x61))
)

/** A frame whose length is encoded longer than need be; one that is too short for its payload is no such frame. */
function encode(options: Parameters<typeof frame>[0], bits?: 16 | 64): Buffer {
  return frame({ ...options, ...(bits !== undefined && { lengthBits: bits }) })
}

const control = fc
  .tuple(fc.constantFrom(opcodes.ping, opcodes.pong), controlPayload, mask)
  .map(([opcode, data, key]) => frame({ opcode, payload: data, mask: key }))
const whole = fc
  .tuple(payload, mask, lengthBits, fc.oneof({ weight: 20, arbitrary: fc.constant(1) }, fc.constant(2)))
  .map(([data, key, bits, opcode]) => encode({ payload: data, mask: key, opcode }, bits))

/** One message in several frames, cut anywhere, with control frames in between. */
const fragmented = fc
  .tuple(payload, fc.array(fc.tuple(fc.nat(1_000), fc.option(control)), { minLength: 1, maxLength: 9 }), mask)
  .map(([data, cuts, key]) => {
    const ends = cuts.map(([share]) => Math.floor((share * data.length) / 1_000)).sort((a, b) => a - b)
    const pieces = [...ends, data.length].map((end, at) => data.subarray(ends[at - 1] ?? 0, end))
    return Buffer.concat(
      pieces.flatMap((piece, at) => [
        frame({ payload: piece, mask: key, opcode: at === 0 ? 1 : 0, fin: at === pieces.length - 1 }),
        cuts[at]?.[1] ?? Buffer.alloc(0)
      ])
    )
  })

const closeCode = fc.oneof(
  fc.constantFrom(
    999,
    1000,
    1001,
    1003,
    1004,
    1005,
    1006,
    1007,
    1011,
    1012,
    1014,
    1015,
    2999,
    3000,
    4999,
    5000,
    65_535
  ),
  fc.nat(65_535)
)
const reason = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 20 }).map((all) => Buffer.from(all)),
  notUtf8
)
const close = fc.tuple(fc.option(closeCode), reason, mask).map(([code, why, key]) => {
  const head = Buffer.alloc(code === null ? 0 : 2)
  if (code !== null) head.writeUInt16BE(code)
  return frame({ opcode: opcodes.close, payload: code === null ? head : Buffer.concat([head, why]), mask: key })
})

const anyFrame = fc
  .record({
    fin: fc.boolean(),
    rsv: fc.constantFrom(0, 0, 0, 0, 1, 2, 4, 7),
    opcode: fc.nat(15),
    masked: fc.constantFrom(true, true, true, false),
    mask,
    payload: fc.oneof(small, controlPayload)
  })
  .map((options) => frame(options))
const liar = fc
  .tuple(
    fc.oneof(
      fc.constantFrom(
        0n,
        125n,
        126n,
        2_000n,
        2_001n,
        65_535n,
        65_536n,
        2n ** 31n,
        2n ** 53n,
        2n ** 63n,
        2n ** 64n - 1n
      ),
      fc.bigInt({ min: 0n, max: 3_000n })
    ),
    mask,
    fc.oneof(small, payload),
    fc.constantFrom(1, 2, 9)
  )
  .map(([declaredLength, key, data, opcode]) =>
    frame({ declaredLength, mask: key, payload: data, opcode, lengthBits: 64 })
  )

const sequence = fc
  .array(
    fc.oneof(
      { weight: 30, arbitrary: whole },
      { weight: 9, arbitrary: fragmented },
      { weight: 9, arbitrary: control },
      { weight: 1, arbitrary: close },
      { weight: 1, arbitrary: anyFrame },
      { weight: 1, arbitrary: liar }
    ),
    { minLength: 1, maxLength: 9 }
  )
  .map((frames) => Buffer.concat(frames))

export function splice(bytes: Buffer, at: number, remove: number, insert: Uint8Array): Buffer {
  const start = bytes.length === 0 ? 0 : at % (bytes.length + 1)
  return Buffer.concat([bytes.subarray(0, start), insert, bytes.subarray(start + remove)])
}

/** One change of some bytes: a bit flipped, bytes put in, taken out, doubled, the rest cut off, another's put in. */
export type ByteEdit = (bytes: Buffer) => Buffer

export function byteEdit(other: fc.Arbitrary<Uint8Array>): fc.Arbitrary<ByteEdit> {
  const place = fc.nat(4_000)
  return fc.oneof(
    fc.tuple(place, fc.nat(7)).map(
      ([at, bit]): ByteEdit =>
        (bytes) => {
          const copy = Buffer.from(bytes)
          if (copy.length > 0) copy[at % copy.length] = Number(copy[at % copy.length]) ^ (1 << bit)
          return copy
        }
    ),
    fc.tuple(place, other).map(
      ([at, more]): ByteEdit =>
        (bytes) =>
          splice(bytes, at, 0, more)
    ),
    fc.tuple(place, fc.integer({ min: 1, max: 9 })).map(
      ([at, count]): ByteEdit =>
        (bytes) =>
          splice(bytes, at, count, Buffer.alloc(0))
    ),
    fc.tuple(place, place, fc.nat(40)).map(
      ([from, at, count]): ByteEdit =>
        (bytes) => {
          const start = from % (bytes.length + 1)
          return splice(bytes, at, 0, bytes.subarray(start, start + count))
        }
    ),
    place.map(
      (at): ByteEdit =>
        (bytes) =>
          bytes.subarray(0, at % (bytes.length + 1))
    )
  )
}

const edits = fc.array(byteEdit(fc.oneof(small, whole)), { minLength: 1, maxLength: 3 })
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 })

/** Frames as they were made, and frames with some bytes changed. */
export const stream: fc.Arbitrary<Stream> = fc.record({
  bytes: fc.oneof(
    { weight: 2, arbitrary: sequence },
    {
      weight: 1,
      arbitrary: fc
        .tuple(sequence, edits)
        .map(([bytes, all]) => all.reduce<Buffer>((changed, edit) => edit(changed), bytes))
    }
  ),
  cuts
})

/** The segments of a stream. */
export function segmentsOf(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const ends = cuts.map((share) => Math.round(share * bytes.length)).sort((a, b) => a - b)
  return [...ends, bytes.length]
    .map((end, at) => bytes.subarray(ends[at - 1] ?? 0, end))
    .filter(({ length }) => length > 0)
}
