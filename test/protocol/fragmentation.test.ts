/** Messages in several frames (RFC 6455 section 5.4). */
import { test } from 'node:test'
import { closeFrame, frame, opcodes } from '../support/frames.ts'
import {
  Bench,
  type Case,
  type Ending,
  fragments,
  message,
  payloadOf,
  ping,
  pong,
  protocolError,
  type Route,
  routes
} from './harness.ts'

const text = 'fragmented'
const { continuation, binary } = opcodes

/** The message in three pieces. */
function pieces(route: Route): [Buffer, Buffer, Buffer] {
  const payload = payloadOf(route, text)
  return [payload.subarray(0, 2), payload.subarray(2, 5), payload.subarray(5)]
}

const begin = frame({ fin: false, payload: 'x' })
const middle = frame({ fin: false, opcode: continuation, payload: 'y' })
const end = frame({ opcode: continuation, payload: 'z' })

function served(route: Route): Readonly<Record<string, Case>> {
  const [one, two, three] = pieces(route)
  const [first, second, third] = fragments([one, two, three]) as [Buffer, Buffer, Buffer]
  const all = Buffer.concat([first, second, third])
  const of = (bytes: readonly Buffer[], more: Partial<Case> = {}): Case => ({
    bytes: Buffer.concat(bytes),
    seen: [text],
    ...more
  })
  return {
    'three fragments in one segment': of([all]),
    'a segment for each fragment': of([all], { sizes: [first.length, second.length] }),
    'a segment for each byte': of([all], { sizes: Array.from(all, () => 1) }),
    'two messages one after the other': of([all, all], { seen: [text, text] }),
    'a whole message behind it': of([all, message(route, 'whole')], { seen: [text, 'whole'] }),
    'empty fragments before, between and after': of(fragments(['', one, '', '', two, three, ''])),
    'a ping between': of([first, ping('a'), second, third], { pongs: ['a'] }),
    'a ping at every place where one may be': of([ping('a'), first, ping('b'), second, ping('c'), third, ping('d')], {
      pongs: ['a', 'b', 'c', 'd']
    }),
    'a pong between': of([first, pong('a'), second, pong(''), third]),
    'pings between empty fragments': of([...fragments(['', one]).slice(0, 1), ping('a'), ...tail(one, two, three)], {
      pongs: ['a']
    })
  }
}

function tail(...rest: readonly Buffer[]): readonly Buffer[] {
  return fragments(['', ...rest]).slice(1)
}

const close: Ending = { code: 1001, sent: 'bye', cause: 'client' }

const refused: Readonly<Record<string, readonly Buffer[]>> = {
  'a continuation without a start': [end],
  'a continuation without a start, and not the last': [middle],
  'an empty continuation without a start': [frame({ opcode: continuation })],
  'a text inside a text': [begin, frame({ payload: 'new' })],
  'a text that begins inside a text': [begin, begin],
  'a text inside a text that already went on': [begin, middle, frame({ payload: 'new' })],
  'a binary message inside a text': [begin, frame({ opcode: binary, payload: 'new' })],
  'a text inside a binary message': [frame({ fin: false, opcode: binary, payload: 'x' }), frame({ payload: 'new' })],
  'a ping in fragments': [frame({ fin: false, opcode: opcodes.ping, payload: 'x' }), end],
  'a ping in fragments inside a text': [begin, frame({ fin: false, opcode: opcodes.ping, payload: 'x' }), end],
  'a pong in fragments': [frame({ fin: false, opcode: opcodes.pong }), end],
  'a close in fragments': [frame({ fin: false, opcode: opcodes.close, payload: '\x03\xe8' }), end],
  'a reserved bit on a continuation': [begin, frame({ opcode: continuation, rsv: 4, payload: 'z' })]
}

for (const route of routes) {
  test(`M10: fragments are put together on a ${route} route`, async (t) => {
    const bench = await Bench.start(t)
    for (const [name, one] of Object.entries(served(route))) await t.test(`M10: ${name}`, () => bench.check(route, one))
  })

  test(`M10: fragments against the rules are 1002 on a ${route} route, and nothing of them is dispatched`, async (t) => {
    const bench = await Bench.start(t)
    for (const [name, frames] of Object.entries(refused)) {
      await t.test(`M10: ${name}`, () => bench.check(route, { bytes: Buffer.concat(frames), ends: protocolError }))
    }
    await t.test('M10: a continuation of a message that is over', async () => {
      const bytes = Buffer.concat([...fragments(pieces(route)), end])
      await bench.check(route, { bytes, seen: [text], ends: protocolError })
    })
  })

  test(`M10: a close in the middle of a message ends it on a ${route} route, and nothing of it is dispatched`, async (t) => {
    const bench = await Bench.start(t)
    for (const [name, before] of Object.entries({
      'one fragment': [begin],
      'several fragments': [begin, middle, middle]
    })) {
      await t.test(`M10: behind ${name}`, () =>
        bench.check(route, { bytes: Buffer.concat([...before, closeFrame(1001, 'bye'), end]), ends: close })
      )
    }
  })
}

test('M10: an empty text is a message of a raw route, however many empty fragments it has', async (t) => {
  const bench = await Bench.start(t)
  await bench.check('raw', { bytes: Buffer.concat(fragments([''])), seen: [''] })
  await bench.check('raw', { bytes: Buffer.concat(fragments(['', '', ''])), seen: [''] })
})

test('M3, M10: an empty text is no JSON on a contract route', async (t) => {
  const bench = await Bench.start(t)
  const ends: Ending = { code: 1007, reason: 'invalid_json', cause: 'invalid_json' }
  await bench.check('contract', { bytes: frame(), ends })
  await bench.check('contract', { bytes: Buffer.concat(fragments(['', '', ''])), ends })
})

test('M9, M10: a binary message in fragments is served on a raw route, and 1003 on a contract route', async (t) => {
  const bench = await Bench.start(t)
  const bytes = (route: Route): Buffer => Buffer.concat(fragments(pieces(route), binary))
  await bench.check('raw', { bytes: bytes('raw'), seen: [text] })
  await bench.check('contract', { bytes: bytes('contract'), ends: { code: 1003, reason: 'binary', cause: 'binary' } })
})
