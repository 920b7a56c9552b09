/** The tables and numbers of the README are those of the code, both ways. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventTable } from '../../lib/connection/event-table.ts'
import { credentialSources } from '../../lib/handshake/credentials.ts'
import { defaultMaxKeys } from '../../lib/limits/memory-store.ts'
import { formatNames } from '../../lib/messages/formats.ts'
import { giveBackMs } from '../../lib/redis/budgets.ts'
import { slotTtlMs } from '../../lib/redis/slots.ts'
import { optionTable } from '../../lib/route/option-table.ts'
import { rights } from '../redis/harness.ts'
import { buildApp } from '../support/app.ts'
import { plainText, readReadme, type Table } from '../support/readme.ts'
import {
  closeCauseRows,
  closeCodeRows,
  defaultCell,
  errorCodeRows,
  eventFieldRows,
  eventRows,
  exportsOf,
  membersOf,
  names,
  optionRows,
  project,
  type Rows,
  readText,
  redisKeyRows,
  refusalRows
} from './tables.ts'

const readme = readReadme()
/** Without line breaks, so that a sentence is found wherever it is wrapped. */
const text = readText('README.md').replace(/\s+/g, ' ')

function tableOf(heading: string): Table {
  const [table, ...others] = readme.tables.filter((candidate) => candidate.heading === heading)
  assert.ok(table !== undefined && others.length === 0, `README.md needs one table under "${heading}"`)
  return table
}

/** What a default of the table is, as a number. */
function numberOf(path: string): number {
  return optionTable.find((entry) => entry.path === path)?.default as number
}

const generated: Readonly<Record<string, Rows>> = {
  Options: optionRows,
  'The wire': errorCodeRows,
  'Close codes': closeCodeRows,
  Causes: closeCauseRows,
  Refusals: refusalRows,
  Events: eventRows,
  Fields: eventFieldRows,
  'In Redis': redisKeyRows
}
for (const [heading, expected] of Object.entries(generated)) {
  test(`README, ${heading}: the rows are those of the code, in its order`, () => {
    assert.deepEqual(project(tableOf(heading), expected), expected)
  })
}

test('README, Options: every option says what it means', () => {
  const silent = optionRows.filter(({ meaning }) => meaning === '').map(({ option }) => option)
  assert.deepEqual(silent, [])
})

test('README, Events: the events that are always written are those that are not sampled', () => {
  const [, list = ''] = /were `suppressed`; ([^:]*?) are always written/.exec(text) ?? []
  const whole = Object.entries(eventTable).flatMap(([name, { isSampled }]) => (isSampled ? [] : [name]))
  assert.deepEqual(
    Array.from(list.matchAll(/`([^`]+)`/g), ([, name]) => name),
    whole
  )
})

test('README, Threats: the options exist and have the defaults that are stated', () => {
  const { rows } = tableOf('Threats')
  assert.ok(rows.length > 20)
  const entries = new Map(optionTable.map((entry) => [entry.path, entry]))
  for (const { threat, option = '', default: stated } of rows) {
    // Decided by the developer, or by the environment: there is no default to compare.
    const special: Readonly<Record<string, string>> = {
      '`origins`': 'required',
      '`auth`': 'required',
      '`requireTls`': 'in production',
      '–': '–'
    }
    const paths = option.split(', ').map(plainText)
    const expected = special[option] ?? paths.map((path) => defaultCell(entries.get(path) ?? fail(path))).join(', ')
    assert.equal(stated, expected, threat)
  }
})

function fail(path: string): never {
  assert.fail(`there is no option "${path}"`)
}

test('README, Threats: every group of options stands against something', () => {
  const named = tableOf('Threats').rows.flatMap(({ option = '' }) => option.split(', ').map(plainText))
  const groups = new Set(optionTable.filter(({ path }) => path.startsWith('limits.')).map(({ path }) => groupOf(path)))
  // Alternatives to what is in the table, or a part of it.
  const others = ['limits.userMessages']
  assert.deepEqual(
    [...groups].filter((group) => !others.includes(group) && !named.some((path) => groupOf(path) === group)),
    []
  )
})

function groupOf(path: string): string {
  return path.split('.').slice(0, 2).join('.')
}

test('README, Route options: they are those that a route knows besides the table', () => {
  const source = readText('lib/route/register-route.ts')
  const known = ['hookNames', 'fastifyNames', 'ownNames'].flatMap((list) => {
    const [, items = ''] = new RegExp(`const ${list} = \\[([^\\]]*)\\]`).exec(source) ?? []
    return Array.from(items.matchAll(/'(\w+)'/g), ([, name = '']) => name)
  })
  assert.deepEqual(names(tableOf('Route options'), 'option').sort(), known.sort())
})

test('README, Choosing a credential: the sources are those of auth.from, in its order', () => {
  const sources = tableOf('Choosing a credential').rows.map((row) => (row['`from`'] ?? '').replaceAll(/[`']/g, ''))
  assert.deepEqual(sources, [...credentialSources])
})

test('README, The connection: the members are those of WsConnection', () => {
  const members = membersOf('lib/connection/types.ts', 'WsConnection')
  assert.deepEqual(names(tableOf('The connection'), 'member').sort(), members.sort())
})

test('README, app.wsGuard: the members are those of WsGuard, and of app.wsGuard', async (t) => {
  const app = await buildApp()
  t.after(() => app.close())
  const documented = names(tableOf('app.wsGuard'), 'member').sort()
  assert.deepEqual(documented, membersOf('lib/route/ws-guard.ts', 'WsGuard').sort())
  assert.deepEqual(documented, Object.keys(app.wsGuard).sort())
})

test('README, Testing: the options are those of injectWs', () => {
  assert.deepEqual(names(tableOf('Testing'), 'option').sort(), membersOf('lib/testing.ts', 'InjectWsOptions').sort())
})

test('README, Exports: every entry point exports exactly what is documented', () => {
  for (const row of tableOf('Exports').rows) {
    const entry = plainText(row['entry point'] ?? '').replace('fastify-ws-guard', '')
    const { values, types } = exportsOf(`lib/${entry === '' ? 'index' : entry.slice(1)}.ts`)
    const cell = (column: string) => (row[column] ?? '').split(', ').map(plainText).sort()
    assert.deepEqual({ values: cell('values'), types: cell('types') }, { values, types }, row['entry point'])
  }
  assert.equal(tableOf('Exports').rows.length, 4)
})

test('README, Several nodes: the options are those of redisStore, with its defaults', () => {
  const table = readme.tables.filter(({ heading }) => heading === 'Several nodes')[1] as Table
  assert.deepEqual(names(table, 'option'), membersOf('lib/redis.ts', 'RedisStoreOptions'))
  const source = readText('lib/redis.ts')
  for (const { option = '', default: stated } of table.rows) {
    const [, value = ''] = new RegExp(`${plainText(option)} = ([^,}]+?)[ ,]`).exec(source) ?? []
    assert.equal(stated, value === 'prefix' ? 'the prefix' : `\`${value}\``, option)
  }
})

test('README, In Redis: the rights are those that the tests find enough', () => {
  const [, command = ''] = /redis-cli ACL SETUSER ws-guard on '>password' ([^`]*)/.exec(text) ?? []
  assert.deepEqual(command.replace(/['\\]/g, '').split(' ').filter(Boolean), rights)
})

test('README, Several nodes: the numbers are those of the code', () => {
  assert.ok(text.includes(`burst + perSecond × (T + ${giveBackMs / 1000} s)`))
  assert.equal(slotTtlMs, 24 * 3_600_000)
})

test('README, Contracts: the formats are those that are known', () => {
  const [, list = ''] = /Known formats: (.*?)\. Others/s.exec(text) ?? []
  assert.deepEqual(list.split(',').map(plainText), formatNames)
})

test('README, Memory: the bytes are those of the options, and the sums are right', () => {
  const { rows } = tableOf('Memory')
  for (const { option = '', bytes } of rows) {
    assert.equal(bytes, defaultCell({ default: numberOf(plainText(option)) }), option)
  }
  const [arriving = 0, queued = 0, unread = 0] = rows.map(({ option = '' }) => numberOf(plainText(option)))
  const mebibyte = 2 ** 20
  assert.ok(text.includes(`That is ${((arriving + queued + unread) / mebibyte).toFixed(1)} MiB`))
  assert.ok(text.includes(`\`limits.totalBufferedBytes\`, ${numberOf('limits.totalBufferedBytes') / mebibyte} MiB`))
  const total = numberOf('limits.connections.total')
  assert.equal(total, 10_000)
  const inbound = ((arriving + queued) * total) / 2 ** 30
  assert.ok(text.includes(`10 000 connections that all fill their queues hold about ${Math.round(inbound)} GiB`))
  assert.ok(text.includes(`hold at most ${defaultMaxKeys / 1000} 000 entries each`))
})

test('README, Behind a proxy: the time that its read timeout has to exceed is the one of the heartbeat', () => {
  const seconds = (numberOf('heartbeat.intervalMs') + numberOf('heartbeat.timeoutMs')) / 1000
  assert.ok(text.includes(`more than ${seconds} s with the defaults`))
  const deployed = Number(/proxy_read_timeout\s+(\d+)s/.exec(readText('example-app/deploy/nginx.conf'))?.[1])
  assert.ok(deployed > seconds && text.includes(`The file for nginx has ${deployed} s`))
})

test('README, Compatibility: the versions are those of package.json', () => {
  const { engines, peerDependencies, devDependencies } = JSON.parse(readText('package.json'))
  const rows = new Map(tableOf('Compatibility').rows.map((row) => Object.values(row) as [string, string]))
  assert.equal(`>=${/^[\d.]+/.exec(rows.get('Node') ?? '')?.[0]}`, engines.node)
  assert.equal(`^${/from ([\d.]+) on/.exec(rows.get('Fastify') ?? '')?.[1]}`, peerDependencies.fastify)
  const compilers = [devDependencies['typescript-5'], devDependencies.typescript]
  const versions = compilers.map((range: string) => /(\d+)(\.[1-9]\d*)?/.exec(range)?.[0])
  assert.match(rows.get('TypeScript') ?? '', new RegExp(`with ${versions.join(' and ')},`))
})
