/** The bytes of a text frame, against those that ws's own sender would write. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as ws from 'ws'
import { frameText } from '../../lib/connection/text-frame.ts'

/** ws's own, which @types/ws does not have. */
const { frame } = (ws as unknown as { Sender: { frame(data: Buffer, options: object): Buffer[] } }).Sender

function framedByWs(text: string): Buffer {
  return Buffer.concat(frame(Buffer.from(text), { fin: true, opcode: 1, mask: false, readOnly: true }))
}

function assertSame(text: string): void {
  const framed = frameText(text)
  const expected = framedByWs(text)
  assert.equal(framed.length, expected.length)
  assert.ok(Buffer.from(framed, 'latin1').equals(expected), `${text.length} characters: ${text.slice(0, 40)}`)
}

test('a frame has the bytes that ws writes, at every size of a header', () => {
  for (const length of [0, 1, 124, 125, 126, 127, 255, 256, 65_534, 65_535, 65_536, 70_000]) {
    assertSame('x'.repeat(length))
    // The length of a frame counts bytes, not characters.
    for (const wide of ['é', '€', '😀', '\u0080', '\u00ff', '\ud800']) {
      assertSame(wide + 'x'.repeat(length))
      assertSame(wide.repeat(length))
    }
  }
})

test('a frame has the bytes that ws writes, whatever the text', () => {
  const unit = fc.constantFrom<'binary' | 'grapheme'>('binary', 'grapheme')
  const texts = unit.chain((each) => fc.string({ unit: each, maxLength: 300 }))
  fc.assert(
    fc.property(texts, fc.string({ maxLength: 10 }), (text, more) => {
      assertSame(text)
      // A text that was joined or cut out of another is the same to V8's reader.
      assertSame(`{"type":"said",${text.slice(1)}${more}`)
    }),
    { numRuns: 2_000 }
  )
})
