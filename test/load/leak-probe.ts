/** What a process holds: sockets and timers that keep it, listeners, objects still reachable. */
import { channel } from 'node:diagnostics_channel'
import type { EventEmitter } from 'node:events'
import type { Server } from 'node:net'
import { eventTable } from '../../lib/connection/event-table.ts'
import { connectionsOf } from '../support/wait.ts'

export type Counts = Record<string, number>

/** What only measures, and files of modules that are still being read. */
const passing = /^(IntervalHistogram|FSReq.*)$/

/** Whatever keeps this process: sockets, servers, timers, by node's names. */
export function resources(): Counts {
  return tally(process.getActiveResourcesInfo().filter((name) => !passing.test(name)))
}

export function tally(names: readonly string[]): Counts {
  const counts: Counts = {}
  for (const name of [...names].sort()) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

/** Listeners by emitter and event, and subscribers of the diagnostics channels that sockets and events go through. */
export function listeners(emitters: Readonly<Record<string, EventEmitter>>): Counts {
  const counts: Counts = {}
  for (const [name, emitter] of Object.entries(emitters)) {
    for (const event of emitter.eventNames()) counts[`${name} ${String(event)}`] = emitter.listenerCount(event)
  }
  for (const name of channelNames) counts[name] = subscribersOf(name)
  return counts
}

const channelNames = [
  ...Object.keys(eventTable).map((name) => `fastify-ws-guard:${name}`),
  ...['http.server.request.start', 'http.server.response.finish', 'net.server.socket', 'net.client.socket']
]

/** Private in node: a channel that was never subscribed to has none. */
function subscribersOf(name: string): number {
  return (channel(name) as { _subscribers?: readonly unknown[] })._subscribers?.length ?? 0
}

/** Objects that should go: kept weakly, by what they are. */
export class Watched {
  #refs: { readonly what: string; readonly ref: WeakRef<object> }[] = []
  /** How many were ever added, by what they are. */
  readonly added: Counts = {}

  add(what: string, object: object | undefined): void {
    if (object === undefined) return
    this.#refs.push({ what, ref: new WeakRef(object) })
    this.added[what] = (this.added[what] ?? 0) + 1
  }

  /** Those that are still reachable. Ask after `collectGarbage`, in a turn of its own. */
  alive(): Counts {
    this.#refs = this.#refs.filter(({ ref }) => ref.deref() !== undefined)
    return tally(this.#refs.map(({ what }) => what))
  }
}

export async function socketsOf(servers: readonly Server[]): Promise<number> {
  const counts = await Promise.all(servers.filter(({ listening }) => listening).map(connectionsOf))
  return counts.reduce((sum, count) => sum + count, 0)
}
