/** Whatever is in a URL: what Fastify would read under a secret name has been taken out of it before. */
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import fc from 'fast-check'
import { takeSecrets } from '../../lib/handshake/url-secrets.ts'

/** The parsers that Fastify reads a URL with: its router's, and that one's own for the query. */
const router = createRequire(createRequire(import.meta.url).resolve('fastify')).resolve('find-my-way')
const fromRouter = createRequire(router)
const parseQuery = fromRouter('fast-querystring').parse as (query: string) => Record<string, string | string[]>
const { safeDecodeURI } = fromRouter('./lib/url-sanitizer.js') as {
  safeDecodeURI: (url: string, hasSemicolons: boolean) => { querystring: string }
}

const queryOf = (url: string): string => url.split('?').slice(1).join('?')

const names = ['token', 'ticket', 'a b', 'k+y', 'käy', 'a%b', 'x=y', '', '\ud83d\ude00', '__proto__', 'a&b']

/** All that a name can be written as, and things that only look like it. */
const spelling = (name: string): fc.Arbitrary<string> => {
  const letters = [...name].map((letter) =>
    fc.constantFrom(
      encodeURIComponent(letter),
      letter,
      [...Buffer.from(letter)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join(''),
      [...Buffer.from(letter)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
      letter === ' ' ? '+' : encodeURIComponent(letter),
      letter.toUpperCase()
    )
  )
  return fc.tuple(...letters).map((parts) => parts.join(''))
}
const noise = fc.string({
  unit: fc.constantFrom(
    '&',
    '=',
    ';',
    '+',
    '%',
    '%2',
    '%26',
    '%3D',
    '%00',
    '%ff',
    '%C3',
    '?',
    '/',
    '.',
    '[]',
    'a',
    'é',
    '#'
  ),
  maxLength: 6
})
const pair = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom(...names).chain(spelling), fc.constantFrom('=', '', '=='), noise)
      .map((parts) => parts.join(''))
  },
  { weight: 1, arbitrary: noise },
  { weight: 1, arbitrary: fc.tuple(noise, fc.constantFrom('token', 'ticket'), noise).map((parts) => parts.join('')) }
)
const query = fc.array(pair, { maxLength: 5 }).map((pairs) => pairs.join('&'))

test('A6, P1: no parser finds a secret name, however it was written', () => {
  fc.assert(
    fc.property(query, fc.uniqueArray(fc.constantFrom(...names), { minLength: 1, maxLength: 4 }), (text, chosen) => {
      const { url, taken } = takeSecrets(`/ws?${text}`, new Set(chosen))
      const left = parseQuery(safeDecodeURI(url, false).querystring)
      for (const name of chosen) {
        assert.equal(name in left, false, `${JSON.stringify(name)} is left in ${url}`)
        assert.equal(new URLSearchParams(queryOf(url)).has(name), false, url)
      }
      for (const name of taken.keys()) assert.ok(chosen.includes(name))
      assert.ok(url.startsWith('/ws'))
    }),
    { numRuns: 5_000 }
  )
})

test('A6: what it takes is what Fastify would have read, and the rest is as it was', () => {
  fc.assert(
    fc.property(query, (text) => {
      const before = parseQuery(text)
      const { url, taken } = takeSecrets(`/ws?${text}`, new Set(['token', 'ticket']))
      for (const name of ['token', 'ticket']) {
        const found = before[name] === undefined ? [] : [before[name]].flat()
        assert.ok((taken.get(name)?.length ?? 0) >= found.length, `${name} in ${text}`)
      }
      const after = parseQuery(queryOf(url))
      for (const [name, value] of Object.entries(after)) assert.deepEqual(value, before[name])
    }),
    { numRuns: 3_000 }
  )
})

test('A6: a good credential comes through to the letter, whatever stands beside it', () => {
  const plain = query.filter((text) => takeSecrets(`/?${text}`, new Set(['token'])).taken.size === 0)
  fc.assert(
    fc.property(plain, fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }), plain, (left, token, right) => {
      const { taken } = takeSecrets(`/?${left}&token=${encodeURIComponent(token)}&${right}`, new Set(['token']))
      assert.deepEqual(taken.get('token'), [token])
    }),
    { numRuns: 1_000 }
  )
})
