import { createHmac } from 'node:crypto'

/** Of the hash in a key: 22 characters of base64url are 132 bits. */
const hashLength = 22

interface KeyEntry {
  /** What comes after `prefix`; `<hash>` stands for the hash of what the key is about. */
  readonly key: string
  readonly type: 'string' | 'hash' | 'sorted set' | 'channel'
  readonly holds: string
  readonly ttl: string
}

/** Every key and channel: what the names below make, the README lists and the tests look for (threat N5). */
export const redisKeys: readonly KeyEntry[] = [
  { key: 'a:<hash>', type: 'string', holds: 'handshakes of one address in a window', ttl: 'the window' },
  { key: 's:<hash>', type: 'hash', holds: 'connections of one address or user, by node', ttl: '24 h' },
  { key: 'b:<hash>', type: 'hash', holds: 'what a user has left of `limits.userMessages`', ttl: 'until it is full' },
  { key: 't:<hash>', type: 'string', holds: 'a ticket: its user, route and Origin', ttl: 'its own, at most 30 s' },
  { key: 'n', type: 'sorted set', holds: 'the nodes, by the end of their lease', ttl: '`leaseMs`' },
  { key: '{o}:entries', type: 'hash', holds: 'revocations, blocks and disconnects', ttl: 'that of the longest kept' },
  { key: '{o}:seq', type: 'sorted set', holds: 'their order', ttl: 'the same' },
  { key: '{o}:end', type: 'sorted set', holds: 'when each ends', ttl: 'the same' },
  { key: '{o}:meta', type: 'hash', holds: 'which log this is, and its last number', ttl: 'the same, at least 24 h' },
  { key: 'm:<hash>', type: 'channel', holds: 'messages of a topic', ttl: '–' },
  { key: 'o', type: 'channel', holds: 'that there is something new in `{o}`', ttl: '–' }
]

/**
 * The names of keys and channels. Nothing a client can be known by is in them: an HMAC stands for it. Without a secret
 * of its own it can still be guessed (there are only 2 ** 32 IPv4 addresses), so one may be given.
 */
export class Names {
  readonly #prefix: string
  readonly #secret: string

  constructor(prefix: string, secret: string) {
    this.#prefix = prefix
    this.#secret = secret
  }

  attempts(limiter: string, key: string): string {
    return this.#about('a', `${limiter} ${key}`)
  }

  slots(key: string): string {
    return this.#about('s', key)
  }

  budget(key: string): string {
    return this.#about('b', key)
  }

  ticket(hash: string): string {
    return this.#about('t', hash)
  }

  topic(key: string): string {
    return this.#about('m', key)
  }

  get nodes(): string {
    return `${this.#prefix}n`
  }

  get news(): string {
    return `${this.#prefix}o`
  }

  /** With a hash tag: Redis Cluster keeps them on one node, so that one script may use them all. */
  get orders(): readonly string[] {
    return ['entries', 'seq', 'end', 'meta'].map((part) => `${this.#prefix}{o}:${part}`)
  }

  hash(value: string): string {
    return createHmac('sha256', this.#secret).update(value).digest('base64url').slice(0, hashLength)
  }

  /** The letter goes into the hash too: what is the same in two kinds of keys cannot be seen to be. */
  #about(letter: string, what: string): string {
    return `${this.#prefix}${letter}:${this.hash(`${letter} ${what}`)}`
  }
}
