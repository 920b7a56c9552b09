import { errorCodeOf, readText } from '../errors.ts'
import { StoreDownError } from '../limits/store.ts'
import type { Script } from './scripts.ts'

/**
 * What is used of a client of ioredis: `Redis`, also with Sentinel, or `Cluster`. Said here, because its own types
 * differ from version 5 to 6 and from one option to another.
 */
export interface RedisClient {
  readonly status: string
  readonly isCluster: boolean
  readonly options: object
  duplicate(...overrides: never[]): RedisClient
  connect(): Promise<void>
  disconnect(reconnect?: boolean): void
  eval(script: string, keyCount: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
  evalsha(sha: string, keyCount: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
  publish(channel: string, message: string): Promise<unknown>
  subscribe(...channels: string[]): Promise<unknown>
  unsubscribe(...channels: string[]): Promise<unknown>
  on(event: string, listener: (...values: string[]) => void): unknown
}

/** Commands under way at most: beyond that, Redis is too slow, and the next fails at once. */
export const maxPendingCommands = 10_000
/** Bytes of published messages under way at most; beyond that, messages reach this node only. */
export const maxPendingPublishBytes = 16_777_216
/** A line that says nothing for so many deadlines while a command waits is dropped, and made anew. */
const silentDeadlines = 20
const longestSilenceMs = 5_000
const reconnectMs = { least: 50, most: 1_000 }

/**
 * The lines to Redis: one for commands, one for what is published elsewhere. Both are duplicates of the developer's
 * client with settings of our own: nothing is queued while there is no connection, nothing is sent twice, and every
 * command has a deadline (threat N2).
 */
export class Link {
  readonly commands: RedisClient
  readonly subscriber: RedisClient
  readonly #timeoutMs: number
  #pending = 0
  #pendingPublishBytes = 0
  /** When a line last began to say nothing. */
  readonly #silentSince = new Map<RedisClient, number>()
  #unpublished = 0

  constructor(client: RedisClient, timeoutMs: number) {
    this.#timeoutMs = timeoutMs
    this.commands = duplicate(client)
    this.subscriber = duplicate(client)
  }

  get pending(): number {
    return this.#pending
  }

  /** Messages that did not leave this node since it started. */
  get unpublished(): number {
    return this.#unpublished
  }

  get isReady(): boolean {
    return this.commands.status === 'ready'
  }

  /** Settles when both lines stand, or have failed for the first time; ioredis goes on trying. */
  async connect(): Promise<void> {
    await Promise.allSettled([this.commands.connect(), this.subscriber.connect()])
  }

  /** @throws StoreDownError when it fails, or does not answer in time */
  async run(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return this.within(this.commands, () => this.#evaluate(script, keys, args))
  }

  /** Runs something on one of the lines within the deadline. @throws StoreDownError */
  async within<T>(line: RedisClient, ask: () => Promise<T>): Promise<T> {
    if (line.status !== 'ready') {
      // A new line is asked whether Redis is ready, and its answer waited for without an end.
      if (isStanding(line) || line.isCluster) this.#judge(line)
      throw new StoreDownError('not connected')
    }
    if (this.#pending >= maxPendingCommands) throw new StoreDownError('too many commands wait')
    this.#pending++
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      // A turn later: after a busy one the answer may be there already, and only has to be read.
      const giveUp = (): void => reject(new StoreDownError('no answer in time'))
      timer = setTimeout(() => setImmediate(giveUp), this.#timeoutMs)
    })
    const answer = ask().finally(() => {
      this.#pending--
    })
    try {
      const value = await Promise.race([answer, late])
      this.#silentSince.delete(line)
      return value
    } catch (error) {
      // When all nodes of a Cluster are gone, ioredis asks one after the other to hear, and never pauses.
      if (error instanceof StoreDownError || line.isCluster) this.#judge(line)
      throw error instanceof StoreDownError ? error : new StoreDownError(wordOf(error))
    } finally {
      clearTimeout(timer)
      answer.catch(() => {}) // one that fails after its deadline
    }
  }

  publish(channel: string, payload: string): void {
    const bytes = payload.length
    if (!this.isReady || this.#pendingPublishBytes + bytes > maxPendingPublishBytes) {
      this.#unpublished++
      return
    }
    this.#pendingPublishBytes += bytes
    this.commands
      .publish(channel, payload)
      .catch(() => this.#unpublished++)
      .finally(() => {
        this.#pendingPublishBytes -= bytes
      })
  }

  /** Drops both lines; commands under way fail. */
  close(): void {
    this.commands.disconnect()
    this.subscriber.disconnect()
  }

  async #evaluate(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    try {
      return await this.commands.evalsha(script.sha, keys.length, ...keys, ...args)
    } catch (error) {
      // A Redis that was restarted, or a node of a Cluster that does not have it yet.
      if (!readText(error, 'message').startsWith('NOSCRIPT')) throw error
      return this.commands.eval(script.lua, keys.length, ...keys, ...args)
    }
  }

  /** A line that went silent need not be a line any more; TCP may take minutes to notice. */
  #judge(line: RedisClient): void {
    const now = performance.now()
    const since = this.#silentSince.get(line) ?? now
    this.#silentSince.set(line, since)
    if (now - since < Math.min(silentDeadlines * this.#timeoutMs, longestSilenceMs)) return
    for (const lost of line.isCluster ? [this.commands, this.subscriber] : [line]) {
      this.#silentSince.delete(lost)
      if (isStanding(lost)) lost.disconnect(true)
    }
  }
}

/** It has a connection; otherwise ioredis is about to make one. */
function isStanding({ status }: RedisClient): boolean {
  return status === 'ready' || status === 'connect'
}

/** The first word of an error of Redis says what it is: `READONLY`, `OOM`, `NOPERM`. */
function wordOf(error: unknown): string {
  return /^[A-Z]+(?= )/.exec(readText(error, 'message'))?.[0] ?? errorCodeOf(error)
}

function retryAfter(times: number): number {
  return Math.min(reconnectMs.least * 2 ** Math.min(times, 10), reconnectMs.most) * (0.75 + Math.random() / 2)
}

/** After a failover the line leads to a replica: it is made anew. */
function leadsToReplica(error: Error): boolean {
  return error.message.startsWith('READONLY')
}

function duplicate(client: RedisClient): RedisClient {
  const line = {
    autoResubscribe: false, // done by `Bus`; ioredis leaves its failure uncaught
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: undefined,
    disconnectTimeout: 200, // for a server that does not answer; 2 s otherwise
    protocol: 2,
    replyMapping: 'legacy',
    keyPrefix: ''
  }
  const whole = { enableOfflineQueue: false, lazyConnect: true, keyPrefix: '' }
  // Its password and TLS: ioredis 5 would drop what it was given.
  const { redisOptions: given } = client.options as { redisOptions?: object }
  const make = client.duplicate as (...overrides: unknown[]) => RedisClient
  const copy = client.isCluster
    ? make.call(client, [], { ...whole, clusterRetryStrategy: retryAfter, redisOptions: { ...given, ...line } })
    : make.call(client, { ...whole, ...line, retryStrategy: retryAfter, reconnectOnError: leadsToReplica })
  // Said by `ws.store`; without a listener it would be printed for every attempt.
  copy.on('error', () => {})
  return copy
}
