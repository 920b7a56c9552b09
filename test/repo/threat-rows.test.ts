/** Each threat that the guard has to withstand is named by a test. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const rows = [
  ...numbered('T', 7),
  ...numbered('H', 14),
  ...numbered('A', 12),
  ...numbered('Z', 10),
  ...numbered('M', 12),
  ...numbered('R', 9),
  ...numbered('O', 5),
  ...numbered('L', 4),
  ...numbered('P', 7),
  ...numbered('N', 5)
]
const folder = join(import.meta.dirname, '..')

function numbered(letter: string, last: number): string[] {
  return Array.from({ length: last }, (_, index) => `${letter}${index + 1}`)
}

/** A title begins with the ids of what it is about: `T3: …` or `H2, A7: …`. */
const titlePattern = /^\s*(?:void |await )?(?:test|it)\(\s*(['"`])((?:[A-Z]\d{1,2}(?:, )?)+): /gm

function idsOf(source: string): string[] {
  return [...source.matchAll(titlePattern)].flatMap(([, , ids]) => (ids as string).split(', '))
}

function testFiles(): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && /\.(test|load)\.ts$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
}

test('a title is read for its ids', () => {
  const source = [
    "test('T3: a body', () => {})",
    '  test(`H2, A7: two headers`, async (t) => {})',
    'test("Z10: x", () => {})',
    "test(\n  'P1: on a line of its own', () => {})",
    "// test('T1: …') is how a title begins",
    "test('about T5: nothing', () => {})",
    "assert.equal('T6: x', '')"
  ]
  assert.deepEqual(idsOf(source.join('\n')), ['T3', 'H2', 'A7', 'Z10', 'P1'])
})

test('every row of the threats has a test', () => {
  const files = testFiles()
  assert.ok(files.length > 50, 'the tests must be found')
  for (const kind of ['.test.ts', '.load.ts'])
    assert.ok(
      files.some((file) => file.endsWith(kind)),
      kind
    )
  const named = new Set(files.flatMap((file) => idsOf(readFileSync(file, 'utf8'))))
  assert.deepEqual(
    rows.filter((row) => !named.has(row)),
    []
  )
})
