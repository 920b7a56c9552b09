/** A real Redis server for a test, with faults that are real as well. */
import type { TestContext } from 'node:test'
import { type Cluster, Redis, type RedisOptions } from 'ioredis'
import { ask } from './redis-ask.ts'
import { RedisProcess } from './redis-process.ts'

/** Replies keep the shape that they have by default. */
export type ClientOptions = Omit<RedisOptions, 'replyMapping'>

export interface RedisServerOptions {
  /** Default: one that is free, outside of the range of outgoing connections. */
  readonly port?: number
  /** Further arguments of redis-server. */
  readonly args?: readonly string[]
  /** The text of a configuration file; default none. */
  readonly config?: string
}

export class RedisServer {
  readonly port: number
  readonly #process: RedisProcess
  readonly #clients = new Clients()
  #asked = 0

  private constructor(server: RedisProcess) {
    this.port = server.port
    this.#process = server
  }

  /** The caller stops it. */
  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    return new RedisServer(await RedisProcess.launch({ ...options, args: options.args ?? [] }))
  }

  /** Stopped when the test ends. */
  static async startFor(t: TestContext, options: RedisServerOptions = {}): Promise<RedisServer> {
    const server = await RedisServer.start(options)
    t.after(() => server.stop())
    return server
  }

  /** Of the process that runs now. */
  get pid(): number {
    const { pid } = this.#process
    if (pid === undefined) throw new Error(`redis-server on port ${this.port} is not running`)
    return pid
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** The last of what it has written. */
  get output(): string {
    return this.#process.output()
  }

  /** Disconnects its clients and ends it for good, frozen or not. */
  async stop(): Promise<void> {
    this.#clients.disconnect()
    await this.#process.remove()
  }

  /** SIGKILL. Its port stays its own. */
  async kill(): Promise<void> {
    await this.#process.kill()
  }

  /** SIGSTOP: connections stay, new ones are accepted by the system, and nothing is answered. */
  freeze(): void {
    this.#process.signal('SIGSTOP')
  }

  thaw(): void {
    this.#process.signal('SIGCONT')
  }

  /** Kills it if it runs, and starts it on the same port with an empty data set. */
  async restart(): Promise<void> {
    await this.#process.kill()
    this.#asked = 0
    await this.#process.run()
  }

  /** A new client, disconnected by `stop`. Its errors are ignored unless the test listens to them. */
  client(options: ClientOptions = {}): Redis {
    return this.#clients.add(new Redis({ host: '127.0.0.1', port: this.port, ...options }))
  }

  /** One command on a connection of its own, which `commandsProcessed` does not count. */
  async ask(...command: string[]): ReturnType<typeof ask> {
    this.#asked++
    return ask(this.port, ...command)
  }

  /** The commands of all others since it was started, but for those of its own start. */
  async commandsProcessed(): Promise<number> {
    const before = this.#asked
    const info = await this.info('stats')
    return Number(info.total_commands_processed) - before
  }

  /** A section of INFO. */
  async info(section: string): Promise<Record<string, string>> {
    return fieldsOf(await this.ask('INFO', section))
  }

  /** All keys of database 0, in order. */
  async keys(): Promise<string[]> {
    const keys = new Set<string>()
    let cursor = '0'
    do {
      const [next, page] = (await this.ask('SCAN', cursor, 'COUNT', '1000')) as [string, string[]]
      for (const key of page) keys.add(key)
      cursor = next
    } while (cursor !== '0')
    return [...keys].sort()
  }
}

/** Clients that shall not outlive their server, nor end the process by an error that nobody listens to. */
export class Clients {
  readonly #clients: Array<Redis | Cluster> = []

  add<T extends Redis | Cluster>(client: T): T {
    client.on('error', () => {})
    this.#clients.push(client)
    return client
  }

  disconnect(): void {
    for (const client of this.#clients) client.disconnect()
  }
}

/** `name:value` per line. */
export function fieldsOf(text: unknown): Record<string, string> {
  const lines = String(text).split('\r\n')
  return Object.fromEntries(lines.map((line) => line.split(/:(.*)/s).slice(0, 2) as [string, string]))
}
