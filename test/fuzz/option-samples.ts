/** For every option values that are right and values that are wrong, written down beside the table of the guard. */
import fc from 'fast-check'
import { MemoryStore } from '../../lib/index.ts'

export interface OptionSamples {
  readonly valid: fc.Arbitrary<unknown>
  readonly isValid: (value: unknown) => boolean
}

const int32 = 2 ** 31 - 1

function integer(min: number, max: number = int32): OptionSamples {
  const edges = fc.constantFrom(min, min + 1, max, Math.min(100_000, max))
  return {
    valid: fc.oneof(edges, fc.integer({ min, max: Math.min(max, 1_000_000) })),
    isValid: (value) => typeof value === 'number' && value % 1 === 0 && value >= min && value <= max
  }
}

const rate: OptionSamples = {
  valid: fc.oneof(fc.constantFrom(0.5, 1, int32), fc.double({ min: 0.001, max: 1e6, noNaN: true })),
  isValid: (value) => typeof value === 'number' && value > 0 && value <= int32
}

function oneOf(...values: unknown[]): OptionSamples {
  return { valid: fc.constantFrom(...values), isValid: (value) => values.includes(value) }
}

const isText = (value: unknown): boolean => typeof value === 'string' && value !== ''
const isList = (value: unknown, least: number, isItem: (item: unknown) => boolean): boolean =>
  Array.isArray(value) && value.length >= least && [...value].every(isItem)
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const text: OptionSamples = { valid: fc.stringMatching(/^[a-z]{1,8}$/), isValid: isText }
function list(least: number): OptionSamples {
  return {
    valid: fc.array(fc.stringMatching(/^[a-z]{1,8}$/), { minLength: least, maxLength: 3 }),
    isValid: (value) => isList(value, least, isText)
  }
}
const texts: OptionSamples = {
  valid: fc.oneof(text.valid, list(1).valid),
  isValid: (value) => isText(value) || isList(value, 1, isText)
}
const bool: OptionSamples = oneOf(true, false)
const func: OptionSamples = { valid: fc.constant(() => true), isValid: (value) => typeof value === 'function' }
const duration: OptionSamples = integer(1)

function orFalse({ valid, isValid }: OptionSamples): OptionSamples {
  return { valid: fc.oneof(valid, fc.constant(false)), isValid: (value) => value === false || isValid(value) }
}

/** An object of these and nothing else. */
function exactly(parts: Readonly<Record<string, OptionSamples>>): OptionSamples {
  const names = Object.keys(parts)
  return {
    valid: fc.record(Object.fromEntries(names.map((name) => [name, (parts[name] as OptionSamples).valid]))),
    isValid: (value) =>
      isRecord(value) &&
      Object.keys(value).sort().join() === [...names].sort().join() &&
      names.every((name) => parts[name]?.isValid(value[name]))
  }
}

const sources = ['header', 'subprotocol', 'query', 'ticket']
const from: OptionSamples = {
  valid: fc.subarray(sources, { minLength: 1 }),
  isValid: (value) =>
    isList(value, 1, (item) => [...sources, 'cookie', 'message'].includes(item as string)) &&
    new Set(value as unknown[]).size === (value as unknown[]).length
}

const timeWindow: OptionSamples = {
  valid: fc.oneof(duration.valid, fc.constantFrom('1 minute', '30s', '2 hours', '500 ms', '10 m')),
  isValid: (value) =>
    duration.isValid(value) ||
    (typeof value === 'string' && /^[1-9][0-9]* ?(?:ms|s|m|h|seconds?|minutes?|hours?)$/.test(value))
}

/** RFC 7230 section 3.2.6: what is printed and no delimiter. */
const token = /^[!-~]+$/
const delimiter = /[()<>@,;:\\"/[\]?={}]/
const protocols: OptionSamples = {
  valid: fc.subarray(['ws-guard.v1', 'chat', 'v2.json', "a!#$%&'*+.^_`|~-"], { minLength: 1 }),
  isValid: (value) =>
    isList(
      value,
      1,
      (item) =>
        typeof item === 'string' &&
        token.test(item) &&
        !delimiter.test(item) &&
        !/^(base64url\.bearer|bearer|ticket)\./.test(item)
    ) && new Set(value as unknown[]).size === (value as unknown[]).length
}

const isSendable = (code: unknown): boolean =>
  [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 1014].includes(code as number) ||
  (Number.isInteger(code) && (code as number) >= 3000 && (code as number) <= 4999)
const closeNames = [
  ...['normal', 'going_away', 'unsupported_data', 'invalid_data', 'policy_violation', 'too_big', 'internal_error'],
  ...['restart', 'unavailable', 'unauthorized', 'forbidden', 'timeout']
]
const closeCodes: OptionSamples = {
  valid: fc.constantFrom<unknown>('iana', {}, { unauthorized: 3000 }, { normal: 1001, timeout: 4999 }),
  isValid: (value) =>
    value === 'iana' ||
    (isRecord(value) && Object.entries(value).every(([name, code]) => closeNames.includes(name) && isSendable(code)))
}

const headers: OptionSamples = {
  valid: fc.constantFrom({}, { 'x-frame-options': 'deny' }, { 'Strict-Transport-Security': 'max-age=1' }),
  // What a header may be is node's to say: the wrong ones below are wrong for other reasons.
  isValid: (value) =>
    isRecord(value) &&
    Object.values(value).every((each) => typeof each === 'string') &&
    !Object.keys(value).some((name) => /^(upgrade|__proto__|)$/i.test(name) || /[^a-z0-9-]/i.test(name))
}

const origins: OptionSamples = {
  valid: fc.oneof(
    fc.constant(false),
    fc.subarray(['https://a.example', 'http://localhost:3000', 'https://*.b.example', 'https://*.c.example:8443'], {
      minLength: 1
    })
  ),
  isValid: (value) =>
    value === false || isList(value, 1, (item) => typeof item === 'string' && /^https?:\/\/[a-z*.]+(:\d+)?$/.test(item))
}

const names = {
  origins,
  missingOrigin: oneOf('bearer-only', 'refuse'),
  'auth.from': from,
  'auth.verify': func,
  'auth.identity': func,
  'auth.queryParam': text,
  'auth.cookieName': text,
  'auth.messageTimeoutMs': duration,
  'auth.refresh': orFalse(exactly({ perMinute: integer(1) })),
  authorize: func,
  reauthorizeMs: orFalse(duration),
  requireTls: bool,
  allowUnsafeTrustProxy: bool,
  protocols,
  refuse: oneOf('http', 'close'),
  'limits.maxPayloadBytes': integer(1),
  'limits.attempts.max': integer(1),
  'limits.attempts.timeWindow': timeWindow,
  'limits.attempts.allowList': {
    valid: fc.oneof(list(0).valid, func.valid),
    isValid: (value) => func.isValid(value) || list(0).isValid(value)
  },
  'limits.attempts.keyGenerator': func,
  'limits.attempts.ipv6Subnet': integer(32, 128),
  'limits.attempts.globalMax': integer(1),
  'limits.connections.total': integer(1),
  'limits.connections.perIp': integer(1),
  'limits.connections.perUser': integer(1),
  'limits.connections.unauthenticated': integer(1),
  'limits.messages.perSecond': rate,
  'limits.messages.burst': integer(1),
  'limits.messages.onExceeded': oneOf('error', 'delay', 'close'),
  'limits.userMessages': orFalse(exactly({ perSecond: rate, burst: integer(1) })),
  'limits.bytes.perSecond': rate,
  'limits.bytes.burst': integer(1),
  'limits.fragments.perMessage': integer(1),
  'limits.fragments.bufferedChunks': integer(1),
  'limits.controlFrames.perSecond': rate,
  'limits.controlFrames.burst': integer(1),
  'limits.controlFrames.pendingPongs': integer(1),
  'limits.json.depth': integer(1, 1_000),
  'limits.json.keys': integer(1),
  'limits.strikes.max': integer(0),
  'limits.strikes.windowMs': duration,
  'limits.queue.messages': integer(1),
  'limits.queue.bytes': integer(1),
  'limits.sendBuffer.softBytes': integer(1),
  'limits.sendBuffer.hardBytes': integer(1),
  'limits.totalBufferedBytes': integer(1, Number.MAX_SAFE_INTEGER),
  'limits.topics': integer(0),
  'heartbeat.intervalMs': duration,
  'heartbeat.timeoutMs': duration,
  handshakeTimeoutMs: duration,
  handlerTimeoutMs: duration,
  closeTimeoutMs: integer(1, 30_000),
  idleTimeoutMs: orFalse(duration),
  maxLifetimeMs: orFalse(duration),
  upgradeHeaders: headers,
  'shutdown.timeoutMs': duration,
  'shutdown.spreadMs': integer(0),
  closeCodes,
  logSamplePerSecond: integer(1),
  store: { valid: fc.constant(new MemoryStore()), isValid: (value: unknown) => value instanceof MemoryStore },
  'websocket.errorHandler': func
} satisfies Record<string, OptionSamples>

/** Of @fastify/jwt, which an own verifier rules out; and hosts, which go with 'same-origin' alone. */
const wrongOnly: Record<string, OptionSamples> = {
  hosts: list(1),
  'auth.namespace': text,
  'auth.algorithms': list(1),
  'auth.requiredClaims': list(0),
  'auth.audience': texts,
  'auth.issuer': texts,
  'auth.maxTokenAgeMs': duration
}

export const optionSamples: Readonly<Record<string, OptionSamples>> = names
export const allSamples: Readonly<Record<string, OptionSamples>> = { ...names, ...wrongOnly }

/** What nobody means. Each is wrong for most options; `isValid` tells for which it is not. */
export const hostile: readonly unknown[] = [
  ...[
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    -1,
    0,
    -0,
    0.5,
    1.5,
    2 ** 31,
    2 ** 53,
    1e300,
    10n
  ],
  ...['', '1', '100', 'true', 'false', 'error', 'http', '10 parsecs', '0 minutes', '\u0000', null, true, false],
  ...[
    [],
    {},
    [null],
    [undefined],
    [''],
    ['a', 'a'],
    [1],
    new Array(3),
    { perSecond: 1 },
    { perSecond: 1, burst: 1, more: 1 }
  ],
  ...[
    Symbol('x'),
    () => {},
    new Date(0),
    new Map(),
    Object(1),
    Object('http'),
    /x/,
    new Proxy({}, {}),
    Promise.resolve(1)
  ],
  ...[
    { valueOf: () => 5 },
    { toString: () => 'http' },
    { 0: 'header', length: 1 },
    ['bearer.x'],
    { upgrade: 'x' },
    { normal: 1005 }
  ]
]
