/** Programs that are not ours: finding them, starting them on ports of their own, stopping them again. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer, connect as tcpConnect } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { within } from '../support/wait.ts'

const packages = {
  chromium: 'chromium',
  nginx: 'nginx-light',
  caddy: 'caddy',
  openssl: 'openssl',
  'python3-websockets': 'python3-websockets',
  'redis-server': 'redis-server'
} as const

export type Program = keyof typeof packages

/** Debian's own Python: another one on the PATH does not see the packages of apt. */
export const python = '/usr/bin/python3'

/** The path of a program, or undefined. Debian keeps servers where only root's PATH looks. */
export function pathOf(program: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/bin']
  return folders.map((folder) => join(folder, program)).find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function isInstalled(program: Program): boolean {
  if (program !== 'python3-websockets') return pathOf(program) !== undefined
  try {
    execFileSync(python, ['-c', 'import websockets'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/**
 * For the `skip` option of tests: false when everything is there, else what to install.
 * @throws Error in continuous integration, where nothing may be skipped
 */
export function skipWithout(...programs: Program[]): string | false {
  const missing = programs.filter((program) => !isInstalled(program))
  if (missing.length === 0) return false
  const reason = `needs: sudo apt-get install ${missing.map((program) => packages[program]).join(' ')}`
  if (process.env.CI === 'true') throw new Error(reason)
  return reason
}

/** A port that nobody listens on right now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** A folder for this test alone, with the way to remove it. */
export function temporaryFolder(name: string): { path: string; remove: () => Promise<void> } {
  const path = mkdtempSync(join(tmpdir(), `ws-guard-${name}-`))
  return { path, remove: () => rm(path, { recursive: true, force: true }) }
}

export interface Running {
  /** Everything it has written to stdout and stderr. */
  output(): string
  /** Sends the signal to this process, and to no other, and waits for its end. */
  stop(signal?: NodeJS.Signals): Promise<void>
}

export interface StartOptions {
  readonly env?: NodeJS.ProcessEnv
  /** What it writes once it is ready; or the port on which it then listens. */
  readonly ready: RegExp | number
}

/** Starts a program and waits until it is ready. A program that ends before that rejects with its output. */
export async function start(command: string, args: readonly string[], options: StartOptions): Promise<Running> {
  const child = spawn(command, args, { env: { ...process.env, ...options.env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const ready = new Promise<void>((resolve) => {
    const read = (chunk: Buffer): void => {
      output += chunk
      if (options.ready instanceof RegExp && options.ready.test(output)) resolve()
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    if (typeof options.ready === 'number') void listening(options.ready, child).then(resolve)
  })
  child.once('error', (error) => {
    output += error.message
  })
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal)
    await within(ended, { timeoutMs: 15_000, what: `the end of ${command}` }).catch((error: unknown) => {
      child.kill('SIGKILL')
      throw error
    })
  }
  const failed = ended.then(() => {
    throw new Error(`${command} ended before it was ready:\n${output}`)
  })
  // `failed` also rejects at the ordinary end, when nobody waits for it any more.
  failed.catch(() => {})
  try {
    await within(Promise.race([ready, failed]), { timeoutMs: 20_000, what: `${command} being ready` })
  } catch (error) {
    await stop('SIGKILL')
    throw error
  }
  return { output: () => output, stop }
}

/** nginx says nowhere that it is ready: ask its port until it answers. */
async function listening(port: number, child: ChildProcess): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    const socket = tcpConnect(port, '127.0.0.1')
    const answered = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
    })
    socket.destroy()
    if (answered) return
    await pause(20)
  }
}

/** A self-signed certificate for a host name, made by openssl. */
export function certificateFor(host: string, folder: string): { key: string; cert: string } {
  const key = join(folder, 'key.pem')
  const cert = join(folder, 'cert.pem')
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const names = ['-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`]
  execFileSync('openssl', [...request, ...names, '-keyout', key, '-out', cert], { stdio: 'ignore' })
  return { key, cert }
}

/** Replaces every occurrence, and says so when there is none: then the file has changed, and the test must follow. */
export function substitute(text: string, replacements: Readonly<Record<string, string>>): string {
  let result = text
  for (const [from, to] of Object.entries(replacements)) {
    if (!result.includes(from)) throw new Error(`expected to find ${JSON.stringify(from)}`)
    result = result.replaceAll(from, to)
  }
  return result
}
