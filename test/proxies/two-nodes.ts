/** The command that runs the example as two nodes behind nginx, and people who talk through it. */
import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import process from 'node:process'
import type { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { HttpAnswer } from '../support/http-message.ts'
import { takePort } from '../support/ports.ts'
import { connect, type RawClient } from '../support/raw-client.ts'
import { poll } from '../support/redis-ask.ts'

const command = fileURLToPath(new URL('../../example-app/two-nodes.ts', import.meta.url))

/** Two nodes, each of which compiles its schemas, on a machine that has other things to do. */
const patienceMs = 60_000
const stopMs = 20_000
const busyMs = 10_000

export interface TwoNodes {
  readonly child: ChildProcessByStdio<null, Readable, Readable>
  readonly port: number
  /** By what the command calls them: `node 1`, `node 2`, `nginx`, and `redis` if it has started one. */
  readonly pids: ReadonlyMap<string, number>
  output(): string
  /** Sends the signal to the command, and waits for its end. */
  stop(signal?: NodeJS.Signals): Promise<void>
}

/** Runs it as people do, and waits until it is ready. Without `REDIS_URL` it starts a Redis of its own. */
export async function startTwoNodes(settings: NodeJS.ProcessEnv = {}, at?: number): Promise<TwoNodes> {
  const port = at ?? (await takePort())
  const clean = { REDIS_URL: '', JWT_SECRET: '', NODE_ENV: '', NODE_V8_COVERAGE: '' }
  const env = { ...process.env, ...clean, ...settings, PORT: String(port) }
  const child = spawn(process.execPath, ['--import', 'tsx', command], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null
  const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
    child.kill(signal)
    await poll('the end of the command', stopMs, async () => hasEnded())
  }
  await poll('two nodes behind nginx', patienceMs, async () => hasEnded() || output.includes('Ctrl-C stops')).catch(
    () => stop()
  )
  const pids = new Map<string, number>()
  for (const [, name, pid] of output.matchAll(/([a-z]+(?: \d)?): pid (\d+)/g)) pids.set(name as string, Number(pid))
  if (pids.size === 0) throw new Error(output)
  return { child, port, pids, output: () => output, stop }
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

export interface Message {
  readonly type: string
  readonly [key: string]: unknown
}

export interface EnterOptions {
  readonly room?: string
  readonly from?: string
  /** Default true: tries again after a 503. */
  readonly patient?: boolean
}

/** One window: what a node's answers and messages are to it. */
export class Visitor {
  readonly answer: HttpAnswer
  readonly #client: RawClient
  #ref = 0

  private constructor(client: RawClient, answer: HttpAnswer) {
    this.#client = client
    this.answer = answer
  }

  static async enter(port: number, token: string, options: EnterOptions = {}): Promise<Visitor> {
    const { room = 'lobby', from = '127.0.0.1', patient = true } = options
    const own = { Host: `127.0.0.1:${port}`, Origin: `http://127.0.0.1:${port}`, 'X-Forwarded-For': '203.0.113.9' }
    const headers = { ...own, 'Sec-WebSocket-Protocol': `ws-guard.v1, bearer.${token}` }
    const handshake = async () => {
      const client = await connect(port, { localAddress: from })
      return new Visitor(client, await client.handshake({ path: `/chat/${room}`, headers, timeoutMs: 10_000 }))
    }
    return patient ? unlessBusy(handshake, ({ answer }) => answer.statusCode) : handshake()
  }

  /** 1 or 2. */
  get node(): string {
    return String(this.answer.headers['x-node'])
  }

  /** Its node, or nginx, has ended the connection. */
  lost(): Promise<void> {
    return this.#client.serverEnd({ timeoutMs: 10_000 })
  }

  leave(): void {
    this.#client.destroy()
  }

  /** The close frame's code. */
  async closeCode(): Promise<number> {
    return (await this.#client.nextFrame({ opcode: 8, timeoutMs: 20_000 })).payload.readUInt16BE()
  }

  /** The next message that fits; the others are passed over. */
  async hears(fits: (message: Message) => boolean, timeoutMs = 10_000): Promise<Message> {
    for (;;) {
      const message = await this.#client.nextJson<Message>({ timeoutMs })
      if (fits(message)) return message
    }
  }

  /** Waits until just these people are here. */
  async sees(people: readonly string[], timeoutMs = 20_000): Promise<void> {
    const wanted = JSON.stringify([...people].sort())
    await this.hears(({ type, people: names }) => {
      return type === 'presence' && JSON.stringify([...(names as string[])].sort()) === wanted
    }, timeoutMs)
  }

  async asks(type: string, message: object): Promise<unknown> {
    const answer = await this.tells(type, message)
    assert.equal(answer.type, 'reply', JSON.stringify(answer))
    return answer.data
  }

  /** Resolves with the reply, or the error. */
  async tells(type: string, message: object): Promise<Message> {
    const ref = ++this.#ref
    await this.#client.sendJson({ ...message, type, ref })
    return this.hears((heard) => heard.ref === ref)
  }
}

export async function signIn(port: number, name: string): Promise<string> {
  const headers = { 'content-type': 'application/json' }
  const request = { method: 'POST', headers, body: JSON.stringify({ name }) }
  const answer = await unlessBusy(
    () => fetch(`http://127.0.0.1:${port}/login`, request),
    (each) => each.status
  )
  assert.equal(answer.status, 200)
  return ((await answer.json()) as { token: string }).token
}

/** On a machine with too much to do, Redis may answer too late: a page would come back after a 503, and so do we. */
async function unlessBusy<T>(ask: () => Promise<T>, statusOf: (answer: T) => number): Promise<T> {
  const deadline = performance.now() + busyMs
  for (;;) {
    const answer = await ask()
    if (statusOf(answer) !== 503 || performance.now() > deadline) return answer
    await pause(500)
  }
}
