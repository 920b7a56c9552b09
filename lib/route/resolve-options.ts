import { OptionError } from '../errors.ts'
import { isObject } from '../messages/is-object.ts'
import { type OptionEntry, optionTable } from './option-table.ts'

/** A route's options, as they come: the types of `options.ts` are for the developer. */
export type RouteOptions = Readonly<Record<string, unknown>>

/** Options by their path, checked, with defaults. What was not set and has no default is undefined. */
export class OptionValues {
  readonly #values: ReadonlyMap<string, unknown>

  constructor(values: ReadonlyMap<string, unknown>) {
    this.#values = values
  }

  /** The caller names the type that the table's check has made sure of. */
  get<T>(path: string): T {
    return this.#values.get(path) as T
  }

  /** A group of options as one frozen object, such as `limits.messages`. */
  group<T>(prefix: string): T {
    const entries = [...this.#values]
      .filter(([path, value]) => path.startsWith(`${prefix}.`) && value !== undefined)
      .map(([path, value]) => [path.slice(prefix.length + 1), value])
    return Object.freeze(Object.fromEntries(entries)) as T
  }
}

/** Options that are said by `false`, once and for all that is below them. */
const switches = new Set(['auth'])

/**
 * Reads an options object by the table.
 * @param fallback what was resolved before: the plugin's options for a route
 * @param foreign properties that are none of the table's business: Fastify's route options and our own functions
 * @throws OptionError for an unknown name, a plugin option on a route, or a value that is not allowed
 */
export function resolveOptions(
  options: Record<string, unknown>,
  scope: 'plugin' | 'route',
  where: string,
  fallback?: OptionValues,
  foreign: ReadonlySet<string> = new Set()
): OptionValues {
  refuseUnknown(options, '', scope, where, foreign)
  const values = new Map<string, unknown>()
  for (const entry of optionTable) {
    const value = readPath(options, entry.path)
    if (value !== undefined) check(entry, value, where)
    values.set(entry.path, value === undefined ? (fallback?.get(entry.path) ?? entry.default) : value)
  }
  for (const name of switches) values.set(name, own(options, name) ?? fallback?.get(name))
  return new OptionValues(values)
}

/**
 * A copy of an options object and its groups. Everything is read once, so that what is checked is what holds; a getter
 * that throws is a wrong option. Own properties only: a polluted prototype is no option, no hook and no handler.
 */
export function readOptions(options: object, where: string, prefix = ''): Record<string, unknown> {
  const copy: Record<string, unknown> = Object.create(null)
  for (const name of Object.keys(options)) {
    const path = prefix + name
    let value: unknown
    try {
      value = Reflect.get(options, name)
    } catch {
      throw new OptionError(`${where}: option "${path}" cannot be read: its getter throws`)
    }
    copy[name] = isObject(value) && isGroup(path) ? readOptions(value, where, `${path}.`) : value
  }
  return copy
}

function isGroup(path: string): boolean {
  return optionTable.some((known) => known.path.startsWith(`${path}.`))
}

function check(entry: OptionEntry, value: unknown, where: string): void {
  if (!entry.check.accepts(value)) {
    throw new OptionError(`${where}: option "${entry.path}" must be ${entry.check.allowed}`)
  }
}

function readPath(options: Record<string, unknown>, path: string): unknown {
  return path.split('.').reduce<unknown>((value, name) => (isObject(value) ? own(value, name) : undefined), options)
}

/** Only own properties: a polluted prototype sets no option. */
function own(record: Record<string, unknown>, name: string): unknown {
  return Object.hasOwn(record, name) ? record[name] : undefined
}

function refuseUnknown(
  options: Record<string, unknown>,
  prefix: string,
  scope: 'plugin' | 'route',
  where: string,
  foreign: ReadonlySet<string>
): void {
  for (const [name, value] of Object.entries(options)) {
    const path = prefix + name
    if ((prefix === '' && foreign.has(name)) || value === undefined) continue
    if (switches.has(path) && value === false) continue
    const entry = optionTable.find((known) => known.path === path)
    if (entry !== undefined) {
      if (entry.pluginOnly && scope === 'route') {
        throw new OptionError(`${where}: option "${path}" is set once, where the plugin is registered`)
      }
      continue
    }
    const below = optionTable.filter((known) => known.path.startsWith(`${path}.`))
    if (below.length === 0) throw new OptionError(`${where}: there is no option "${path}"${suggestion(path)}`)
    if (!isObject(value)) {
      const names = below.map((known) => known.path.slice(path.length + 1).split('.')[0])
      throw new OptionError(`${where}: option "${path}" must be an object of ${[...new Set(names)].join(', ')}`)
    }
    refuseUnknown(value, `${path}.`, scope, where, foreign)
  }
}

/** Names the option that was probably meant: the same last word elsewhere, or the same word in another spelling. */
function suggestion(path: string): string {
  const last = lastWord(path)
  const meant = optionTable.find((known) => {
    const word = lastWord(known.path)
    return word === last || (last.length > 3 && (word.startsWith(last) || last.startsWith(word)))
  })
  return meant === undefined ? '' : `; did you mean "${meant.path}"?`
}

function lastWord(path: string): string {
  return path.slice(path.lastIndexOf('.') + 1).toLowerCase()
}
