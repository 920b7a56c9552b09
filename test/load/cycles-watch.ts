/** What the server program of the leak harness sees happen: events by reason, and everything that should go again. */
import { subscribe } from 'node:diagnostics_channel'
import { EventEmitter } from 'node:events'
import type { FastifyInstance } from 'fastify'
import type { WsEvent } from '../../lib/connection/event-table.ts'
import type { GuardedSocket } from '../../lib/connection/guarded-socket.ts'
import { type Counts, Watched } from './leak-probe.ts'

export const watched: Watched = new Watched()
/** `close <cause>` and `refused <reason>`, since they were last taken. */
let events: Counts = {}
/** `closed <user>`, and what routes tell. */
export const news: EventEmitter = new EventEmitter().setMaxListeners(1_000)

export function takeEvents(): Counts {
  const taken = events
  events = {}
  return Object.fromEntries(Object.entries(taken).sort())
}

function count(name: string): void {
  events[name] = (events[name] ?? 0) + 1
}

/** Once for the process: the channels are those of all apps in it. */
export function watchEvents(): void {
  subscribe('fastify-ws-guard:ws.refused', (message) => {
    const { reason } = message as WsEvent<'ws.refused'>
    count(`refused ${reason}`)
  })
  subscribe('fastify-ws-guard:ws.close', (message) => {
    const { cause, sub, route } = message as WsEvent<'ws.close'>
    // Whether ws or the guard ends it first is a matter of milliseconds, and so is what it is called.
    count(route === '/past' ? 'close past' : `close ${cause}`)
    if (sub !== undefined) news.emit(`closed ${sub}`)
  })
}

/** Keeps an eye on everything that a client makes this app make. */
export function watchObjects(app: FastifyInstance): void {
  app.server.on('connection', (socket) => watched.add('socket', socket))
  app.addHook('onRequest', async (request, reply) => {
    watched.add('request', request)
    watched.add('reply', reply)
    watched.add('raw request', request.raw)
  })
  app.websocketServer.on('connection', (socket) => {
    watched.add('websocket', socket)
    // The connection is made right after this event.
    setImmediate(() => watched.add('connection', (socket as GuardedSocket).connection))
  })
}
