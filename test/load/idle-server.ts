/** The server of the load test: every option at its default, but for those by which all clients share one address. */
import type { AddressInfo } from 'node:net'
import { setTimeout as after } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { buildApp, echo } from '../support/app.ts'
import { collectGarbage, heapBytes } from '../support/gc.ts'
import { until } from '../support/wait.ts'
import { answer } from './answer.ts'
import { type Counts, resources, socketsOf } from './leak-probe.ts'
import { Seconds, type SecondsReport } from './stolen.ts'

/** Above what the test opens from its one address. */
const many = 1_000_000
/** Between two looks at how late the event loop is. */
const lookMs = 10

/** Of the time since `reset`. */
export interface Load {
  readonly delays: SecondsReport
  /** Of one core. */
  readonly cpuPercent: number
}

export interface Size {
  readonly rssBytes: number
  readonly heapBytes: number
}

export interface Left {
  readonly sockets: number
  readonly stats: Counts
  readonly resources: Counts
}

let app: FastifyInstance
let atRest: Counts = {}
let delays: Seconds | undefined
let looking: NodeJS.Timeout | undefined
let since = { cpu: process.cpuUsage(), at: performance.now() }

async function start(): Promise<number> {
  app = await buildApp({
    guard: { limits: { attempts: { max: many }, connections: { total: many, perIp: many } } }
  })
  app.wsRoute('/ws', {
    contract: echo,
    handlers: { say() {}, ask: ({ count }) => ({ items: Array.from({ length: count }, (_, at) => `item ${at}`) }) }
  })
  await app.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 })
  atRest = resources()
  return (app.server.address() as AddressInfo).port
}

function reset(): void {
  delays = new Seconds()
  let last = performance.now()
  looking = setInterval(() => {
    const now = performance.now()
    delays?.record(now - last - lookMs)
    last = now
  }, lookMs)
  since = { cpu: process.cpuUsage(), at: last }
}

function load(): Load {
  clearInterval(looking)
  const { user, system } = process.cpuUsage(since.cpu)
  return {
    delays: (delays as Seconds).stop(),
    cpuPercent: Math.round((user + system) / 10 / (performance.now() - since.at))
  }
}

/** Not while a load is measured: a collection takes its time. */
async function size(): Promise<Size> {
  await collectGarbage()
  return { rssBytes: process.memoryUsage.rss(), heapBytes: heapBytes() }
}

/** What is there once every client has gone. */
async function left(): Promise<Left> {
  const isEmpty = async (): Promise<boolean> => (await socketsOf([app.server])) === 0 && app.wsGuard.connections === 0
  await until(isEmpty, { timeoutMs: 30_000 }).catch(() => {})
  // Once around the loop: what the last sockets had is let go.
  await after(1)
  // Attempts live for their window; there is one entry, of the one address.
  const { 'store.attempts': _, ...stats } = app.wsGuard.stats()
  return { sockets: await socketsOf([app.server]), stats, resources: resources() }
}

answer({
  start,
  reset,
  load,
  size,
  left,
  atRest: () => atRest,
  connections: () => app.wsGuard.connections,
  close: () => app.close()
})
