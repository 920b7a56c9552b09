/** One redis-server process: its port, its folder, its signals, its end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathOf, temporaryFolder } from '../proxies/processes.ts'
import { returnPort, takePort } from './ports.ts'
import { ask, EndedError, poll } from './redis-ask.ts'
import { within } from './wait.ts'

const startAttempts = 5
const startMs = 20_000
const endMs = 10_000
const shownOutputLength = 2000

const live = new Map<ChildProcess, string>()
let willCleanUp = false

export interface LaunchOptions {
  /** Default: one that is free. */
  readonly port?: number
  readonly args: readonly string[]
  /** The text of a configuration file, which Redis may write again. */
  readonly config?: string
}

/** A port, a folder and, one after the other, the processes that use them. */
export class RedisProcess {
  readonly port: number
  readonly #folder = temporaryFolder('redis')
  readonly #options: LaunchOptions
  #child: ChildProcess | undefined
  #ended: Promise<unknown> = Promise.resolve()

  private constructor(port: number, options: LaunchOptions) {
    this.port = port
    this.#options = options
  }

  /** Starts it and waits until it answers. A port that another program took in between is given up for another one. */
  static async launch(options: LaunchOptions): Promise<RedisProcess> {
    for (let attempt = 1; ; attempt++) {
      const server = new RedisProcess(options.port ?? (await takePort()), options)
      try {
        await server.run()
        return server
      } catch (error) {
        const wasTaken = server.output().includes('Address already in use')
        await server.remove()
        if (!wasTaken || options.port !== undefined || attempt === startAttempts) throw error
      }
    }
  }

  /** The last of what its processes have written. */
  output(): string {
    return readFileSync(this.#outputPath, { encoding: 'utf8', flag: 'a+' }).slice(-shownOutputLength)
  }

  /** Undefined while it is down. */
  get pid(): number | undefined {
    return this.#isRunning ? this.#child?.pid : undefined
  }

  async run(): Promise<void> {
    try {
      this.#spawn()
      await poll(`an answer of redis-server on port ${this.port}`, startMs, () => this.#isReady())
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      await this.kill()
      throw new Error(`${reason}\nIts last output:\n${this.output()}`, { cause: error })
    }
  }

  /** To this process, and to no other. */
  signal(signal: NodeJS.Signals): void {
    if (!this.#child?.kill(signal)) throw new Error(`redis-server on port ${this.port} is not running`)
  }

  async kill(): Promise<void> {
    if (this.#isRunning) this.#child?.kill('SIGKILL')
    await within(this.#ended, { timeoutMs: endMs, what: `the end of redis-server on port ${this.port}` })
  }

  /** Ends it for good. */
  async remove(): Promise<void> {
    await this.kill()
    await this.#folder.remove()
    returnPort(this.port)
  }

  get #isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  get #outputPath(): string {
    return join(this.#folder.path, 'output.log')
  }

  #spawn(): void {
    const [command, ...words] = commandLine([...this.#configured(), '--port', String(this.port)])
    const { path } = this.#folder
    const own = ['--bind', '127.0.0.1', '--dir', path, '--daemonize', 'no', '--save', '', '--appendonly', 'no']
    // A file: a pipe that is read too slowly, or not at all, would hold the server up.
    const log = openSync(this.#outputPath, 'a')
    const child = spawn(command, [...words, ...own, ...this.#options.args], { stdio: ['ignore', log, log] })
    closeSync(log)
    // A test that forgets its server shall end, and its server with it.
    child.unref()
    this.#child = child
    killAtExit(child, path)
    this.#ended = new Promise((resolve) => {
      child.once('exit', resolve)
      child.once('error', resolve)
    }).then(() => live.delete(child))
  }

  #configured(): string[] {
    if (this.#options.config === undefined) return []
    const path = join(this.#folder.path, 'redis.conf')
    writeFileSync(path, this.#options.config)
    return [path]
  }

  /** Its own process id in the answer: on a port that was taken in between, another server would answer as well. */
  async #isReady(): Promise<boolean> {
    if (!this.#isRunning) throw new EndedError(`redis-server ended before it was ready on port ${this.port}`)
    return String(await ask(this.port, 'INFO', 'server')).includes(`process_id:${this.#child?.pid}\r\n`)
  }
}

/** Where Linux can, the server ends with this process even when that is killed and no line of it runs any more. */
function commandLine(args: readonly string[]): [string, ...string[]] {
  const server = pathOf('redis-server')
  if (server === undefined) throw new Error('needs: sudo apt-get install redis-server')
  const setpriv = process.platform === 'linux' ? pathOf('setpriv') : undefined
  return setpriv === undefined ? [server, ...args] : [setpriv, '--pdeathsig', 'KILL', '--', server, ...args]
}

function killAtExit(child: ChildProcess, folder: string): void {
  live.set(child, folder)
  if (willCleanUp) return
  willCleanUp = true
  process.once('exit', () => {
    for (const [server, path] of live) {
      server.kill('SIGKILL')
      rmSync(path, { recursive: true, force: true })
    }
  })
}
