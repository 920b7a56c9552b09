/** Whatever an Origin is made of: only the list, and labels below its wildcards, are admitted (threat H2). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compileOrigins } from '../../lib/handshake/origin.ts'
import { parseUrl } from '../support/parse-url.ts'

const exact = [
  'https://good.example',
  'https://app.example.com:8443',
  'http://localhost:3000',
  'https://xn--bcher-kva.example'
]
const wildcards = [
  { entry: 'https://*.example.com', protocol: 'https:', port: '', base: 'example.com' },
  { entry: 'https://*.example.org:8443', protocol: 'https:', port: '8443', base: 'example.org' },
  { entry: 'http://*.localhost:3000', protocol: 'http:', port: '3000', base: 'localhost' }
]
const compiled = compileOrigins([...exact, ...wildcards.map(({ entry }) => entry)], undefined, 'origins')

function admits(origin: string): boolean {
  return compiled.admits({ origin, protocol: 'https', host: 'good.example' })
}

/**
 * The same question to somebody else: what a browser's own parser makes of it. An Origin is what that parser would
 * print for the page, so anything it would print differently is nobody's Origin.
 */
function isListedOrBelow(origin: string): boolean {
  const url = parseUrl(origin)
  if (url?.origin !== origin) return false
  if (exact.some((entry) => new URL(entry).href === url.href)) return true
  return wildcards.some(({ protocol, port, base }) => {
    const below = base.split('.').reverse()
    const labels = url.hostname.split('.').reverse()
    return (
      url.protocol === protocol &&
      url.port === port &&
      labels.length > below.length &&
      below.every((label, index) => labels[index] === label) &&
      labels.every((label) => label !== '' && label.length <= 63)
    )
  })
}

/** The parser refuses Punycode that decodes to nothing; for the lookup it is a label as any other, and nobody's. */
function withoutPunycode(origin: string): string {
  return origin.replace(/(?<=[/.])xn--/g, 'xn-0-')
}

const seeds = [
  ...exact,
  ...wildcards.map(({ entry }) => entry),
  ...wildcards.flatMap(({ entry }) =>
    ['a', 'a.b', '-', '_', 'xn--a', 'xn--bcher-kva'].map((label) => entry.replace('*', label))
  ),
  'https://evil.com',
  'https://evil.com/https://good.example',
  'https://example.com',
  'null',
  ''
]
const pieces = [
  ...[
    '.',
    '..',
    ':',
    '/',
    '//',
    '@',
    '*',
    '-',
    '_',
    '%',
    '%2e',
    '%2E',
    '%00',
    '%0a',
    '%23',
    '%40',
    '+',
    ';',
    '&',
    '=',
    '~'
  ],
  ...[
    ' ',
    '\t',
    ', ',
    ',',
    '\\',
    '#',
    '?',
    '\n',
    '\r',
    '\0',
    '\x7f',
    '[',
    ']',
    '[::1]',
    '"',
    "'",
    '`',
    '{',
    '|',
    '^',
    '<'
  ],
  ...['é', 'ß', 'ı', 'K', '。', '．', '｡', '⁄', '℀', '\u00ad', '\u200b', '\u200d', '\u2044', '\ufeff', '\ud800', '😀'],
  ...[
    'A',
    'Z',
    'a',
    '8',
    '0',
    ':0',
    ':443',
    ':80',
    ':8443',
    ':3000',
    '.evil.com',
    'evil.com',
    'xn--',
    'www.',
    'user@',
    'user:pw@'
  ],
  ...[
    'http:',
    'https:',
    'https://',
    'wss://',
    'file://',
    'null',
    'localhost',
    'example.com',
    '.example.com',
    '.example.org:8443'
  ]
]

/** One change of a text at a place. */
type Edit = (text: string) => string

const place = fc.nat(64)
const edit: fc.Arbitrary<Edit> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        fc.oneof(fc.constantFrom(...pieces, ...seeds), fc.string({ unit: 'binary', maxLength: 4 })),
        place,
        fc.nat(4)
      )
      .map(
        ([piece, at, remove]): Edit =>
          (text) =>
            text.slice(0, at) + piece + text.slice(at + remove)
      )
  },
  place.map(
    (at): Edit =>
      (text) =>
        text.slice(0, at) + (text[at] ?? '').toUpperCase() + text.slice(at + 1)
  ),
  place.map(
    (at): Edit =>
      (text) =>
        text.slice(0, at) + encode(text[at]) + text.slice(at + 1)
  ),
  place.map(
    (at): Edit =>
      (text) =>
        text.slice(0, at) + fullWidth(text[at]) + text.slice(at + 1)
  ),
  place.map(
    (at): Edit =>
      (text) =>
        text.slice(at) + text.slice(0, at)
  ),
  fc.constantFrom<Edit>(
    (text) => text.toUpperCase(),
    (text) => encodeURI(Buffer.from(text).toString()),
    (text) => text.replace(/\./g, '。'),
    (text) => text.replace('://', '://x@'),
    (text) => text.normalize('NFD'),
    (text) => `${text}${text}`,
    (text) => `${text}.`,
    (text) => ` ${text}`
  )
)

function encode(character = ''): string {
  return character === '' ? '' : `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`
}

function fullWidth(character = ''): string {
  const code = character.charCodeAt(0)
  return code > 0x20 && code < 0x7f ? String.fromCharCode(code + 0xfee0) : character
}

const mutation = fc
  .tuple(fc.constantFrom(...seeds), fc.array(edit, { minLength: 1, maxLength: 4 }))
  .map(([seed, edits]) => edits.reduce((text, change) => change(text), seed))

/** A few of each are needed for the property to say something. */
const leastHits = 100

test('H2: no mutation of an entry is admitted but an entry or a label below a wildcard', () => {
  let admitted = 0
  let refused = 0
  fc.assert(
    fc.property(mutation, (origin) => {
      if (!admits(origin)) {
        refused++
        return
      }
      admitted++
      assert.ok(
        isListedOrBelow(withoutPunycode(origin)) || exact.includes(origin),
        `admitted ${JSON.stringify(origin)}`
      )
    }),
    { numRuns: 30_000 }
  )
  assert.ok(admitted > leastHits && refused > leastHits, `${admitted} admitted, ${refused} refused`)
})

const label = fc.stringMatching(/^[a-z0-9_-]{1,20}$/).filter((text) => !text.startsWith('xn--'))

test('H1: every label that a browser can send below a wildcard is admitted, and the same elsewhere is not', () => {
  fc.assert(
    fc.property(fc.array(label, { minLength: 1, maxLength: 6 }), fc.constantFrom(...wildcards), (labels, wildcard) => {
      const below = labels.join('.')
      const origin = wildcard.entry.replace('*', below)
      assert.equal(admits(origin), true, origin)
      assert.equal(isListedOrBelow(origin), true, origin)
      assert.equal(admits(`${origin}.evil.com`), false)
      assert.equal(admits(wildcard.entry.replace('*.', below)), exact.includes(wildcard.entry.replace('*.', below)))
    }),
    { numRuns: 2_000 }
  )
})
