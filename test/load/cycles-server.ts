/** The server program of the leak harness. */
import type { AddressInfo } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import type { FastifyInstance } from 'fastify'
import { collectGarbage, heapBytes } from '../support/gc.ts'
import { until } from '../support/wait.ts'
import { answer } from './answer.ts'
import { hastyApp, mainApp } from './cycles-routes.ts'
import { expireEntries } from './cycles-store.ts'
import { takeEvents, watchEvents, watched } from './cycles-watch.ts'
import { type Counts, listeners, resources, socketsOf } from './leak-probe.ts'

/** Sockets end within this time of their clients', and what they held with them. */
const patienceMs = 10_000
/** Once the last socket has gone its timers have gone too, save for the turns that it takes. */
const timersMs = 400

/** What the program holds, and what it has seen since it was last asked. */
export interface Held {
  readonly sockets: number
  readonly clients: number
  readonly resources: Counts
  readonly listeners: Counts
  /** Of both apps, those that are not zero. */
  readonly stats: Counts
  /** Objects that are still reachable. */
  readonly alive: Counts
  readonly events: Counts
  readonly heapBytes: number
}

const apps: FastifyInstance[] = []
let atRest: Counts = {}

function statsOf(): Counts {
  const entries = apps.flatMap((app, at) =>
    Object.entries(app.wsGuard.stats()).map(([name, size]) => [`${at} ${name}`, size] as const)
  )
  return Object.fromEntries(entries.filter(([, size]) => size !== 0))
}

function clients(): number {
  return apps.reduce((sum, { websocketServer }) => sum + websocketServer.clients.size, 0)
}

async function start(): Promise<{ readonly main: number; readonly hasty: number }> {
  watchEvents()
  apps.push(await mainApp(), await hastyApp())
  for (const app of apps) await app.listen({ port: 0, host: '127.0.0.1' })
  atRest = resources()
  const [main = 0, hasty = 0] = apps.map(({ server }) => (server.address() as AddressInfo).port)
  return { main, hasty }
}

function sockets(): Promise<number> {
  return socketsOf(apps.map(({ server }) => server))
}

/** What does not come true is for the caller to see. */
async function wait(probe: () => boolean | Promise<boolean>, timeoutMs: number): Promise<void> {
  await until(probe, { timeoutMs }).catch(() => {})
}

/** Until every client has gone. */
function settle(): Promise<void> {
  return wait(async () => (await sockets()) === 0 && clients() === 0, patienceMs)
}

/** Waits, but only for what ends by itself; then says what is left. */
async function measure(): Promise<Held> {
  await settle()
  await wait(() => isDeepStrictEqual(resources(), atRest), timersMs)
  const held = { resources: resources(), listeners: listenersNow(), sockets: await sockets() }
  // Attempts, budgets, tickets, revocations and blocks end with their time: nothing of them may stay after it.
  expireEntries()
  await wait(() => Object.keys(statsOf()).length === 0, patienceMs)
  const stats = statsOf()
  await collectGarbage()
  const alive = watched.alive()
  return { ...held, clients: clients(), stats, alive, events: takeEvents(), heapBytes: heapBytes() }
}

function listenersNow(): Counts {
  const emitters = apps.flatMap((app, at) => [
    [`server ${at}`, app.server],
    [`websocketServer ${at}`, app.websocketServer]
  ])
  return listeners({ process, ...Object.fromEntries(emitters) })
}

/** @returns how long it took */
async function close(): Promise<number> {
  const startedAt = performance.now()
  await Promise.all(apps.map((app) => app.close()))
  return performance.now() - startedAt
}

answer({ start, settle, measure, close, atRest: () => atRest, added: () => watched.added })
