/** A server of the benchmark in a process of its own, on the CPU of the servers. */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Child } from '../load/child.ts'
import type { Pinning } from './pinning.ts'

export interface ServerFile {
  /** In `servers/`. */
  readonly file: string
  /** What runs it; default: the Node that runs this. */
  readonly executable?: string
  readonly env?: Readonly<Record<string, string>>
}

export interface Memory {
  readonly heapUsed: number
  readonly rss: number
}

export class ServerProcess {
  readonly port: number
  readonly #child: Child

  private constructor(child: Child, port: number) {
    this.#child = child
    this.port = port
  }

  static async start({ file, executable, env = {} }: ServerFile, pinning?: Pinning): Promise<ServerProcess> {
    const path = fileURLToPath(new URL(`servers/${file}`, import.meta.url))
    const command = executable ?? process.execPath
    const pinned = pinning && { execPath: 'taskset', execArgv: ['-c', String(pinning.server), command] }
    const child = Child.of(
      fork(path, {
        ...(pinned ?? { execPath: command, execArgv: [] }),
        env: { ...process.env, NODE_OPTIONS: '', NODE_ENV: 'production', ...env },
        // The one that Node and Bun have in common.
        serialization: 'json',
        stdio: ['ignore', 'ignore', 'pipe', 'ipc']
      })
    )
    const { port } = await child.started<{ port: number }>()
    return new ServerProcess(child, port)
  }

  /** taskset becomes the server, so this is the server's own. */
  get pid(): number {
    return this.#child.pid
  }

  /** Why it is gone; undefined while it lives. */
  get ended(): string | undefined {
    return this.#child.ended
  }

  ask<T>(ask: string, given: object = {}): Promise<T> {
    return this.#child.ask<T>(ask, given)
  }

  memory(): Promise<Memory> {
    return this.ask<Memory>('memory')
  }

  versions(): Promise<Readonly<Record<string, string>>> {
    return this.ask('versions')
  }

  stop(): Promise<void> {
    return this.#child.kill()
  }
}
