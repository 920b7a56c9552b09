import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import cookie from '@fastify/cookie'
import jwt from '@fastify/jwt'
import websocket from '@fastify/websocket'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { closeCodePresets } from '../../lib/close-codes.ts'
import wsGuard, { defineContract, OptionError, optionTable, type WsGuardOptions } from '../../lib/index.ts'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import { maxInt32 } from '../../lib/route/option-checks.ts'
import { type OptionValues, resolveOptions } from '../../lib/route/resolve-options.ts'
import { buildApp, echo, origin, secret } from '../support/app.ts'

type Options = Record<string, unknown>

const apps: FastifyInstance[] = []
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close()
})

const required = { origins: [origin], auth: false }
const handlers = { say: () => {}, ask: () => ({ items: [] }) }
const contractRoute = { contract: echo, handlers }

/** Registers the plugin and a route with options no type would admit. */
async function boot(plugin: Options, route?: Options, path = '/', server?: FastifyServerOptions): Promise<void> {
  const app = Fastify(server) as unknown as FastifyInstance
  apps.push(app)
  await app.register(jwt, { secret })
  await app.register(wsGuard, plugin as WsGuardOptions)
  if (route !== undefined) app.wsRoute(path, route as never)
  await app.ready()
}

/** Asserts an OptionError whose message matches every pattern. */
async function refuses(boots: Promise<unknown>, ...patterns: RegExp[]): Promise<void> {
  await assert.rejects(boots, (error: Error & { code?: string }) => {
    assert.ok(error instanceof OptionError, String(error))
    assert.equal(error.code, 'WSG_ERR_OPTION')
    assert.match(error.message, /^fastify-ws-guard: /)
    for (const pattern of patterns) assert.match(error.message, pattern)
    return true
  })
}

/** `{ a: { b: value } }` for `a.b`. */
function at(path: string, value: unknown): Options {
  return path.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Options
}

function escaped(text: string): RegExp {
  return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
}

/* Every row of the table. */

const okFunction = (): true => true
const store = new MemoryStore()

/** For each option a value other than its default, and some that are refused. */
const samples: Readonly<Record<string, { good: unknown[]; bad: unknown[] }>> = {
  origins: { good: [[origin], 'same-origin', false], bad: [] },
  hosts: { good: [['app.example.com']], bad: ['app.example.com', [], [1], ['']] },
  missingOrigin: { good: ['refuse'], bad: ['allow', true, null] },
  'auth.from': { good: [['cookie'], ['query', 'ticket']], bad: ['header', [], ['Header'], ['body'], null] },
  'auth.verify': { good: [okFunction], bad: ['verify', {}, true] },
  'auth.namespace': { good: ['admin'], bad: ['', 1] },
  'auth.algorithms': { good: [['RS256']], bad: ['RS256', [], [256]] },
  'auth.requiredClaims': { good: [[], ['exp']], bad: ['exp', [1], ['']] },
  'auth.audience': { good: ['me', ['me', 'you']], bad: ['', [], [1], /me/] },
  'auth.issuer': { good: ['me', ['me']], bad: ['', [], [null]] },
  'auth.queryParam': { good: ['access_token'], bad: ['', 1] },
  'auth.cookieName': { good: ['sid'], bad: ['', true] },
  'auth.refresh': { good: [{ perMinute: 1 }, false], bad: [true, {}, { perMinute: 0 }, { perMinute: 1, max: 2 }, 6] },
  protocols: {
    good: [['graphql-transport-ws', 'chat.v2']],
    bad: ['chat', [], ['chat', 'chat'], ['a b'], [''], ['bearer.x'], ['base64url.bearer.x'], ['ticket.x'], [1, 2, {}]]
  },
  refuse: { good: ['close'], bad: ['drop', 1] },
  'limits.attempts.timeWindow': {
    good: [1_000, '5 minutes', '10s', '1 hour'],
    bad: ['soon', '', 0, 1.5, -1, '-1 minute', '1 fortnight']
  },
  'limits.attempts.allowList': { good: [[], ['127.0.0.1'], okFunction], bad: ['127.0.0.1', [1]] },
  'limits.attempts.ipv6Subnet': { good: [32, 128], bad: [31, 129, '64'] },
  'limits.messages.onExceeded': { good: ['delay', 'close'], bad: ['drop', false] },
  'limits.userMessages': {
    good: [{ perSecond: 0.5, burst: 5 }, false],
    bad: [true, { perSecond: 5 }, { perSecond: 0, burst: 5 }, { perSecond: 5, burst: 1.5 }, [5, 5]]
  },
  'limits.strikes.max': { good: [0, 9], bad: [-1, '5', 1.5, Number.NaN] },
  'limits.topics': { good: [0, 9], bad: [-1, '50', Number.POSITIVE_INFINITY] },
  'limits.json.depth': { good: [1, 1_000], bad: [0, 1_001, '32'] },
  'limits.totalBufferedBytes': { good: [2 ** 40], bad: [0, 2 ** 53, '1'] },
  'shutdown.spreadMs': { good: [500], bad: [-1, '0', 2 ** 31] },
  closeTimeoutMs: { good: [1, 30_000], bad: [0, 30_001, '5000', Number.NaN] },
  upgradeHeaders: {
    good: [{}, { 'x-frame-options': 'DENY' }, { 'Content-Security-Policy': "default-src 'none'" }],
    bad: [
      [],
      'x: y',
      { 'x y': '1' },
      { x: 'a\r\nb: c' },
      { x: 1 },
      { Connection: 'close' },
      { upgrade: 'h2c' },
      { 'Sec-WebSocket-Accept': 'x' },
      { 'content-length': '0' },
      { 'transfer-encoding': 'chunked' },
      { 'Keep-Alive': 'timeout=5' },
      { 'proxy-connection': 'close' },
      { te: 'trailers' },
      { trailer: 'x' },
      { 'http2-settings': '' },
      { 'content-type': 'text/html' },
      { 'content-encoding': 'gzip' }
    ]
  },
  closeCodes: {
    good: ['iana', {}, { unauthorized: 4401 }],
    bad: ['IANA', 'toString', { unauthorized: 1005 }, { unauthorized: '4001' }, { nope: 4000 }, { forbidden: 5000 }, []]
  },
  store: { good: [store], bad: ['redis', {}, { acquireSlot: okFunction }, null] }
}

const functions = ['auth.identity', 'authorize', 'limits.attempts.keyGenerator', 'websocket.errorHandler']
const booleans = ['requireTls', 'allowUnsafeTrustProxy']
/** Also `false`. */
const optionalDurations = ['reauthorizeMs', 'idleTimeoutMs', 'maxLifetimeMs']
const rates = ['limits.messages.perSecond', 'limits.bytes.perSecond', 'limits.controlFrames.perSecond']
/** Threat R4: what ws and timers take for "unlimited" or overflow on. */
const notPositive = [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, '10', null, true, [10], 10n]

function samplesOf(path: string): { good: unknown[]; bad: unknown[] } {
  const own = samples[path]
  if (own !== undefined) return own
  if (functions.includes(path)) return { good: [okFunction], bad: [true, 'f', {}, null] }
  if (booleans.includes(path)) return { good: [true, false], bad: [1, 'true', null] }
  if (rates.includes(path)) return { good: [0.1, 7, maxInt32], bad: [...notPositive] }
  const integer = { good: [7, maxInt32], bad: [1.5, ...notPositive] }
  return optionalDurations.includes(path) ? { good: [...integer.good, false], bad: integer.bad } : integer
}

for (const { path, check, default: fallback, pluginOnly } of optionTable) {
  test(`L4: ${path}: its default, the plugin's value and the route's`, () => {
    const { good, bad } = samplesOf(path)
    assert.deepEqual(resolveOptions({}, 'plugin', 'here').get(path), fallback)
    for (const value of good) {
      const plugin = resolveOptions(at(path, value), 'plugin', 'here')
      assert.deepEqual(plugin.get(path), value)
      assert.deepEqual(resolveOptions({}, 'route', 'here', plugin).get(path), value)
      // The rest of a group stays what it was.
      for (const other of optionTable) {
        if (other.path !== path) assert.deepEqual(plugin.get(other.path), other.default, other.path)
      }
      const [other] = good
      if (pluginOnly) {
        assert.throws(
          () => resolveOptions(at(path, other), 'route', 'here', plugin),
          new RegExp(`here: option "${path}" is set once, where the plugin is registered`)
        )
      } else {
        assert.deepEqual(resolveOptions(at(path, other), 'route', 'here', plugin).get(path), other)
      }
    }
    for (const value of bad) {
      assert.throws(() => resolveOptions(at(path, value), 'plugin', 'here'), {
        code: 'WSG_ERR_OPTION',
        message: `fastify-ws-guard: here: option "${path}" must be ${check.allowed}`
      })
    }
  })
}

test('L4: the table documents every option once', () => {
  const paths = optionTable.map(({ path }) => path)
  assert.equal(new Set(paths).size, paths.length)
  for (const path of Object.keys(samples)) assert.ok(paths.includes(path), path)
  for (const entry of optionTable) {
    assert.ok(entry.default === undefined || entry.check.accepts(entry.default), `${entry.path}: its own default`)
  }
})

test('L4: `auth: false` switches auth off, on the plugin and on the route', () => {
  const off = resolveOptions({ auth: false }, 'plugin', 'here')
  assert.equal(off.get('auth'), false)
  assert.equal(resolveOptions({}, 'route', 'here', off).get('auth'), false)
  const on = resolveOptions({ auth: { from: ['query'] } }, 'route', 'here', off)
  assert.deepEqual(on.get('auth'), { from: ['query'] })
  assert.equal(resolveOptions({ auth: false }, 'route', 'here', on).get('auth'), false)
})

test('a group is one frozen object, without what was not set', () => {
  const values: OptionValues = resolveOptions({ limits: { messages: { burst: 3 } } }, 'plugin', 'here')
  const messages = values.group<object>('limits.messages')
  assert.deepEqual(messages, { perSecond: 20, burst: 3, onExceeded: 'error' })
  assert.ok(Object.isFrozen(messages))
  assert.deepEqual(Object.keys(values.group<object>('limits.attempts')).sort(), ['ipv6Subnet', 'max', 'timeWindow'])
})

/* Names. */

const unknownNames: readonly [Options, RegExp][] = [
  [{ origin: ['x'] }, /there is no option "origin"; did you mean "origins"\?/],
  [{ Origins: ['x'] }, /there is no option "Origins"; did you mean "origins"\?/],
  [{ maxPayloadBytes: 1 }, /there is no option "maxPayloadBytes"; did you mean "limits.maxPayloadBytes"\?/],
  [{ maxPayload: 1 }, /there is no option "maxPayload"; did you mean "limits.maxPayloadBytes"\?/],
  [{ heartbeat: { interval: 1 } }, /no option "heartbeat.interval"; did you mean "heartbeat.intervalMs"\?/],
  [{ limits: { messages: { rate: 1 } } }, /there is no option "limits.messages.rate"$/],
  [{ xyz: 1 }, /there is no option "xyz"$/],
  [{ a: 1 }, /there is no option "a"$/],
  [{ '': 1 }, /there is no option ""$/],
  [{ limits: 5 }, /option "limits" must be an object of maxPayloadBytes, attempts, connections/],
  [{ limits: null }, /option "limits" must be an object of/],
  [{ auth: true }, /option "auth" must be an object of from, verify, namespace/],
  [{ auth: [] }, /option "auth" must be an object of/],
  [{ heartbeat: false }, /option "heartbeat" must be an object of intervalMs, timeoutMs/],
  [{ limits: false }, /option "limits" must be an object of/]
]

test('L4: a name that is none is refused, with the one that was probably meant', async () => {
  for (const [options, pattern] of unknownNames) {
    await refuses(boot({ ...required, ...options }), /register\(wsGuard\): /, pattern)
    await refuses(boot(required, { ...contractRoute, ...options }), /wsRoute\('\/'\): /, pattern)
  }
})

test('undefined is as good as not set', async () => {
  await boot(
    { ...required, hosts: undefined, limits: { topics: undefined }, nonsense: undefined },
    { ...contractRoute, auth: undefined, onOpen: undefined, limits: undefined, nonsense: undefined }
  )
})

test('M4: a polluted prototype sets no option, and hides none', (t) => {
  t.after(() => {
    for (const name of ['origins', 'refuse', 'auth', 'max', 'limits']) Reflect.deleteProperty(Object.prototype, name)
  })
  const pollution = { origins: false, refuse: 'close', auth: false, max: 1_000_000, limits: { topics: 0 } }
  Object.assign(Object.prototype, pollution)
  const values = resolveOptions({ limits: { strikes: {} } }, 'plugin', 'here')
  assert.equal(values.get('origins'), undefined)
  assert.equal(values.get('auth'), undefined)
  assert.equal(values.get('refuse'), 'http')
  assert.equal(values.get('limits.strikes.max'), 5)
  assert.equal(values.get('limits.topics'), 50)
})

test('M4: __proto__ and constructor are no option names', async () => {
  await refuses(boot({ ...required, ...JSON.parse('{"__proto__": 1}') }), /there is no option "__proto__"$/)
  await refuses(boot({ ...required, limits: JSON.parse('{"__proto__": {"topics": 0}}') }), /"limits.__proto__"$/)
  await refuses(boot({ ...required, constructor: 1 }), /there is no option "constructor"$/)
})

/* Together. */

const badTogether: readonly [string, Options, RegExp][] = [
  [
    'bytes.burst',
    { limits: { bytes: { burst: 65_535 } } },
    /"limits.bytes.burst" \(65535\) must be at least "limits.maxPayloadBytes" \(65536\)/
  ],
  [
    'queue.bytes',
    { limits: { queue: { bytes: 1 } } },
    /"limits.queue.bytes" \(1\) must be at least "limits.maxPayloadBytes"/
  ],
  ['maxPayloadBytes', { limits: { maxPayloadBytes: 262_145 } }, /"limits.bytes.burst" \(262144\) must be at least/],
  [
    'hardBytes',
    { limits: { sendBuffer: { hardBytes: 1 } } },
    /"limits.sendBuffer.hardBytes" \(1\) must be at least "limits.sendBuffer.softBytes"/
  ]
]

for (const [name, options, pattern] of badTogether) {
  test(`L4: ${name} is checked beside what it belongs to, on the plugin and on the route`, async () => {
    await refuses(boot({ ...required, ...options }), /register\(wsGuard\): option /, pattern)
    await refuses(boot(required, { ...contractRoute, ...options }), /wsRoute\('\/'\): option /, pattern)
  })
}

test('L4: a route is checked with what it inherits', async () => {
  const big = { limits: { maxPayloadBytes: 1_000, bytes: { burst: 1_000 }, queue: { bytes: 1_000 } } }
  await boot({ ...required, ...big }, contractRoute)
  await refuses(boot({ ...required, ...big }, { ...contractRoute, limits: { maxPayloadBytes: 1_001 } }), /bytes.burst/)
})

test('L4: reauthorizeMs needs an authorize, from the plugin or the route', async () => {
  await boot({ ...required, reauthorizeMs: 1_000 })
  await boot({ ...required, authorize: okFunction }, { ...contractRoute, reauthorizeMs: 1_000 })
  await boot({ ...required, reauthorizeMs: 1_000 }, { ...contractRoute, authorize: okFunction })
  await boot({ ...required, reauthorizeMs: 1_000 }, { ...contractRoute, reauthorizeMs: false })
  for (const [plugin, route] of [
    [{ reauthorizeMs: 1_000 }, {}],
    [{}, { reauthorizeMs: 1_000 }]
  ]) {
    await refuses(boot({ ...required, ...plugin }, { ...contractRoute, ...route }), /"reauthorizeMs" needs "authorize"/)
  }
})

/* Decisions. */

test('A1, H1: a route without `origins` or `auth` does not boot; the plugin alone may leave them to its routes', async () => {
  await boot({})
  await refuses(boot({ auth: false }, contractRoute), /wsRoute\('\/'\): option "origins" is required.*or say false/)
  await refuses(boot({ origins: false }, contractRoute), /option "auth" is required.*or say false/)
  await boot({}, { ...contractRoute, origins: false, auth: false })
  await boot({}, { ...contractRoute, origins: [origin], auth: {} })
})

test('H1: cookies without an Origin check do not boot, also when one of the two is inherited', async () => {
  const both = { origins: false, auth: { from: ['cookie'] } }
  const pattern = /"auth.from" has 'cookie'.*"origins" cannot be false/
  await refuses(boot({}, { ...contractRoute, ...both }), pattern)
  await refuses(boot({ origins: false }, { ...contractRoute, auth: { from: ['cookie'] } }), pattern)
  await refuses(boot({ auth: { from: ['header', 'cookie'] } }, { ...contractRoute, origins: false }), pattern)
})

test('H2: `origins` and `hosts` are checked entry by entry where the route is declared', async () => {
  for (const origins of [[], 'https://app.example.com', {}, ['app.example.com'], ['https://a.example/'], ['*'], [1]]) {
    await refuses(boot({ auth: false }, { ...contractRoute, origins }), /origins/)
  }
  await refuses(boot({ auth: false }, { ...contractRoute, origins: 'same-origin' }), /hosts/)
  await refuses(boot(required, { ...contractRoute, hosts: ['app.example.com'] }), /same-origin/)
  await boot({ origins: 'same-origin', hosts: ['app.example.com'], auth: false }, contractRoute)
  await boot({ auth: false }, { ...contractRoute, origins: 'same-origin', hosts: ['app.example.com:8443'] })
})

test('H2: the plugin’s own `origins` and `hosts` are checked although no route uses them', async () => {
  await refuses(boot({ origins: ['app.example.com'], auth: false }), /register\(wsGuard\): .*origins\[0\]/)
  await refuses(boot({ origins: 'same-origin', auth: false }), /register\(wsGuard\): .*hosts/)
})

test('a route’s list of origins overrides the plugin’s same-origin', async () => {
  const plugin = { origins: 'same-origin', hosts: ['app.example.com'], auth: false }
  await boot(plugin, { ...contractRoute, origins: [origin] })
  await boot(plugin, { ...contractRoute, origins: false })
  await refuses(boot(plugin, { ...contractRoute, origins: [origin], hosts: ['x.example.com'] }), /same-origin/)
})

test('A2: algorithms of two families, none or an unknown one do not boot', async () => {
  for (const algorithms of [['HS256', 'RS256'], ['none'], ['HS257']]) {
    await refuses(boot(required, { ...contractRoute, auth: { algorithms } }), /"auth.algorithms" must list/)
  }
  await boot(required, { ...contractRoute, auth: { algorithms: ['HS256', 'HS512'] } })
})

test('A3: options of @fastify/jwt beside a verifier of one’s own do not boot', async () => {
  const verify = okFunction
  for (const [name, value] of Object.entries({
    namespace: 'n',
    algorithms: ['HS256'],
    requiredClaims: ['sub'],
    audience: 'me',
    issuer: 'me',
    maxTokenAgeMs: 1
  })) {
    const auth = { verify, [name]: value }
    const pattern = new RegExp(`"auth.${name}" is for @fastify/jwt; with "auth.verify" your own function checks it`)
    await refuses(boot({ ...required, auth }), /register\(wsGuard\)/, pattern)
    await refuses(boot(required, { ...contractRoute, auth }), /wsRoute\('\/'\)/, pattern)
  }
  await boot({ ...required, auth: { verify, identity: () => ({ subject: 'x' }) } }, contractRoute)
  // What the plugin sets for @fastify/jwt is not said by a route with a verifier of its own.
  await boot({ ...required, auth: { audience: 'me' } }, { ...contractRoute, auth: { verify } })
  const inherited = boot({ ...required, auth: { verify } }, { ...contractRoute, auth: { audience: 'me' } })
  await refuses(inherited, /wsRoute\('\/'\): option "auth.audience" is for @fastify\/jwt/)
})

test('A10: without `sub` among the required claims there is nothing to limit and kick by', async () => {
  const auth = { requiredClaims: ['exp'] }
  await refuses(boot(required, { ...contractRoute, auth }), /"auth.requiredClaims" must have 'sub'.*"auth.identity"/)
  await boot(required, { ...contractRoute, auth: { ...auth, identity: () => ({ subject: 'x' }) } })
})

test('A6: a query parameter that is a credential cannot be one of the route’s', async () => {
  const schema = (name: string): Options => ({ schema: { querystring: Type.Object({ [name]: Type.String() }) } })
  const named = (name: string): RegExp[] => [escaped(`schema.querystring has "${name}"`), /rename it/]
  await refuses(boot(required, { ...contractRoute, ...schema('token') }), ...named('token'), /"auth.queryParam"/)
  await refuses(boot(required, { ...contractRoute, ...schema('ticket') }), ...named('ticket'))
  await boot(required, { ...contractRoute, ...schema('room') })
  await boot({ ...required, auth: { queryParam: 'key' } }, { ...contractRoute, ...schema('token') })
  await boot(required, { ...contractRoute, schema: { querystring: { $ref: 'x#' }, params: {} } }).catch((error) => {
    // Fastify's own complaint: there is no such schema.
    assert.equal(error.code, 'FST_ERR_SCH_VALIDATION_BUILD')
  })
})

test('A6: the clash is seen in whichever order the two routes are declared', async () => {
  const schema = { querystring: Type.Object({ key: Type.String() }) }
  const keyed = { ...contractRoute, auth: { from: ['query'], queryParam: 'key' } }
  for (const order of [
    [{ ...contractRoute, schema }, keyed],
    [keyed, { ...contractRoute, schema }]
  ]) {
    const app = await buildApp()
    apps.push(app)
    app.wsRoute('/first', order[0] as never)
    assert.throws(() => app.wsRoute('/second', order[1] as never), /WSG_ERR_OPTION|"key"/)
  }
  // The same name without 'query' among the sources is no credential.
  const app = await buildApp()
  apps.push(app)
  app.wsRoute('/first', { ...contractRoute, schema } as never)
  app.wsRoute('/second', { ...contractRoute, auth: { from: ['header'], queryParam: 'key' } } as never)
})

/* Routes. */

test('L4: what a route declares is checked', async () => {
  const message = Type.Object({ text: Type.String({ maxLength: 10 }) })
  const cases: readonly [Options, RegExp][] = [
    [{}, /a route needs a "contract" with "handlers", or a "handler" for a protocol of its own/],
    [{ handlers }, /a route needs a "contract"/],
    [{ handler: 'x' }, /a route needs a "contract"/],
    [{ handler: okFunction, handlers }, /"handlers" is for routes with a "contract"/],
    [{ handler: okFunction, topics: okFunction }, /"topics" is for routes with a "contract"/],
    [{ handler: okFunction, onOpen: okFunction }, /"onOpen" is for routes with a "contract"/],
    [{ handler: okFunction, auth: { from: ['message'] } }, /"auth.from" has 'message': only a route with a contract/],
    [{ contract: echo, handler: okFunction }, /"contract" and "handlers", or "handler" alone/],
    [{ ...contractRoute, handler: okFunction }, /"contract" and "handlers", or "handler" alone/],
    [{ contract: echo }, /handlers\.say must be a function, or \{ cost\?, authorize\?, handler \}/],
    [{ contract: echo, handlers: null }, /handlers\.say must be a function/],
    [{ contract: echo, handlers: { say: okFunction } }, /handlers\.ask must be a function/],
    [
      { contract: echo, handlers: { ...handlers, more: okFunction } },
      /handlers\.more: the contract has no such message/
    ],
    [
      { contract: echo, handlers: { ...handlers, said: okFunction } },
      /handlers\.said: the contract has no such message/
    ],
    [
      { contract: echo, handlers: { ...handlers, auth: okFunction } },
      /handlers\.auth: the contract has no such message/
    ],
    [{ contract: echo, handlers: Object.create(handlers) }, /handlers\.say must be a function/],
    [{ contract: echo, handlers: { ...handlers, say: 'x' } }, /handlers\.say must be a function/],
    [{ contract: echo, handlers: { ...handlers, say: {} } }, /handlers\.say must be a function/],
    [{ contract: echo, handlers: { ...handlers, say: { handler: 1 } } }, /handlers\.say must be a function/],
    [
      { contract: echo, handlers: { ...handlers, say: { handler: okFunction, authorize: 1 } } },
      /say\.authorize must be a/
    ],
    ...[0, -1, 1.5, 41, '1', Number.NaN, null].map((cost): [Options, RegExp] => [
      { contract: echo, handlers: { ...handlers, say: { handler: okFunction, cost } } },
      /handlers\.say\.cost must be an integer from 1 to limits\.messages\.burst \(40\)/
    ]),
    [{ contract: echo, handlers: { ...handlers, say: { handler: okFunction, costs: 2 } } }, /say: there is no "costs"/],
    ...['data', 'topics', 'onOpen', 'onClose', 'onError'].map((name): [Options, RegExp] => [
      { ...contractRoute, [name]: 'x' },
      new RegExp(`option "${name}" must be a function`)
    ]),
    [{ contract: 'echo', handlers }, /the contract.*is not an object/],
    [{ contract: { name: 'x', clientToServer: { $x: message }, serverToClient: {} }, handlers: {} }, /\$x/],
    [{ contract: { name: 'x', clientToServer: { auth: message }, serverToClient: {} }, handlers: {} }, /auth/],
    [{ contract: { name: 'x', clientToServer: {}, serverToClient: { error: message } }, handlers: {} }, /error/],
    [{ ...contractRoute, method: 'POST' }, /there is no option "method"/],
    [{ ...contractRoute, websocket: true }, /option "websocket" must be an object|is set once/],
    [{ ...contractRoute, errorHandler: okFunction }, /there is no option "errorHandler"/],
    [{ ...contractRoute, handlerTimeout: 1 }, /there is no option "handlerTimeout"; did you mean "handlerTimeoutMs"\?/]
  ]
  for (const [options, pattern] of cases)
    await refuses(boot(required, options, '/x'), /wsRoute\("?'?\/x|"wsRoute\('\/x/, pattern)
})

test('a handler may cost the whole burst of its route', async () => {
  const cost = (amount: number): Options => ({ say: { cost: amount, handler: okFunction }, ask: okFunction })
  await boot(required, { contract: echo, handlers: cost(40) })
  await boot(required, { contract: echo, handlers: cost(100), limits: { messages: { burst: 100 } } })
  await refuses(
    boot(required, { contract: echo, handlers: cost(5), limits: { messages: { burst: 4 } } }),
    /burst \(4\)/
  )
})

test('L4: what is no options object is refused by name', async () => {
  for (const options of [undefined, null, 'x', [], okFunction]) {
    const app = await buildApp()
    apps.push(app)
    assert.throws(() => app.wsRoute('/x', options as never), /wsRoute\('\/x'\): the options must be an object/)
  }
})

test('L4: a path begins with a slash', async () => {
  for (const path of ['', 'chat', '*', undefined, null, 5, {}]) {
    const app = await buildApp()
    apps.push(app)
    assert.throws(() => app.wsRoute(path as never, contractRoute), /the path must begin with "\/"/)
  }
})

test('Z9: two contracts of one name do not boot; one contract on two routes does', async () => {
  const app = await buildApp()
  apps.push(app)
  const other = defineContract({ name: 'echo', clientToServer: {}, serverToClient: { said: Type.Object({}) } })
  app.wsRoute('/a', contractRoute)
  app.wsRoute('/b', contractRoute)
  assert.throws(() => app.wsRoute('/c', { contract: other, handlers: {} }), /another contract is named "echo" too/)
})

test('one options object serves two routes, and stays as it was', async () => {
  const querystring = Type.Object({ page: Type.Optional(Type.Integer()) })
  const schema = Object.freeze({ querystring })
  const options = Object.freeze({ ...contractRoute, schema, config: Object.freeze({ mine: 1 }) })
  const before = JSON.stringify(options)
  const app = await buildApp()
  apps.push(app)
  app.wsRoute('/a', options as never)
  app.wsRoute('/b', options as never)
  await app.ready()
  assert.equal(JSON.stringify(options), before)
  assert.deepEqual(Object.getOwnPropertySymbols(options.config), [])
  assert.deepEqual(Object.getOwnPropertySymbols(schema), [])
})

/* Where the plugin is registered (threat L3). */

test('L3: registered twice', async () => {
  const app = await buildApp()
  apps.push(app)
  await refuses(Promise.resolve(app.register(wsGuard, required as WsGuardOptions)), /registered twice/)
})

test('L3: registered anywhere but at the root', async () => {
  const app = Fastify()
  apps.push(app as unknown as FastifyInstance)
  app.register(async (child) => {
    await child.register(wsGuard, required as WsGuardOptions)
  })
  await refuses(Promise.resolve(app.ready()), /register it at the root instance/)
})

test('L3: after @fastify/websocket', async () => {
  const app = Fastify()
  apps.push(app as unknown as FastifyInstance)
  await app.register(websocket)
  await refuses(Promise.resolve(app.register(wsGuard, required as WsGuardOptions)), /remove @fastify\/websocket/)
})

test('L3: another upgrade listener, before or after ours', async () => {
  const early = Fastify()
  apps.push(early as unknown as FastifyInstance)
  early.server.on('upgrade', () => {})
  await early.register(wsGuard, required as WsGuardOptions)
  await refuses(Promise.resolve(early.ready()), /another "upgrade" listener/)
  const late = await buildApp()
  apps.push(late)
  late.server.on('upgrade', () => {})
  await refuses(Promise.resolve(late.ready()), /another "upgrade" listener/)
  const prepended = await buildApp()
  apps.push(prepended)
  prepended.server.prependListener('upgrade', () => {})
  await refuses(Promise.resolve(prepended.ready()), /another "upgrade" listener/)
})

test('T4: trustProxy that names no proxy does not boot unless it is allowed explicitly', async () => {
  for (const trustProxy of [true, 1 as never]) {
    await refuses(boot(required, undefined, '/', { trustProxy }), /trustProxy: (true|1) /)
    await boot({ ...required, allowUnsafeTrustProxy: true }, undefined, '/', { trustProxy })
  }
  await boot(required, undefined, '/', { trustProxy: '10.0.0.7' })
})

test('T5: a server that speaks HTTP/2 only does not boot', async () => {
  const app = Fastify({ http2: true })
  apps.push(app as unknown as FastifyInstance)
  await refuses(
    Promise.resolve(app.register(wsGuard as never, required as never)),
    /WebSocket upgrades need HTTP\/1\.1/
  )
})

test('A1: @fastify/jwt and @fastify/cookie are looked for once all plugins are there', async () => {
  const bare = async (options: Options, ...plugins: (typeof cookie)[]): Promise<void> => {
    const app = Fastify() as unknown as FastifyInstance
    apps.push(app)
    await app.register(wsGuard, { origins: [origin] })
    app.wsRoute('/x', { ...contractRoute, ...options } as never)
    for (const plugin of plugins) await app.register(plugin)
    await app.ready()
  }
  await refuses(bare({ auth: {} }), /"auth" needs @fastify\/jwt/)
  await refuses(bare({ auth: { namespace: 'n' } }), /has no namespace "n"/)
  const verify = okFunction
  await refuses(bare({ auth: { verify, from: ['cookie'] } }), /wsRoute\('\/x'\).*register @fastify\/cookie/)
  await bare({ auth: { verify, from: ['cookie'] } }, cookie)
  await bare({ auth: false })
})

test('L3: a ws without maxPendingAutoPongs is refused by name', async (t) => {
  const app = Fastify()
  apps.push(app as unknown as FastifyInstance)
  // What an older ws does not have among its options.
  const { WebSocketServer } = await import('ws')
  const original = Object.getOwnPropertyDescriptor(WebSocketServer.prototype, 'options')
  t.after(() => {
    if (original === undefined) Reflect.deleteProperty(WebSocketServer.prototype, 'options')
    else Object.defineProperty(WebSocketServer.prototype, 'options', original)
  })
  const seen = new WeakMap<object, object>()
  Object.defineProperty(WebSocketServer.prototype, 'options', {
    configurable: true,
    get(this: object) {
      return seen.get(this)
    },
    set(this: object, { maxPendingAutoPongs: _, ...older }: Options) {
      seen.set(this, older)
    }
  })
  await refuses(Promise.resolve(app.register(wsGuard, required as WsGuardOptions)), /ws is older than 8\.23/)
})

test('presets name codes that may be sent', () => {
  assert.deepEqual(closeCodePresets.iana, { unauthorized: 3000, forbidden: 3003, timeout: 3008 })
})
