/** Faults in how a message, an option, an Origin or a close is read. */
import type { Mutant } from './mutants.ts'

export const inputMutants: readonly Mutant[] = [
  {
    name: 'M8: one level deeper',
    file: 'messages/decode.ts',
    find: 'if (++depth > limits.depth) return true',
    replace: 'if (++depth > limits.depth + 1) return true',
    killedBy: ['messages/decode.test.ts'],
    fuzzedBy: 'contracts'
  },
  {
    name: 'M8: one level less',
    file: 'messages/decode.ts',
    find: 'if (++depth > limits.depth) return true',
    replace: 'if (++depth >= limits.depth) return true',
    killedBy: ['messages/decode.test.ts'],
    fuzzedBy: 'contracts'
  },
  {
    name: 'M8: one key less',
    file: 'messages/decode.ts',
    find: 'if (++keys > limits.keys) return true',
    replace: 'if (++keys >= limits.keys) return true',
    killedBy: ['messages/decode.test.ts']
  },
  {
    name: 'M4: a key with an escape in it is not looked at',
    file: 'messages/decode.ts',
    find: " && !text.includes('\\\\u')) return JSON.parse",
    replace: ') return JSON.parse',
    killedBy: ['messages/decode.test.ts'],
    fuzzedBy: 'contracts'
  },
  {
    name: 'M4: constructor.prototype is let through',
    file: 'messages/decode.ts',
    find: "constructorAction: 'error'",
    replace: "constructorAction: 'ignore'",
    killedBy: ['messages/decode.test.ts'],
    fuzzedBy: 'contracts'
  },
  {
    name: 'M4: __proto__ is let through',
    file: 'messages/decode.ts',
    find: "protoAction: 'error'",
    replace: "protoAction: 'ignore'",
    killedBy: ['messages/decode.test.ts'],
    fuzzedBy: 'contracts'
  },
  {
    name: 'M5: objects are open',
    file: 'messages/close-schema.ts',
    find: 'const { additionalProperties = false } = schema',
    replace: 'const { additionalProperties = true } = schema',
    killedBy: ['messages/compile-contract.test.ts'],
    fuzzedBy: 'contracts'
  },
  {
    name: 'M5: intersections are open',
    file: 'messages/close-schema.ts',
    find: 'additionalProperties: open || unevaluated',
    replace: 'additionalProperties: true',
    killedBy: ['messages/compile-contract.test.ts'],
    fuzzedBy: 'contracts'
  },
  {
    name: 'O3: undeclared properties leave',
    file: 'messages/project.ts',
    find: 'const addition = additional === true ? plain : additional && compileProjection(additional)',
    replace: 'const addition = plain',
    killedBy: ['messages/encode.test.ts'],
    fuzzedBy: 'contracts'
  },
  {
    name: 'O4: 1005 may be sent',
    file: 'close-codes.ts',
    find: 'number <= 1003)',
    replace: 'number <= 1005)',
    killedBy: ['floor/close-codes.test.ts'],
    fuzzedBy: 'arguments'
  },
  {
    name: 'O4: a reason is cut in the middle of a character',
    file: 'close-codes.ts',
    find: '  while (((bytes[end] as number) & 0xc0) === 0x80) end--\n',
    replace: '',
    killedBy: ['floor/close-codes.test.ts'],
    fuzzedBy: 'arguments'
  },
  {
    name: 'O4: a reason may be longer by one byte',
    file: 'close-codes.ts',
    find: 'maxCloseReasonBytes = 123',
    replace: 'maxCloseReasonBytes = 124',
    killedBy: ['floor/close-codes.test.ts'],
    fuzzedBy: 'arguments'
  },
  {
    name: 'H2: anything may stand before the suffix',
    file: 'handshake/origin.ts',
    find: 'return labels.length <= maxHostLength && labelsPattern.test(labels)',
    replace: 'return labels.length > 0',
    killedBy: ['handshake/origin.test.ts'],
    fuzzedBy: 'origins'
  },
  {
    name: 'H2: the suffix is not compared',
    file: 'handshake/origin.ts',
    find: ' || !origin.endsWith(suffix)) return false',
    replace: ') return false',
    killedBy: ['handshake/origin.test.ts'],
    fuzzedBy: 'origins'
  },
  {
    name: 'H2: an origin that begins like a known one is admitted',
    file: 'handshake/origin.ts',
    find: '(exact.has(origin) ||',
    replace: '([...exact].some((known) => origin.startsWith(known)) ||',
    killedBy: ['handshake/origin.test.ts'],
    fuzzedBy: 'origins'
  },
  {
    name: "H2: with 'same-origin' the scheme does not matter",
    file: 'handshake/origin.ts',
    find: 'origin === scheme.origin + name',
    replace: 'origin.endsWith(name)',
    killedBy: ['handshake/origin.test.ts'],
    fuzzedBy: 'origins'
  },
  {
    name: 'L4: a number need not be whole',
    file: 'route/option-checks.ts',
    find: 'accepts: (value) => Number.isInteger(value) && (value as number) >= min',
    replace: 'accepts: (value) => (value as number) >= min',
    killedBy: ['route/options.test.ts'],
    fuzzedBy: 'options'
  },
  {
    name: 'L4: a rate may be 0',
    file: 'route/option-checks.ts',
    find: 'value > 0 && value <= max',
    replace: 'value >= 0 && value <= max',
    killedBy: ['route/options.test.ts', 'route/boot-matrix.test.ts'],
    fuzzedBy: 'options'
  },
  {
    name: 'L4: an option that nobody knows is left aside',
    file: 'route/resolve-options.ts',
    find: 'if (below.length === 0) throw',
    replace: 'if (below.length === 0) continue\n    if (below.length === 0) throw',
    killedBy: ['route/options.test.ts'],
    fuzzedBy: 'options'
  }
]
