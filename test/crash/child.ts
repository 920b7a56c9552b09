/** The parent's side of the child process: it is started when it is needed, again when it has died, and ended. */
import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { closeOf, opcodes } from '../support/frames.ts'
import type { LogLine } from '../support/log-capture.ts'
import { connect, type RawClient } from '../support/raw-client.ts'
import { eventually, within } from '../support/wait.ts'
import { origin } from './contract.ts'
import { secret } from './failures.ts'

const program = fileURLToPath(new URL('server.ts', import.meta.url))
/** For what takes no time on an idle machine. */
export const patience = { timeoutMs: 10_000 }
const startTimeoutMs = 60_000

type Answer = { readonly id: number; readonly value?: unknown; readonly error?: string }

/** A client, and every byte that it was sent. */
export interface Witness {
  readonly client: RawClient
  readonly bytes: () => string
}

export class Child {
  readonly #process: ChildProcess
  #port = 0
  readonly #pending = new Map<number, (answer: Answer) => void>()
  readonly #clients: RawClient[] = []
  #calls = 0
  #stderr = ''
  /** Rejects when the process ends, with what it wrote last. */
  readonly ended: Promise<never>
  #bystander: RawClient | undefined
  #baseline: unknown

  private constructor(process: ChildProcess) {
    this.#process = process
    process.stderr?.on('data', (chunk) => {
      this.#stderr = (this.#stderr + chunk).slice(-4000)
    })
    process.on('message', (answer: Answer) => this.#pending.get(answer.id)?.(answer))
    this.ended = new Promise((_resolve, reject) => {
      process.once('close', (code, signal) => {
        reject(new Error(`the server's process ended (${code ?? signal}): ${this.#stderr}`))
      })
    })
    this.ended.catch(() => {})
  }

  /** With somebody connected who has nothing to do with what follows. */
  static async start(): Promise<Child> {
    const process = fork(program, { execArgv: ['--import', 'tsx'], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    const child = new Child(process)
    const [{ port }] = await within(child.alive(once(process, 'message')), { timeoutMs: startTimeoutMs })
    child.#port = port
    child.#bystander = await child.open('/calm', 'bob')
    child.#baseline = await child.call('held')
    return child
  }

  get isAlive(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null
  }

  /** All clients leave; none of them waits for the end of a connection as the server does. */
  hangUp(): void {
    for (const client of this.#clients) client.destroy()
  }

  stop(): void {
    this.hangUp()
    // Nothing of it may keep this process from ending.
    this.#process.kill('SIGKILL')
    this.#process.stderr?.destroy()
    if (this.#process.connected) this.#process.disconnect()
  }

  async call<T = unknown>(name: string, ...values: unknown[]): Promise<T> {
    const id = ++this.#calls
    const answer = new Promise<Answer>((resolve) => this.#pending.set(id, resolve))
    // Who is gone is not told anything; `alive` says what it died of.
    this.#process.send({ id, name, values }, () => {})
    const { value, error } = await within(this.alive(answer), patience)
    this.#pending.delete(id)
    if (error !== undefined) throw new Error(`${name}: ${error}`)
    return value as T
  }

  /** What is waited for, or how the process ended. */
  alive<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.ended])
  }

  /** An assertion that comes true; a process that has ended is not waited for. */
  eventually<T>(assertion: () => Promise<T>): Promise<T> {
    return this.alive(eventually(assertion, patience))
  }

  async dial(): Promise<Witness> {
    const client = await connect(this.#port)
    this.#clients.push(client)
    const chunks: Buffer[] = []
    client.socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    // The peer of a server that is done closes, too.
    client.socket.once('end', () => client.socket.end())
    return { client, bytes: () => Buffer.concat(chunks).toString('latin1') }
  }

  async open(path: string, token?: string): Promise<RawClient> {
    const { client } = await this.dial()
    const { statusCode } = await client.handshake({ path, headers: headersOf(token), ...patience })
    assert.equal(statusCode, 101)
    return client
  }

  /** Who was there before is served, whoever comes is let in, and nothing is left of what has happened. */
  async assertServes(): Promise<void> {
    await this.alive(sayAndHear(this.#bystander as RawClient))
    const newcomer = await this.alive(this.open('/calm', 'carol'))
    await this.alive(sayAndHear(newcomer))
    newcomer.destroy()
    await this.alive(newcomer.closed)
  }

  async assertNothingLeft(): Promise<void> {
    await this.eventually(async () => assert.deepEqual(await this.call('held'), this.#baseline))
  }

  /** Resolves when the app has said that it is closed. */
  closed(): Promise<unknown> {
    const told = new Promise((resolve) => {
      this.#process.on('message', (message: object) => 'isClosed' in message && resolve(undefined))
    })
    return within(this.alive(told), patience)
  }

  lines(): Promise<LogLine[]> {
    return this.call('lines')
  }
}

export function headersOf(token: string | undefined): Record<string, string> {
  return { Origin: origin, ...(token !== undefined && { Authorization: `Bearer ${token}` }) }
}

async function sayAndHear(client: RawClient): Promise<void> {
  await client.sendJson({ type: 'say', text: 'hello' })
  assert.deepEqual(await client.nextJson(patience), { type: 'said', text: 'hello' })
}

/** What a client sees next: a message's type or an error's code, or how it ends. */
export async function sees(client: RawClient): Promise<string> {
  const frame = await client.nextFrame(patience).catch(unlessGone)
  if (frame === 'destroyed') return frame
  if (frame.opcode === opcodes.close) {
    const { code, reason } = closeOf(frame)
    return `${code} ${reason}`
  }
  const { type, code, data } = JSON.parse(frame.payload.toString()) as Record<string, unknown>
  if (type === 'error') return String(code)
  return type === 'reply' ? `reply ${JSON.stringify(data)}` : String(type)
}

/** A socket that was destroyed is an answer, too; one that stays silent is none. */
export function unlessGone(error: unknown): 'destroyed' {
  if (!String(error).includes('the socket closed')) throw error
  return 'destroyed'
}

export function assertNoSecret({ bytes }: Witness): void {
  assert.ok(!bytes().includes(secret), 'the client was sent what the error says')
  assert.ok(!bytes().includes('    at '), 'the client was sent a stack')
}

let current: Child | undefined

/** The child of this file's tests; a new one when the last has died. */
export async function child(): Promise<Child> {
  if (current?.isAlive !== true) current = await Child.start()
  return current
}

export function stopChild(): void {
  current?.stop()
  current = undefined
}
