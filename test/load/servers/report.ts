/** What the three servers have in common: they listen, and say how they are when the parent asks. */
import type { AddressInfo } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { FastifyInstance } from 'fastify'
import { collectGarbage, heapBytes } from '../../support/gc.ts'
import { connectionsOf } from '../../support/wait.ts'
import { answer } from '../answer.ts'

/** Since the last time it was asked. */
export interface LoopReport {
  readonly loopP99Ms: number
  readonly loopMaxMs: number
  readonly peakRss: number
  /** Used by this process. */
  readonly cpuMs: number
  readonly wallMs: number
}

export interface Memory {
  readonly rss: number
  /** Heap and external memory, which has array buffers in it, after a garbage collection. */
  readonly bytes: number
}

export interface Holdings {
  readonly sockets: number
  readonly timers: number
  readonly clients: number
  /** Sizes of the maps, by name. */
  readonly stats: Readonly<Record<string, number>>
}

const rssEveryMs = 20

/** A log that costs what a log costs until it is written. */
export const logger = { level: 'info', stream: { write(): void {} } }

/** What the README recommends for a server that no proxy stands in front of. */
export const http = { headersTimeout: 10_000, connectionsCheckingInterval: 5_000 }

export async function serve(app: FastifyInstance, stats: () => Readonly<Record<string, number>>): Promise<void> {
  await app.listen({ port: 0, host: '127.0.0.1', backlog: 1_024 })
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  let peakRss = process.memoryUsage.rss()
  setInterval(() => {
    peakRss = Math.max(peakRss, process.memoryUsage.rss())
  }, rssEveryMs).unref()
  let cpu = process.cpuUsage()
  let since = performance.now()
  const loop = (): LoopReport => {
    const { user, system } = process.cpuUsage(cpu)
    const report = {
      loopP99Ms: delay.percentile(99) / 1e6,
      loopMaxMs: delay.max / 1e6,
      peakRss,
      cpuMs: (user + system) / 1_000,
      wallMs: performance.now() - since
    }
    delay.reset()
    cpu = process.cpuUsage()
    since = performance.now()
    peakRss = process.memoryUsage.rss()
    return report
  }
  answer({
    port: () => (app.server.address() as AddressInfo).port,
    loop,
    memory,
    holdings: () => holdings(app, stats())
  })
}

async function memory(): Promise<Memory> {
  await collectGarbage()
  return { rss: process.memoryUsage.rss(), bytes: heapBytes() }
}

async function holdings(app: FastifyInstance, stats: Holdings['stats']): Promise<Holdings> {
  return {
    sockets: await connectionsOf(app.server),
    timers: process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length,
    clients: app.websocketServer.clients.size,
    stats
  }
}
