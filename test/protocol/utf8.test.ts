/** Text is UTF-8 (RFC 6455 section 8.1, RFC 3629): all of it is served, nothing else is, however it is cut. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { frame, opcodes } from '../support/frames.ts'
import { until } from '../support/wait.ts'
import { Bench, type Case, fragments, message, notUtf8, payloadOf, ping, type Route, routes } from './harness.ts'

const valid: Readonly<Record<string, string>> = {
  'one byte each': 'Hello, world ~',
  'two bytes each': '\u0080\u07ff\u00b5\u00df\u00f6',
  'three bytes each': '\u0800\u20ac\ud7ff\ue000\ufffd\uffff',
  'four bytes each': '\u{10000}\u{1f600}\u{10ffff}',
  'one to four bytes in turn': 'κόσμε-€-a-\u{1f600}-ß',
  noncharacters: '\ufdd0\ufffe\uffff\u{1fffe}\u{10fffe}',
  'a byte order mark': '\ufeffx',
  'marks that join': 'e\u0301\u200d\u202e'
}

/** Hexadecimal; each is refused wherever it stands. */
const invalid: Readonly<Record<string, readonly string[]>> = {
  'a continuation without a start': ['80', 'bf', '80bf', '808080808080'],
  'a start without a continuation': ['c220', 'df20', 'e020', 'ef2020', 'f020', 'f4202020'],
  'a sequence that breaks off': ['e28220', 'f09f20', 'f09f9820'],
  'bytes that never occur': ['fe', 'ff', 'fefeffff', 'c0', 'c1', 'f5808080', 'ff'.repeat(8)],
  'an overlong form': ['c0af', 'c1bf', 'e080af', 'e09fbf', 'f08080af', 'f08fbfbf', 'c080', 'e08080', 'f0808080'],
  'a surrogate': ['eda080', 'edadbf', 'edae80', 'edbfbf', 'eda080edb080', 'edafbfedbfbf'],
  'above U+10FFFF': ['f4908080', 'f4bfbfbf', 'f5808080', 'f7bfbfbf'],
  'five and six bytes': ['f888808080', 'fbbfbfbfbf', 'fc8480808080', 'fdbfbfbfbfbf'],
  'another encoding': ['e4f6fc', 'fffe4100']
}

/** At the end of the text, where nothing follows that could show that it is wrong. */
const truncated = ['c2', 'df', 'e2', 'e282', 'f0', 'f09f', 'f09f98']

for (const route of routes) {
  test(`M10: valid UTF-8 is served on a ${route} route`, async (t) => {
    const server = await Bench.start(t)
    for (const [name, text] of Object.entries(valid)) {
      await t.test(`M10: ${name}`, () => server.check(route, { bytes: message(route, text), seen: [text] }))
    }
  })

  test(`M10: invalid UTF-8 is 1007 on a ${route} route, and is not dispatched`, async (t) => {
    const server = await Bench.start(t)
    for (const [name, texts] of Object.entries(invalid)) {
      await t.test(`M10: ${name}`, async () => {
        for (const hex of texts) await server.check(route, invalidIn(route, Buffer.from(hex, 'hex')))
      })
    }
    await t.test('M10: truncated at the end of the text', async () => {
      for (const hex of truncated) {
        const payload = payloadOf(route, Buffer.from(hex, 'hex'), { whole: false })
        await server.check(route, { bytes: frame({ payload }), ends: notUtf8 })
      }
    })
    await t.test('M10: behind a good message in the same segment', async () => {
      const bytes = Buffer.concat([message(route, 'good'), message(route, Buffer.from('a\xff', 'latin1'))])
      await server.check(route, { bytes, seen: ['good'], ends: notUtf8 })
    })
  })

  test(`M10: UTF-8 may be cut anywhere on a ${route} route`, async (t) => {
    const server = await Bench.start(t)
    const text = valid['one to four bytes in turn'] as string
    const payload = payloadOf(route, text)
    const whole = message(route, text)
    const cuts = (length: number): number[] => Array.from({ length: length - 1 }, (_, at) => at + 1)
    await t.test('M10: into two frames at every byte', () => {
      const messages = cuts(payload.length).map((at) => fragments([payload.subarray(0, at), payload.subarray(at)]))
      return server.check(route, { bytes: Buffer.concat(messages.flat()), seen: messages.map(() => text) })
    })
    await t.test('M10: into frames of a byte each', () => {
      const bytes = Buffer.concat(fragments(Array.from(payload, (byte) => Buffer.from([byte]))))
      return server.check(route, { bytes, seen: [text] })
    })
    await t.test('M10: into two segments at every byte, also those of the header', () => {
      const sizes = cuts(whole.length).flatMap((at) => [at, whole.length - at])
      const all = cuts(whole.length)
      return server.check(route, { bytes: Buffer.concat(all.map(() => whole)), sizes, seen: all.map(() => text) })
    })
    await t.test('M10: into segments of a byte each', () =>
      server.check(route, { bytes: whole, sizes: Array.from(whole, () => 1), seen: [text] })
    )
  })

  test(`M10: invalid UTF-8 is 1007 on a ${route} route, however it is cut`, async (t) => {
    const server = await Bench.start(t)
    const bad = payloadOf(
      route,
      Buffer.concat([Buffer.from('κόσμε'), Buffer.from('eda080', 'hex'), Buffer.from('edited')])
    )
    for (const at of [1, bad.indexOf(0xed) + 1, bad.indexOf(0xed) + 2, bad.length - 1]) {
      await t.test(`M10: into two frames at byte ${at}`, () => {
        const bytes = Buffer.concat(fragments([bad.subarray(0, at), bad.subarray(at)]))
        return server.check(route, { bytes, ends: notUtf8 })
      })
    }
    await t.test('M10: into segments of a byte each', () => {
      const bytes = frame({ payload: bad })
      return server.check(route, { bytes, sizes: Array.from(bytes, () => 1), ends: notUtf8 })
    })
    await t.test('M10: a good start does not make up for a fragment that is not', () => {
      const bytes = Buffer.concat(fragments([payloadOf(route, 'good', { whole: false }), Buffer.from([0xff])]))
      return server.check(route, { bytes, ends: notUtf8 })
    })
  })

  test(`M10: a fragment that is not UTF-8 is judged with its message on a ${route} route, and not dispatched before`, async (t) => {
    const { client, sub, server } = await begun(t, route)
    await client.write(frame({ fin: false, payload: payloadOf(route, Buffer.from([0xff]), { whole: false }) }))
    await client.write(ping('waiting'))
    assert.equal((await client.nextFrame({ opcode: opcodes.pong })).payload.toString(), 'waiting')
    assert.deepEqual(server.seenBy(sub), [])
    await client.write(frame({ opcode: opcodes.continuation, payload: '' }))
    await client.serverEnd()
    client.halfClose()
    await server.assertClosed(sub, notUtf8)
    assert.deepEqual(server.seenBy(sub), [])
  })
}

test('M10: a NUL, and a byte order mark at the very start, are text like any other on a raw route', async (t) => {
  const server = await Bench.start(t)
  for (const text of ['\0', 'a\0b', '\ufeff', '\ufeff{}']) {
    await server.check('raw', { bytes: message('raw', text), seen: [text] })
  }
})

test('M10: binary need not be UTF-8 on a raw route', async (t) => {
  const server = await Bench.start(t)
  const bytes = frame({ opcode: opcodes.binary, payload: Buffer.from([0xff, 0xfe]) })
  await server.check('raw', { bytes, seen: ['\ufffd\ufffd'] })
})

/** In the middle of a text. */
function invalidIn(route: Route, bytes: Buffer): Case {
  return { bytes: message(route, Buffer.concat([Buffer.from('a'), bytes, Buffer.from('z')])), ends: notUtf8 }
}

async function begun(t: TestContext, route: Route): Promise<{ server: Bench } & Awaited<ReturnType<Bench['open']>>> {
  const server = await Bench.start(t)
  const opened = await server.open(route)
  await until(() => server.target.app.wsGuard.connections === 1)
  return { server, ...opened }
}
