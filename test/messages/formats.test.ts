import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FormatRegistry } from '@sinclair/typebox'
import { formatNames, publicFormatName, registerFormat } from '../../lib/messages/formats.ts'

function matches(format: string, value: string): boolean {
  return FormatRegistry.Get(registerFormat(format) as string)?.(value) === true
}

test('formats accept what they name and refuse the rest', () => {
  const samples: [string, string, string][] = [
    ['uuid', '123e4567-e89b-12d3-a456-426614174000', '123e4567'],
    ['email', 'a@example.com', 'a@'],
    ['date', '2024-02-29', '2023-02-29'],
    ['time', '10:00:00Z', '25:00:00Z'],
    ['date-time', '2024-02-29T10:00:00Z', '2023-02-29T10:00:00Z'],
    ['iso-time', '10:00:00', '10:00'],
    ['iso-date-time', '2024-02-29 10:00:00', '2024-02-30 10:00:00'],
    ['duration', 'P1DT2H', 'P'],
    ['uri', 'https://example.com/a?b#c', 'example'],
    ['uri-reference', '../a', 'a b'],
    ['uri-template', '/a/{b}', '/a/{'],
    ['hostname', 'a.example.com', '-a'],
    ['ipv4', '127.0.0.1', '256.0.0.1'],
    ['ipv6', '::1', ':::'],
    ['json-pointer', '/a/~0', '/~2'],
    ['json-pointer-uri-fragment', '#/a', '/a'],
    ['relative-json-pointer', '1/a', '/a'],
    ['byte', 'aGk=', '!\naGk=\n']
  ]
  assert.deepEqual(samples.map(([name]) => name).sort(), [...formatNames].sort())
  for (const [format, good, bad] of samples) {
    assert.equal(matches(format, good), true, format)
    assert.equal(matches(format, bad), false, format)
  }
})

test('M7: no format takes 200 ms on 64 KiB', () => {
  const [starts, repeats, ends] = [
    ['', 'http://', 'a@', '{', '#', '1970-01-01t'],
    ['a', '.', ':', '/', '1.', '-', '@', 't'],
    ['!', '\n']
  ]
  for (const format of formatNames) {
    for (const start of starts) {
      for (const repeat of repeats) {
        for (const end of ends) {
          const text = start + repeat.repeat(65_536 / repeat.length) + end
          const began = performance.now()
          matches(format, text)
          assert(performance.now() - began < 200, `${format} ${start} ${repeat}`)
        }
      }
    }
  }
})

test('a format of the application is neither changed nor trusted; one under another name is used', () => {
  const own = (): boolean => true
  FormatRegistry.Set('uuid', own)
  try {
    assert.equal(matches('uuid', 'no'), false)
    assert.equal(FormatRegistry.Get('uuid'), own)
  } finally {
    FormatRegistry.Delete('uuid')
  }
  assert.equal(registerFormat('app-even'), undefined)
  FormatRegistry.Set('app-even', (value) => value.length % 2 === 0)
  try {
    assert.equal(registerFormat('app-even'), 'app-even')
    assert.equal(publicFormatName('app-even'), 'app-even')
  } finally {
    FormatRegistry.Delete('app-even')
  }
  for (const name of ['regex', 'url', 'int32', 'nope', '__proto__']) assert.equal(registerFormat(name), undefined)
  assert.equal(publicFormatName(registerFormat('uuid') as string), 'uuid')
})
