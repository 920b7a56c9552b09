/** The rows that tables of the README must have, from the tables in the code. Cells are Markdown. */
import { readdirSync, readFileSync } from 'node:fs'
import { closeCauses, closeCodes } from '../../lib/close-codes.ts'
import { eventFields, eventTable, logOnlyFields } from '../../lib/connection/event-table.ts'
import { errorCodes } from '../../lib/errors.ts'
import { refusalReasons, refusalStatuses } from '../../lib/handshake/refusal.ts'
import { redisKeys } from '../../lib/redis/names.ts'
import { type OptionEntry, optionTable } from '../../lib/route/option-table.ts'
import { repositoryRoot, type Table } from '../support/readme.ts'

export type Rows = ReadonlyArray<Readonly<Record<string, string>>>

const none = '–'
const code = (text: string | number): string => `\`${text}\``

/** How a default is written in a cell. */
export function defaultCell({ default: value }: Pick<OptionEntry, 'default'>): string {
  return value === undefined ? none : code(literal(value))
}

function literal(value: unknown): string {
  if (typeof value === 'number') return String(value).replace(/\B(?=(\d{3})+$)/g, '_')
  if (typeof value === 'string') return `'${value}'`
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    const properties = Object.entries(value).map(([name, property]) => `${name}: ${literal(property)}`)
    return `{ ${properties.join(', ')} }`
  }
  return String(value)
}

export const optionRows: Rows = optionTable.map((entry) => ({
  option: code(entry.path) + (entry.pluginOnly ? ' (P)' : ''),
  default: defaultCell(entry),
  meaning: entry.meaning
}))

export const closeCodeRows: Rows = Object.entries(closeCodes).map(([name, entry]) => ({
  code: String(entry.code),
  name: code(name),
  reconnect: entry.reconnect,
  meaning: entry.meaning
}))

export const closeCauseRows: Rows = Object.entries(closeCauses).map(([cause, entry]) => ({
  cause: code(cause),
  code: entry.code === null ? none : String(closeCodes[entry.code].code),
  reason: entry.reason === '' ? none : code(entry.reason),
  meaning: entry.meaning
}))

export const refusalRows: Rows = Object.entries(refusalStatuses).map(([status, entry]) => ({
  status,
  code: code(entry.code),
  "with `refuse: 'close'`": String(closeCodes[entry.close].code),
  meaning: entry.meaning,
  'reasons in the log': Object.entries(refusalReasons)
    .filter(([, other]) => String(other) === status)
    .map(([reason]) => code(reason))
    .join(', ')
}))

export const errorCodeRows: Rows = Object.entries(errorCodes).map(([name, message]) => ({ code: code(name), message }))

export const eventRows: Rows = Object.entries(eventTable).map(
  ([event, { level, meaning, labels, details, ...entry }]) => {
    const reasons = 'reasons' in entry ? ` (${entry.reasons.map(code).join(', ')})` : ''
    return {
      event: code(event),
      level,
      when: meaning,
      labels: labels.map((field) => code(field) + (field === 'reason' ? reasons : '')).join(', ') || none,
      'other fields': details.map(code).join(', ') || none
    }
  }
)

export const eventFieldRows: Rows = Object.entries({ ...eventFields, ...logOnlyFields }).map(([field, entry]) => ({
  field: code(field),
  type: code(entry.type),
  meaning: entry.meaning
}))

export const redisKeyRows: Rows = redisKeys.map(({ key, ...entry }) => ({
  key: code(key),
  type: entry.type,
  holds: entry.holds,
  TTL: entry.ttl
}))

/** The columns of a table that the code knows; others, such as a remark, are the README's own. */
export function project(table: Table, expected: Rows): Rows {
  const columns = Object.keys(expected[0] ?? {})
  return table.rows.map((row) => Object.fromEntries(columns.map((column) => [column, row[column] ?? 'no such column'])))
}

/** The names of `column` without their marks. */
export function names(table: Table, column: string): string[] {
  return table.rows.flatMap((row) =>
    Array.from((row[column] ?? '').matchAll(/`([^`(]+)[^`]*`/g), ([, name = '']) => name)
  )
}

export function readText(path: string): string {
  return readFileSync(new URL(path, repositoryRoot), 'utf8')
}

/** Every file below lib/, as `lib/…`. */
export function libFiles(): string[] {
  return readdirSync(new URL('lib/', repositoryRoot), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => `lib/${file.replaceAll('\\', '/')}`)
    .sort()
}

/** What a module exports, values and types apart, as its source says. */
export function exportsOf(path: string): { values: string[]; types: string[] } {
  const source = readText(path)
  const values: string[] = []
  const types: string[] = []
  for (const [, kind, name = ''] of source.matchAll(
    /^export (?:async )?(function|class|const|interface|type) (\w+)/gm
  )) {
    ;(kind === 'interface' || kind === 'type' ? types : values).push(name)
  }
  for (const [, isType, list = ''] of source.matchAll(/^export (type )?\{([^}]*)\}/gm)) {
    for (const item of list.split(',')) {
      const [, typeOnly, name] = /^\s*(type )?(\w+)\s*$/.exec(item) ?? []
      if (name !== undefined) (isType || typeOnly ? types : values).push(name)
    }
  }
  if (/^export default /m.test(source)) values.push('default')
  return { values: values.sort(), types: types.sort() }
}

/** Names of the members of an interface, as its source says. */
export function membersOf(path: string, name: string): string[] {
  const source = readText(path)
  const start = source.search(new RegExp(`^export interface ${name}\\b`, 'm'))
  const body = /^.*\{\n([\s\S]*?)^\}/m.exec(source.slice(start).replace(/^[^{]*?> \{$/m, `interface ${name} {`))?.[1]
  if (start === -1 || body === undefined) throw new Error(`${path} has no interface ${name}`)
  return Array.from(body.matchAll(/^ {2}(?:readonly )?(\w+)\??(?:<|\(|:)/gm), ([, member = '']) => member)
}
