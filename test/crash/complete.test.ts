/** Nothing that runs a developer's code, and no public method, is left out of the tables of this folder. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import { optionTable } from '../../lib/route/option-table.ts'
import { buildApp } from '../support/app.ts'
import { misuses } from './misuse.ts'
import { connectionPlaces, handshakePlaces } from './places.ts'
import { appPlaces, storePlaces } from './server-places.ts'

const places = Object.keys({ ...handshakePlaces, ...connectionPlaces, ...appPlaces, ...storePlaces })

/** `auth.verify (refresh)` is a way to come to `auth.verify`. */
const placesWithoutWays = new Set(places.map((name) => name.replace(/ \(.*\)$/, '')))

function source(path: string): string {
  return readFileSync(new URL(`../../lib/${path}`, import.meta.url), 'utf8')
}

function missing(names: readonly string[], known: ReadonlySet<string>): string[] {
  assert.ok(names.length > 0, 'the list must be found')
  return names.filter((name) => !known.has(name))
}

test('L2: every option that is a function fails in every way', () => {
  const names = optionTable
    .filter(({ check }) => check.accepts(() => {}) && !check.accepts({ not: 'a function' }))
    .map(({ path }) => path.replace('limits.attempts.', ''))
  assert.deepEqual(missing(names, placesWithoutWays), [])
})

test('L2: every function of a route fails in every way', () => {
  const { ownNames, hookNames } = namesOf(source('route/register-route.ts'))
  // `handler` of a raw route; `handlers` are functions, or have `authorize` and `handler`.
  const known = new Set([...placesWithoutWays, 'contract', 'schema', ...rawAndHandlers()])
  assert.deepEqual(missing([...ownNames, ...hookNames], known), [])
})

function rawAndHandlers(): string[] {
  const needed = { handler: ['rawHandler'], handlers: ['handler', 'handler.reply', 'handler.authorize'] }
  return Object.entries(needed).flatMap(([name, all]) => (all.every((one) => placesWithoutWays.has(one)) ? name : []))
}

/** The lists of names that a route takes. */
function namesOf(text: string): { ownNames: string[]; hookNames: string[] } {
  const list = (name: string): string[] => {
    const [, body = ''] = new RegExp(`const ${name} = \\[([^\\]]*)\\]`).exec(text) ?? []
    return [...body.matchAll(/'(\w+)'/g)].map(([, word]) => word as string)
  }
  return { ownNames: list('ownNames'), hookNames: list('hookNames') }
}

test('L2: every method of a store fails in every way', () => {
  // A store begins and ends with the app; how topics fail is tested with them, in connection/bus.test.ts.
  const others = ['constructor', 'open', 'close', 'subscribe', 'unsubscribe', 'publish']
  const methods = Object.getOwnPropertyNames(MemoryStore.prototype).filter((name) => !others.includes(name))
  const known = new Set([...placesWithoutWays].map((name) => name.replace('store.', '')))
  assert.deepEqual(missing(methods, known), [])
})

test('O4, L2: every member of app.wsGuard is called with what it cannot use', async (t) => {
  const app = await buildApp()
  t.after(() => app.close())
  const names = Object.keys(app.wsGuard).map((name) => `wsGuard.${name}`)
  assert.deepEqual(missing(names, new Set(Object.keys(misuses))), [])
})

test('O4, L2: every method of a connection is called with what it cannot use', () => {
  const [, body = ''] =
    /export interface WsConnection<[^{]*\{\n([\s\S]*?)\n\}/.exec(source('connection/types.ts')) ?? []
  const names = [...body.matchAll(/^ {2}(\w+)[(<]/gm)].map(([, name]) => `connection.${name}`)
  assert.ok(names.includes('connection.close'))
  assert.deepEqual(missing([...names, 'connection.socket'], new Set(Object.keys(misuses))), [])
})
