/** Lists of origins and the Origins that meet them: what a browser's parser says, and what the guard says. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { compileOrigins } from '../../lib/handshake/origin.ts'
import { type Campaign, campaign, part } from './campaign.ts'
import { isListed, isRightEntry, withoutPunycode } from './origin-model.ts'

const label = fc.oneof(
  fc.stringMatching(/^[a-z][a-z0-9]{0,5}$/),
  fc.constantFrom('example', 'a-b', 'xn--bcher-kva', 'a_b', '1', 'l'.repeat(63))
)
const host = fc.oneof(
  { weight: 6, arbitrary: fc.array(label, { minLength: 2, maxLength: 4 }).map((labels) => `${labels.join('.')}x`) },
  { weight: 1, arbitrary: fc.constantFrom('localhost', '127.0.0.1', '[::1]', '10.0.0.7') }
)
const port = fc.constantFrom('', '', '', ':8443', ':3000', ':443', ':80', ':0', ':65535')
const scheme = fc.constantFrom('https://', 'https://', 'http://')
const plain = fc.tuple(scheme, host, port).map((parts) => parts.join(''))
const wildcard = fc.tuple(scheme, host, port).map(([first, name, last]) => `${first}*.${name}${last}`)

/** What parsers, people and encodings treat differently. */
const pieces = fc.oneof(
  fc.constantFrom(
    ...['.', '..', ':', '/', '//', '@', '*', '*.', '-', '_', '%', '%2e', '%2E', '%00', '%0a', '%23', '%40'],
    ...['+', ';', '&', '=', '~', ' ', '\t', ', ', ',', '\\', '#', '?', '\n', '\r', '\0', '\x7f'],
    ...['[', ']', '[::1]', '"', "'", '`', '{', '|', '^', '<'],
    ...['é', 'ß', 'ı', '\u212a', '。', '．', '｡', '⁄', '℀', '\u00ad', '\u200b', '\u200d', '\ufeff', '\ud800', '😀'],
    ...['A', 'Z', 'a', 'x', '8', '0', ':0', ':443', ':80', ':8443', ':3000'],
    ...['.evil.com', 'evil.com', 'xn--', 'www.', 'user@', 'user:pw@', 'localhost', 'null', '.com'],
    ...['http:', 'https:', 'https://', 'wss://', 'file://']
  ),
  fc.string({ unit: 'binary', maxLength: 3 })
)

/** One change of a text. */
type Edit = (text: string) => string

/** One character, by what it becomes. */
function replaced(become: (character: string) => string): fc.Arbitrary<Edit> {
  return fc.nat(60).map(
    (at): Edit =>
      (text) =>
        text.slice(0, at) + become(text[at] ?? '') + text.slice(at + 1)
  )
}

function encode(character: string): string {
  return character === '' ? '' : `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`
}

/** As wide as a Chinese character: parsers of names make it narrow again. */
function fullWidth(character: string): string {
  const code = character.charCodeAt(0)
  return code > 0x20 && code < 0x7f ? String.fromCharCode(code + 0xfee0) : character
}

function flip(character: string, bit: number): string {
  return character && String.fromCharCode(character.charCodeAt(0) ^ (1 << bit))
}

const edit: fc.Arbitrary<Edit> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.tuple(pieces, fc.nat(60), fc.nat(3)).map(
      ([piece, at, remove]): Edit =>
        (text) =>
          text.slice(0, at) + piece + text.slice(at + remove)
    )
  },
  replaced((character) => character.toUpperCase()),
  replaced(encode),
  replaced(fullWidth),
  fc.nat(7).chain((bit) => replaced((character) => flip(character, bit))),
  fc.constantFrom<Edit>(
    (text) => text.toUpperCase(),
    (text) => text.normalize('NFD'),
    (text) => text.replaceAll('.', '。'),
    (text) => text.replace('://', '://x@'),
    (text) => `${text}.`,
    (text) => ` ${text}`,
    (text) => `${text}/`,
    (text) => text + text
  )
)

/** Up to three changes, often none. */
export const edits: fc.Arbitrary<readonly Edit[]> = fc.oneof(
  fc.constant([]),
  fc.array(edit, { minLength: 1, maxLength: 3 })
)

function apply(text: string, all: readonly Edit[]): string {
  return all.reduce((changed, change) => change(changed), text)
}

const entry = fc.oneof(plain, wildcard)

/** An entry boots when it is written as a browser prints it, and only then. */
const entries = fc.property(entry, edits, (text, all) => {
  const changed = apply(text, all)
  let boots = true
  try {
    compileOrigins([changed], undefined, 'origins')
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'WSG_ERR_OPTION', String(error))
    boots = false
  }
  assert.equal(boots, isRightEntry(changed), JSON.stringify(changed))
})

/** An Origin that is one of the list, one below, or something made of either. */
const question = fc
  .tuple(
    fc.array(entry, { minLength: 1, maxLength: 4 }),
    fc.nat(3),
    fc.array(label, { minLength: 1, maxLength: 3 }),
    edits
  )
  .map(([all, which, labels, changes]) => {
    const list = all.filter(isRightEntry)
    const meant = all[which % all.length] as string
    return { list, origin: apply(meant.replace('*', labels.join('.')), changes) }
  })
  .filter(({ list }) => list.length > 0)

const admits = fc.property(question, ({ list, origin }) => {
  const compiled = compileOrigins(list, undefined, 'origins')
  const admitted = compiled.admits({ origin, protocol: 'https', host: 'localhost' })
  // Of names that only look like Punycode the parser knows nothing; of others it knows whether they are any.
  const listed = isListed(origin, list) || (admitted && isListed(withoutPunycode(origin), list.map(withoutPunycode)))
  assert.equal(admitted, listed, `${JSON.stringify(origin)} of ${list.join(', ')}`)
})

/** A page of the server's own: scheme, host and port of the request, whatever the Host header looks like. */
const sameOrigin = fc.property(
  fc.constantFrom('app.example.com', 'app.example.com:8443', 'localhost:3000'),
  fc.constantFrom('http', 'https', 'ws', 'wss', 'ftp'),
  edits,
  edits,
  (name, protocol, hostEdits, originEdits) => {
    const compiled = compileOrigins(
      'same-origin',
      ['app.example.com', 'app.example.com:8443', 'localhost:3000'],
      'origins'
    )
    const header = apply(name, hostEdits)
    const secure = protocol === 'https' || protocol === 'wss'
    const origin = apply(`${secure ? 'https' : 'http'}://${name}`, originEdits)
    const bare = header.replace(secure ? /:443$/ : /:80$/, '')
    const known = ['app.example.com', 'app.example.com:8443', 'localhost:3000'].includes(bare)
    const expected = known && protocol !== 'ftp' && origin === `${secure ? 'https' : 'http'}://${bare}`
    assert.equal(compiled.admits({ origin, protocol, host: header }), expected, `${origin} at ${header}`)
  }
)

export const origins: Campaign = campaign('origins', 2, async () => ({
  parts: [part('entries', 400, entries), part('Origins', 400, admits), part('same-origin', 400, sameOrigin)]
}))
