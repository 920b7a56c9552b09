import type { ConnectionQuery, Identity } from '../limits/store.ts'
import type { Connection } from './connection.ts'

/** Key → connections. A key with one connection holds it bare: most users have one, and a Set costs 200 bytes. */
class Index {
  readonly #entries = new Map<string, Connection | Set<Connection>>()

  add(key: string | undefined, connection: Connection): void {
    if (key === undefined) return
    const entry = this.#entries.get(key)
    if (entry === undefined) this.#entries.set(key, connection)
    else if (entry instanceof Set) entry.add(connection)
    else this.#entries.set(key, new Set([entry, connection]))
  }

  remove(key: string | undefined, connection: Connection): void {
    if (key === undefined) return
    const entry = this.#entries.get(key)
    if (entry === connection) this.#entries.delete(key)
    else if (entry instanceof Set) {
      entry.delete(connection)
      if (entry.size === 0) this.#entries.delete(key)
    }
  }

  get(key: string): readonly Connection[] {
    const entry = this.#entries.get(key)
    if (entry === undefined) return []
    return entry instanceof Set ? [...entry] : [entry]
  }

  get size(): number {
    return this.#entries.size
  }
}

/** The open connections of this node, with an index for each way to name them: no kick scans them all (threat Z4). */
export class Registry {
  /** In no order; the heartbeat walks it by position. */
  readonly list: Connection[] = []
  readonly #ids = new Index()
  readonly #ips = new Index()
  readonly #subjects = new Index()
  readonly #sessions = new Index()
  readonly #tokens = new Index()
  readonly #closing = new Set<Promise<unknown>>()
  #onFirst: () => void = () => {}

  get size(): number {
    return this.list.length
  }

  /** Called whenever the registry stops being empty: the heartbeat starts its timer then. */
  onFirst(start: () => void): void {
    this.#onFirst = start
  }

  add(connection: Connection): void {
    connection.position = this.list.length
    this.list.push(connection)
    this.#ids.add(connection.id, connection)
    this.#ips.add(unmapped(connection.ip), connection)
    this.identify(connection, connection.identity)
    if (this.list.length === 1) this.#onFirst()
  }

  /** Indexes a connection under the identity of its credential, in place of the one it had. */
  identify(connection: Connection, identity: Identity | undefined): void {
    this.#forget(connection)
    connection.identity = identity
    this.#subjects.add(identity?.subject, connection)
    this.#sessions.add(identity?.sessionId, connection)
    this.#tokens.add(identity?.tokenId, connection)
  }

  remove(connection: Connection): void {
    const last = this.list.pop() as Connection
    if (last !== connection) {
      this.list[connection.position] = last
      last.position = connection.position
    }
    this.#ids.remove(connection.id, connection)
    this.#ips.remove(unmapped(connection.ip), connection)
    this.#forget(connection)
  }

  find(query: ConnectionQuery): readonly Connection[] {
    return this.#candidates(query).filter(
      (connection) =>
        matches(query.id, connection.id) &&
        matches(query.ip && unmapped(query.ip), unmapped(connection.ip)) &&
        matches(query.route, connection.settings.path) &&
        matches(query.sub, connection.identity?.subject) &&
        matches(query.sid, connection.identity?.sessionId) &&
        matches(query.jti, connection.identity?.tokenId)
    )
  }

  /**
   * Keeps a handler or `onClose` that is still running in view of the drain, for this long: one that never settles
   * would be kept for ever (threat L2).
   */
  trackClosing(closing: Promise<unknown>, forMs: number): void {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, forMs).unref()
    })
    const kept = Promise.race([closing, late]).finally(() => {
      clearTimeout(timer)
      this.#closing.delete(kept)
    })
    this.#closing.add(kept)
  }

  /** The `onClose` hooks still running. */
  get closing(): readonly Promise<unknown>[] {
    return [...this.#closing]
  }

  sizes(): Readonly<Record<string, number>> {
    return {
      connections: this.list.length,
      closing: this.#closing.size,
      ids: this.#ids.size,
      ips: this.#ips.size,
      subjects: this.#subjects.size,
      sessions: this.#sessions.size,
      tokens: this.#tokens.size
    }
  }

  #candidates(query: ConnectionQuery): readonly Connection[] {
    if (query.id !== undefined) return this.#ids.get(query.id)
    if (query.jti !== undefined) return this.#tokens.get(query.jti)
    if (query.sid !== undefined) return this.#sessions.get(query.sid)
    if (query.sub !== undefined) return this.#subjects.get(query.sub)
    if (query.ip !== undefined) return this.#ips.get(unmapped(query.ip))
    return this.list
  }

  #forget(connection: Connection): void {
    this.#subjects.remove(connection.identity?.subject, connection)
    this.#sessions.remove(connection.identity?.sessionId, connection)
    this.#tokens.remove(connection.identity?.tokenId, connection)
  }
}

function matches(wanted: string | undefined, value: string | undefined): boolean {
  return wanted === undefined || wanted === value
}

/** On a socket for both families an IPv4 client has an IPv6 address (RFC 4291 section 2.5.5.2). */
function unmapped(ip: string): string {
  return ip.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, '')
}
