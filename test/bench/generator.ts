/** The load generator load.c: compiled when it is needed, and what each of its modes takes and tells. */
import { execFile } from 'node:child_process'
import { mkdir, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type LoadOptions, LoadProcess } from './load-process.ts'
import type { Pinning } from './pinning.ts'

/** Of echo, shake, fan and publish: what is counted is replies, handshakes, deliveries. */
export interface Rates {
  readonly messages: number
  readonly seconds: number
  readonly rate: number
  /** CPU time of the server for each of them. */
  readonly cpuUs: number
  readonly ownCpuShare: number
  /** What others than the server had of its CPU; null when it was not told which one that is. */
  readonly otherShare: number | null
  readonly p50Us: number
  readonly p99Us: number
  /** Frames, from the first to the last: also those before and after the counted seconds. */
  readonly sent: number
  readonly received: number
  readonly refused: number
}

export interface PacedPort {
  readonly port: number
  readonly messages: number
  /** They count in the latencies, with the time that they were waited for. */
  readonly unanswered: number
  readonly p50Us: number
  readonly p99Us: number
  readonly maxUs: number
}

export interface Paced {
  readonly ports: readonly PacedPort[]
  readonly seconds: number
  readonly ownCpuShare: number
  readonly serverCpuShare: number
  readonly sent: number
}

export interface Held {
  readonly open: number
  /** Answered. */
  readonly pings: number
  readonly seconds: number
}

export interface Flooded {
  readonly written: number
  readonly received: number
  /** Handshakes that got no 101. */
  readonly refused: number
  /** Connections that the server ended. */
  readonly ended: number
  readonly seconds: number
  readonly ownCpuShare: number
}

/** Goes on until it is stopped, or until this process ends. */
export interface Running<T> {
  stop(): Promise<T>
}

type Options<Needed extends keyof LoadOptions> = Omit<LoadOptions, 'mode'> & Required<Pick<LoadOptions, Needed>>

const source = fileURLToPath(new URL('load.c', import.meta.url))
const cache = fileURLToPath(new URL('../../node_modules/.cache/fastify-ws-guard/', import.meta.url))
const binary = join(cache, 'load')
const compileMs = 60_000

/** `conns` connections, each with `window` unanswered messages. */
export function echo(options: Options<'payload' | 'window' | 'seconds'>, pinning?: Pinning): Promise<Rates> {
  return run('echo', options, pinning)
}

/** Handshakes, `conns` at a time; fails when one gets anything but a 101. */
export function shake(options: Options<'seconds'>, pinning?: Pinning): Promise<Rates> {
  return run('shake', options, pinning)
}

/** `conns` subscribers, and one connection more, which has `window` publishes on their way to all. */
export function fan(options: Options<'payload' | 'window' | 'seconds'>, pinning?: Pinning): Promise<Rates> {
  return run('fan', options, pinning)
}

/**
 * `conns` subscribers at the first port, and one connection that is none to `publishPath` of the last port, which has
 * `window` publishes on their way to all. Every single delivery is timed, and `pid` is that of the first port.
 */
export function publish(
  options: Options<'payload' | 'publishPath' | 'window' | 'seconds'>,
  pinning?: Pinning
): Promise<Rates> {
  return run('publish', options, pinning)
}

/** `conns` connections to each port, `perSecond` messages on each, the ports in turn. */
export function pace(options: Options<'payload' | 'perSecond' | 'seconds'>, pinning?: Pinning): Promise<Paced> {
  return run('pace', options, pinning)
}

/** `conns` connections that only answer pings. @returns when all are open */
export function hold(options: Options<never>, pinning?: Pinning): Promise<Running<Held>> {
  return begin('hold', options, pinning)
}

/** `conns` connections that write all they can. @returns when all are open or refused */
export function flood(options: Options<'payload'>, pinning?: Pinning): Promise<Running<Flooded>> {
  return begin('flood', options, pinning)
}

async function run<T>(mode: LoadOptions['mode'], options: Options<never>, pinning?: Pinning): Promise<T> {
  return LoadProcess.run<T>(await compile(), { ...options, mode }, pinning)
}

async function begin<T>(mode: LoadOptions['mode'], options: Options<never>, pinning?: Pinning): Promise<Running<T>> {
  const load = new LoadProcess(await compile(), { ...options, mode }, pinning)
  await load.opened()
  return { stop: () => load.finish<T>() }
}

let compiled: Promise<string> | undefined

/** To be awaited before anything is measured. @returns the path of the program */
export function compile(): Promise<string> {
  compiled ??= compileOnce()
  return compiled
}

async function compileOnce(): Promise<string> {
  if ((await modified(binary)) > (await modified(source))) return binary
  await mkdir(cache, { recursive: true })
  // Another process may do the same: what is there is always whole.
  const fresh = `${binary}.${process.pid}`
  try {
    const options = ['-O2', '-Wall', '-Wextra', '-Werror', '-o', fresh, source]
    await promisify(execFile)('cc', options, { timeout: compileMs })
  } catch (error) {
    throw new Error('the load generator needs Linux and a C compiler (on Debian: gcc, libc6-dev)', { cause: error })
  }
  await rename(fresh, binary)
  return binary
}

/** 0 while it is not there. */
async function modified(path: string): Promise<number> {
  const found = await stat(path).catch(() => undefined)
  return found?.mtimeMs ?? 0
}
