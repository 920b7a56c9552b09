import { OptionError } from './errors.ts'
import type { Store } from './limits/store.ts'
import type { RedisClient } from './redis/link.ts'
import { RedisStore } from './redis/redis-store.ts'

export interface RedisStoreOptions {
  /**
   * Before every key and channel: 1 to 64 letters, digits and `: . _ - { }`. The same on all nodes of a service, another
   * for another service. Default `wsg:`.
   */
  readonly prefix?: string
  /**
   * While Redis does not answer. `'closed'`, the default: new handshakes are refused with 503. `'local'`: each node goes
   * on with limits of its own. Open connections keep working either way.
   */
  readonly whenDown?: 'closed' | 'local'
  /** A command that takes longer has failed: Redis is down until it answers again. Ms, 10 to 10 000, default 250. */
  readonly commandTimeoutMs?: number
  /**
   * The slots of a node that was killed are back after this time. A third of it later than at once, at most, a node does
   * what it was told by a message that did not reach it. Ms, 300 to 600 000, default 15 000.
   */
  readonly leaseMs?: number
  /**
   * Mixed into the hashes that stand for addresses, users and tickets in the names of keys, so that who can read those
   * names cannot guess what they stand for. The same on all nodes; at least 16 characters. Default: the prefix.
   */
  readonly secret?: string
}

/**
 * The store for several nodes: give each of them one, for the same Redis. The client is yours: it is duplicated for what
 * the store sends and for what it hears, and neither changed nor closed.
 * @param client of ioredis 5 or 6: `Redis`, also with Sentinel, or `Cluster`
 * @throws OptionError that names the option
 */
export function redisStore(client: RedisClient, options: RedisStoreOptions = {}): Store {
  if (typeof options !== 'object' || options === null) throw new OptionError('redisStore: options must be an object')
  const { prefix = 'wsg:', whenDown = 'closed', commandTimeoutMs = 250, leaseMs = 15_000, secret = prefix } = options
  const refuse = (what: string): never => {
    throw new OptionError(`redisStore: ${what}`)
  }
  if (typeof client?.duplicate !== 'function' || typeof client.evalsha !== 'function') {
    refuse('the first argument must be a client of ioredis: new Redis(…) or new Cluster(…)')
  }
  const unknown = Object.keys(options).find((name) => !names.includes(name))
  if (unknown !== undefined) refuse(`there is no option "${unknown}"; there are ${names.join(', ')}`)
  if (typeof prefix !== 'string' || !/^[\w:.{}-]{1,64}$/.test(prefix) || prefix.includes('{}')) {
    refuse('option "prefix" must be 1 to 64 letters, digits and : . _ - { }, without {}')
  }
  if (whenDown !== 'closed' && whenDown !== 'local') refuse(`option "whenDown" must be 'closed' or 'local'`)
  if (!isWithin(commandTimeoutMs, 10, 10_000)) refuse('option "commandTimeoutMs" must be an integer from 10 to 10000')
  if (!isWithin(leaseMs, 300, 600_000)) refuse('option "leaseMs" must be an integer from 300 to 600000')
  if (leaseMs < 2 * commandTimeoutMs) refuse('option "leaseMs" must be at least twice "commandTimeoutMs"')
  if (secret !== prefix && (typeof secret !== 'string' || secret.length < 16)) {
    refuse('option "secret" must be a string of at least 16 characters')
  }
  return new RedisStore(client, { prefix: ownPrefix(client) + prefix, whenDown, commandTimeoutMs, leaseMs, secret })
}

const names: readonly string[] = [
  'prefix',
  'whenDown',
  'commandTimeoutMs',
  'leaseMs',
  'secret'
] satisfies (keyof RedisStoreOptions)[]

function isWithin(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most
}

/** ioredis puts it before keys but not before channels; the store does it for both. */
function ownPrefix({ options }: RedisClient): string {
  const { keyPrefix, redisOptions } = options as { keyPrefix?: string; redisOptions?: { keyPrefix?: string } }
  return keyPrefix || (redisOptions?.keyPrefix ?? '')
}
