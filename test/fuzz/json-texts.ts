/** Values that are nearly right, and the texts they can be written as. */
import fc from 'fast-check'

/** One change of a value, somewhere inside it. */
export type ValueEdit = (value: unknown) => unknown

type Container = Record<string, unknown> | unknown[]

/** Every object and array inside a value, the outermost first. */
function containersIn(value: unknown): Container[] {
  if (typeof value !== 'object' || value === null) return []
  return [value as Container, ...Object.values(value).flatMap(containersIn)]
}

const stranger = fc.oneof(
  fc.constantFrom<unknown>(null, true, 0, -0, -1, 1.5, 2 ** 31, 2 ** 53, 1e300, '', 'x', 'x'.repeat(40), [], {}, [1], {
    a: 1
  }),
  fc.jsonValue({ maxDepth: 1 })
)

/** What is nearly the value that is there. */
function near(value: unknown, way: number): unknown {
  if (typeof value === 'number') return [value + 1, value - 1, value + 0.5, -value, String(value)][way % 5]
  if (typeof value === 'string')
    return [`${value}x`, value.slice(1), `${value}\n`, value.toUpperCase(), [value]][way % 5]
  if (Array.isArray(value)) return [[...value, value[0]], value.slice(1), { ...value }, [...value, null], null][way % 5]
  // Not what it is as a string: an object may have a `toString` of its own.
  return [null, !value, [value], 'true', 0][way % 5]
}

const place = fc.nat(50)

export const valueEdit: fc.Arbitrary<ValueEdit> = fc
  .tuple(place, place, place, stranger)
  .map(([at, entry, way, other]): ValueEdit => {
    return (value) => {
      const copy = structuredClone(value)
      const containers = containersIn(copy)
      const container = containers[at % containers.length] as Container
      const keys = Object.keys(container)
      const key = keys[entry % Math.max(keys.length, 1)]
      const inside = container as Record<string, unknown>
      if (way % 8 === 0 || key === undefined) inside[Array.isArray(container) ? container.length : 'more'] = other
      else if (way % 8 === 1) Array.isArray(container) ? container.splice(entry, 1) : delete inside[key]
      else if (way % 8 === 2) inside[key] = other
      else inside[key] = near(inside[key], way)
      return copy
    }
  })

/** One change of a text. */
export type TextEdit = (text: string) => string

/** Puts something in behind the n-th place that a test finds. */
function insertAfter(character: string, nth: number, piece: string): TextEdit {
  return (text) => {
    const places = [...text].flatMap((own, at) => (own === character ? [at] : []))
    const at = places[nth % Math.max(places.length, 1)]
    return at === undefined ? text : text.slice(0, at + 1) + piece + text.slice(at + 1)
  }
}

const members = [
  '"__proto__":{},',
  '"\\u005f_proto__":1,',
  '"__pro\\u0074o__":{"x":1},',
  '"constructor":{"prototype":{}},',
  '"c\\u006fnstructor":{"\\u0070rototype":1},',
  '"constructor":1,',
  '"prototype":{},',
  '"toString":1,',
  '"hasOwnProperty":1,',
  '"type":"m",',
  '"type":"n",',
  '"ref":7,',
  '"ref":"r",',
  '"ref":null,',
  '"a":1,',
  '"":0,'
]
const junk = [
  '\ufeff',
  ' ',
  '\n',
  '\t',
  '\u00a0',
  '\0',
  ',',
  '}',
  ']',
  '{',
  '[',
  '"',
  '\\',
  '\\u',
  '\\ud800',
  '\ud800',
  '1e999',
  '-0',
  '/**/',
  'null'
]

/** Around the bounds of the campaign, and far beyond. */
const deep = fc.oneof(fc.integer({ min: 6, max: 10 }), fc.integer({ min: 1, max: 40 })).map((depth): TextEdit => {
  const piece = '['.repeat(depth) + ']'.repeat(depth)
  return (text) => text.replace(/:(?=["\d])/, `:${piece},"k":`)
})
const wide = fc.oneof(fc.integer({ min: 16, max: 25 }), fc.integer({ min: 1, max: 40 })).map((count): TextEdit => {
  const piece = Array.from({ length: count }, (_, at) => `"k${at}":0,`).join('')
  return insertAfter('{', 0, piece)
})
const spelling = place.map(
  (at): TextEdit =>
    (text) => {
      const letters = [...text.matchAll(/(?<=")[a-z](?=[a-z0-9]*")/g)]
      const found = letters[at % Math.max(letters.length, 1)]
      if (found === undefined) return text
      const code = found[0].charCodeAt(0).toString(16).padStart(4, '0')
      return `${text.slice(0, found.index)}\\u${code}${text.slice(found.index + 1)}`
    }
)
const number = fc
  .tuple(
    place,
    fc.constantFrom('-0', '1e2', '1.0', '1E400', '-1e-400', '01', '9007199254740993', '0.1e1', '+1', '.5', 'NaN')
  )
  .map(
    ([nth, other]): TextEdit =>
      (text) => {
        let at = -1
        const count = [...text.matchAll(/-?\d+/g)].length
        return text.replace(/-?\d+/g, (own) => (++at === nth % Math.max(count, 1) ? other : own))
      }
  )

export const textEdit: fc.Arbitrary<TextEdit> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(place, fc.constantFrom(...members)).map(([nth, piece]) => insertAfter('{', nth, piece))
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(place, fc.constantFrom(',', ':', '{', '[', '}', ']', '"'), fc.constantFrom(...junk))
      .map(([nth, after, piece]) => insertAfter(after, nth, piece))
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(...junk).map(
      (piece): TextEdit =>
        (text) =>
          `${text}${piece}`
    )
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(...junk).map(
      (piece): TextEdit =>
        (text) =>
          `${piece}${text}`
    )
  },
  { weight: 2, arbitrary: spelling },
  { weight: 2, arbitrary: fc.oneof(deep, wide) },
  { weight: 2, arbitrary: number },
  {
    weight: 1,
    arbitrary: fc.tuple(place, fc.nat(3)).map(
      ([at, count]): TextEdit =>
        (text) =>
          text.slice(0, at) + text.slice(at + count)
    )
  }
)
