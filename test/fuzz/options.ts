/** Random options: what is right boots and holds, what is wrong throws `WSG_ERR_OPTION` with the option's name. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import Fastify, { type FastifyInstance } from 'fastify'
import wsGuard, { optionTable } from '../../lib/index.ts'
import { type Campaign, campaign, part } from './campaign.ts'
import { allSamples, hostile, optionSamples } from './option-samples.ts'

type Options = Record<string, unknown>
type Values = Readonly<Record<string, unknown>>

const pluginOnly = new Set(optionTable.filter((entry) => entry.pluginOnly).map(({ path }) => path))
const defaults: Values = Object.fromEntries(optionTable.map((entry) => [entry.path, entry.default]))
// A route with a verifier of its own: @fastify/jwt is another matter.
const raw: Values = { handler: () => {} }
const base: Values = { origins: false, 'auth.verify': () => ({ sub: 'a' }), requireTls: false }

function some(paths: readonly string[]): fc.Arbitrary<Values> {
  const all = Object.fromEntries(
    paths.map((path) => [path, (optionSamples[path] as (typeof optionSamples)[string]).valid])
  )
  return fc
    .subarray(paths as string[], { maxLength: 12 })
    .chain((chosen) => fc.record(Object.fromEntries(chosen.map((path) => [path, all[path] as fc.Arbitrary<unknown>]))))
}

/** Objects of many kinds that say the same. */
const asIs = (options: Options): Options => options
const shapes: readonly ((options: Options) => Options)[] = [
  asIs,
  (options) => Object.freeze(options),
  (options) => Object.assign(Object.create(null), options),
  (options) => Object.assign(Object.create({ origins: 'nobody reads this', limits: 7 }), options),
  (options) =>
    Object.defineProperties(
      {},
      Object.fromEntries(Object.entries(options).map(([name, value]) => [name, { enumerable: true, get: () => value }]))
    )
]
const shape = fc.constantFrom(...shapes)

/** `{ 'limits.topics': 1 }` to `{ limits: { topics: 1 } }`. */
function nest(values: Values, made: (options: Options) => Options): Options {
  const top = new Map<string, Values>()
  const own: Options = {}
  for (const [path, value] of Object.entries(values)) {
    const [name, ...rest] = path.split('.') as [string, ...string[]]
    if (rest.length === 0) own[name] = value
    else top.set(name, { ...top.get(name), [rest.join('.')]: value })
  }
  for (const [name, below] of top) own[name] ??= nest(below, made)
  return made(own)
}

interface Booted {
  readonly posture: Values
  readonly error?: undefined
}

async function boot(plugin: Options, route: Options): Promise<Booted | { readonly error: unknown }> {
  const app = Fastify() as unknown as FastifyInstance
  try {
    await app.register(wsGuard, plugin as never)
    app.wsRoute('/', route as never)
    await app.ready()
    return { posture: app.wsGuard.routes()[0] as unknown as Values }
  } catch (error) {
    return { error }
  } finally {
    await app.close().catch(() => {})
  }
}

/** What is right alone and wrong together: the names of the options that an error may name. Only routes are asked for all. */
function conflict(values: Values, isRoute: boolean): readonly string[] | undefined {
  const value = (path: string): number => Number(values[path])
  const pairs = [
    ['limits.bytes.burst', 'limits.maxPayloadBytes'],
    ['limits.queue.bytes', 'limits.maxPayloadBytes'],
    ['limits.sendBuffer.hardBytes', 'limits.sendBuffer.softBytes'],
    ['shutdown.timeoutMs', 'shutdown.spreadMs']
  ] as const
  const wrong = pairs.find(([larger, smaller]) => value(larger) < value(smaller))
  if (wrong !== undefined) return wrong
  if (isRoute && values.reauthorizeMs !== false && values.authorize === undefined) return ['reauthorizeMs']
  return undefined
}

/** Undefined says nothing: what was there before holds. */
function resolved(...layers: readonly Values[]): Values {
  return Object.assign({}, ...layers)
}

const pluginPaths = Object.keys(optionSamples)
const routePaths = pluginPaths.filter((path) => !pluginOnly.has(path))

const right = fc.asyncProperty(
  some(pluginPaths),
  some(routePaths),
  shape,
  shape,
  async (plugin, route, made, madeToo) => {
    const given = { ...base, ...plugin }
    const outcome = await boot(nest(given, made), nest({ ...raw, ...route }, madeToo))
    const values = resolved(defaults, given, route)
    const wrong = conflict(resolved(defaults, given), false) ?? conflict(values, true)
    if (wrong !== undefined) return assertRefused(outcome, wrong)
    if ('error' in outcome && outcome.error !== undefined) throw outcome.error
    assertHolds(outcome as Booted, values)
  }
)

/** The posture says each option as it was given. */
function assertHolds({ posture }: Booted, values: Values): void {
  const limits = posture.limits as Options
  for (const [path, value] of Object.entries(values)) {
    if (!path.startsWith('limits.') || /attempts|total/.test(path)) continue
    const [, name, inner] = path.split('.') as [string, string, string | undefined]
    const held = inner === undefined ? limits[name] : (limits[name] as Options)[inner]
    assert.deepEqual(held, value, path)
  }
  for (const name of ['origins', 'missingOrigin', 'protocols', 'requireTls'])
    assert.deepEqual(posture[name], values[name], name)
  assert.deepEqual(posture.auth, values['auth.from'], 'auth.from')
  assert.equal(posture.authorize, values.authorize !== undefined, 'authorize')
}

/** The options of a route, or of the plugin; the other's are as they should be. */
function bootSpoiled(spoiled: Options, isRoute: boolean, made = asIs): ReturnType<typeof boot> {
  return isRoute ? boot(nest(base, made), spoiled) : boot(spoiled, raw)
}

function assertRefused(outcome: Awaited<ReturnType<typeof boot>>, names: readonly string[]): void {
  const error = outcome.error as { code?: string; message: string } | undefined
  assert.ok(error !== undefined, `booted in spite of ${names.join(', ')}`)
  assert.equal(error.code, 'WSG_ERR_OPTION', String(error))
  assert.ok(
    names.some((name) => error.message.includes(name)),
    `${error.message} names none of ${names.join(', ')}`
  )
}

const wrongValue = fc
  .tuple(fc.constantFrom(...Object.keys(allSamples)), fc.nat(hostile.length - 1))
  .map(([path, at]) => ({ path, value: hostile[at] }))
  .filter(({ path, value }) => value !== undefined && !allSamples[path]?.isValid(value))

const wrong = fc.asyncProperty(
  wrongValue,
  some(routePaths),
  fc.boolean(),
  shape,
  async ({ path, value }, others, isRoute, made) => {
    // Others that are wrong together would be named first.
    const quiet = Object.fromEntries(Object.entries(others).filter(([name]) => !/burst|Bytes|bytes|reauth/.test(name)))
    const onRoute = isRoute && !pluginOnly.has(path)
    const spoiled = nest({ ...base, ...(onRoute && raw), ...quiet, [path]: value }, made)
    assertRefused(await bootSpoiled(spoiled, onRoute, made), [path, path.split('.').slice(0, -1).join('.') || path])
  }
)

const knownNames = new Set(
  optionTable.flatMap(({ path }) => path.split('.').map((_, at, all) => all.slice(0, at + 1).join('.')))
)
const misspelt = fc
  .tuple(fc.constantFrom(...knownNames), fc.nat(30), fc.constantFrom('', 'x', 's', '_', 'Ms', ' '), fc.nat(1))
  .map(([path, at, piece, remove]) => path.slice(0, at) + piece + path.slice(at + remove))
  .filter(
    (path) =>
      !knownNames.has(path) &&
      path.split('.').every((name) => name !== '') &&
      !['handler', 'prefix', 'host'].includes(path)
  )

const unknownName = fc.asyncProperty(
  fc.oneof(misspelt, fc.constantFrom('__proto__', 'constructor', 'limits.__proto__', 'limits.toString', '0')),
  fc.boolean(),
  async (path, isRoute) => {
    const at = path.lastIndexOf('.')
    const spoiled = nest(
      { ...base, ...(isRoute && raw), 'limits.topics': 1, 'heartbeat.timeoutMs': 1 },
      (options) => options
    )
    const parent = (
      at === -1
        ? spoiled
        : path
            .slice(0, at)
            .split('.')
            .reduce<unknown>((all, name) => (all as Options)?.[name], spoiled)
    ) as Options | undefined
    if (typeof parent !== 'object') return
    Object.defineProperty(parent, path.slice(at + 1), {
      value: 1,
      enumerable: true,
      configurable: true,
      writable: true
    })
    assertRefused(await bootSpoiled(spoiled, isRoute), [path, 'there is no option'])
  }
)

/** A getter that throws when it is read, in place of an option or of a group of them. */
const throwing = fc.asyncProperty(fc.constantFrom(...knownNames), fc.boolean(), async (path, isRoute) => {
  const names = path.split('.')
  const last = names.pop() as string
  const spoiled = nest({ ...base, ...(isRoute && raw) }, (options) => options)
  let parent = spoiled
  for (const name of names) {
    parent[name] ??= {}
    parent = parent[name] as Options
  }
  Object.defineProperty(parent, last, {
    enumerable: true,
    get: () => {
      throw new RangeError('the getter throws')
    }
  })
  assertRefused(await bootSpoiled(spoiled, isRoute), [path])
})

export const options: Campaign = campaign('options', 3, async () => {
  const missing = optionTable.filter(({ path }) => !(path in allSamples))
  assert.deepEqual(missing, [], 'every option has samples')
  return {
    parts: [
      part('right options', 15, right),
      part('wrong values', 15, wrong),
      part('unknown names', 10, unknownName),
      part('getters that throw', 5, throwing)
    ]
  }
})
