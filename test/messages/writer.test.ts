/** The text of one pass, against the plain way: project, check, `JSON.stringify`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type TSchema, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import fc from 'fast-check'
import { closeSchema } from '../../lib/messages/close-schema.ts'
import { isObject } from '../../lib/messages/is-object.ts'
import { compileProjection } from '../../lib/messages/project.ts'
import { compileWriter, type Write } from '../../lib/messages/writer.ts'
import { anySchema } from '../fuzz/schemas.ts'

const numRuns = 1_000

function closed(schema: TSchema): TSchema {
  return closeSchema(schema, (path, problem) => {
    throw new Error(`${path} ${problem}`)
  })
}

function plainWay(schema: TSchema): Write {
  const project = compileProjection(schema)
  const compiled = TypeCompiler.Compile(schema)
  return (value) => {
    const projected = project(value)
    return compiled.Check(projected) ? JSON.stringify(projected) : undefined
  }
}

/** The text, or that it threw. */
function outcome(write: Write, value: unknown): unknown {
  try {
    return write(value)
  } catch {
    return 'threw'
  }
}

const odd = [undefined, null, true, 0, -0, 1e21, 5e-324, Number.NaN, Number.POSITIVE_INFINITY, 1n, () => 1]
const texts = [
  '',
  'plain',
  '"',
  '\\',
  '\n',
  '\u0000',
  '\u001f',
  ' ',
  '~',
  '\u007f',
  '\u0080',
  'é',
  '\u2028',
  '😀',
  '\ud800'
]
const strange = fc.constantFrom<unknown>(...odd, ...texts, [], {}, new Date(0), new Map(), Object.create(null))

test('O3: one pass writes what projecting, checking and JSON.stringify would, and refuses the same', () => {
  const written = { texts: 0, refused: 0 }
  fc.assert(
    fc.property(anySchema, anySchema, strange, (one, other, odd) => {
      const schema = closed(one.schema)
      const [write, expected] = [compileWriter(schema), plainWay(schema)]
      const more = one.values.map((value) => (isObject(value) ? { ...value, extra: 1 } : value))
      for (const value of [...one.values, ...more, ...other.values, odd]) {
        const text = outcome(write, value)
        assert.equal(text, outcome(expected, value))
        written[text === undefined ? 'refused' : 'texts']++
      }
    }),
    { numRuns }
  )
  // Both happened often enough to mean something.
  assert.ok(written.texts > numRuns / 2 && written.refused > numRuns / 2, JSON.stringify(written))
})

test('O3: every string is written as JSON.stringify writes it', () => {
  const write = compileWriter(Type.String())
  const piece = fc.oneof(fc.string({ unit: 'binary' }), fc.string(), fc.constantFrom(...texts))
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 5 }), (pieces) => {
      const text = pieces.join('')
      assert.equal(write(text), JSON.stringify(text))
    }),
    { numRuns }
  )
  for (let code = 0; code <= 0xffff; code++) {
    const text = `a${String.fromCharCode(code)}b`
    if (write(text) !== JSON.stringify(text)) assert.fail(`U+${code.toString(16)}`)
  }
})

test('O3: a property is read once, and nothing of a value is read that is not declared', () => {
  const read: string[] = []
  const value = new Proxy(
    { a: 'x', b: [1, 2], c: undefined, secret: 'canary' },
    {
      get(target, name) {
        read.push(String(name))
        return Reflect.get(target, name)
      }
    }
  )
  const schema = Type.Object({ a: Type.String(), b: Type.Array(Type.Integer()), c: Type.Optional(Type.Null()) })
  assert.equal(compileWriter(closed(schema))(value), '{"a":"x","b":[1,2]}')
  assert.deepEqual(read, ['a', 'b', 'c'])
})

test('O3: an object of which nothing is left is written without a comma', () => {
  const opening = '{"type":"said"'
  const optional = Type.Object({ a: Type.Optional(Type.String()) })
  const open = Type.Object({}, { additionalProperties: true })
  for (const schema of [optional, open]) {
    assert.equal(compileWriter(closed(schema))({ a: undefined }), '{}')
    assert.equal(compileWriter(closed(schema), opening)({}), `${opening}}`)
    assert.equal(compileWriter(closed(schema), opening)({ a: 'x' }), `${opening},"a":"x"}`)
  }
})

test('O3: an array with a bound that only its whole can tell is looked at as a whole', () => {
  const bounds = [{ minContains: 1 }, { maxContains: 0 }, { uniqueItems: true }, { contains: Type.Literal(1) }]
  for (const bound of bounds) {
    const schema = closed(Type.Array(Type.Integer(), bound as object))
    for (const value of [[], [1], [1, 1], [2], [2, 2]]) {
      assert.equal(compileWriter(schema)(value), plainWay(schema)(value), JSON.stringify([bound, value]))
    }
  }
})
