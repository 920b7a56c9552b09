/** Where it was measured, and with what. */
import { readFileSync } from 'node:fs'
import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os'
import type { Pinning } from './pinning.ts'

export interface Machine {
  /** Day, month and year are enough to tell which versions were current. */
  readonly date: string
  readonly cpu: string
  readonly cores: number
  readonly memoryGb: number
  readonly kernel: string
  readonly node: string
  readonly pinned: boolean
  /** Of this package, and what the servers say of theirs. */
  readonly versions: Readonly<Record<string, string>>
}

const bytesPerGb = 2 ** 30

export function machineHere(pinning: Pinning | undefined, versions: Readonly<Record<string, string>>): Machine {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / bytesPerGb),
    kernel: `${platform()} ${release()} ${arch()}`,
    node: process.versions.node,
    pinned: pinning !== undefined,
    versions: { 'fastify-ws-guard': version, ...versions }
  }
}

export function machineLines({ date, cpu, cores, memoryGb, kernel, node, pinned, versions }: Machine): string[] {
  const packages = Object.entries(versions)
    .filter(([name]) => name !== 'node')
    .map(([name, version]) => `${name} ${version}`)
  return [
    `Measured on ${date}: ${cpu}, ${cores} cores, ${memoryGb} GB, ${kernel}, Node ${node}; ${packages.join(', ')}.`,
    pinned
      ? 'The servers had one core, the load generator another.'
      : 'Nothing was pinned: servers and load generator shared the cores.'
  ]
}
