/** Compiled, never run: what the events' types admit, on both sides of a channel. */
import { subscribe } from 'node:diagnostics_channel'
import type { FastifyBaseLogger } from 'fastify'
import type { Connection } from '../../lib/connection/connection.ts'
import type { Events } from '../../lib/connection/events.ts'
import { type CloseCause, eventFields, eventTable, type WsEvent, type WsEventName } from '../../lib/index.ts'
import type { Equals, Expect } from './expect.ts'

declare const events: Events
declare const connection: Connection
declare const log: FastifyBaseLogger
const about = { connectionId: 'c', route: '/house', ip: '127.0.0.1' }

/* A subscriber. */

subscribe('fastify-ws-guard:ws.refused', (message) => {
  const event = message as WsEvent<'ws.refused'>
  const status: number = event.status
  const route: string | undefined = event.route
  // @ts-expect-error a field of another event
  event.cause
  // @ts-expect-error a route may be missing
  const sure: string = event.route
  // @ts-expect-error a message is for reading
  event.status = 200
  void [status, route, sure]
})

export function count(event: WsEvent): string {
  switch (event.event) {
    case 'ws.close':
      return `${event.route} ${event.cause}`
    case 'ws.rate_limited':
      return event.reason
    default:
      return event.event
  }
}

export type Checks = [
  Expect<Equals<WsEvent['event'], WsEventName>>,
  Expect<Equals<WsEvent<'ws.close'>['cause'], CloseCause>>,
  Expect<Equals<WsEvent<'ws.close'>['reason'], string>>,
  Expect<Equals<WsEvent<'ws.slow_consumer'>['reason'], 'dropped' | 'terminated'>>,
  Expect<Equals<WsEvent<'ws.drain'>, { readonly event: 'ws.drain'; readonly connections: number }>>,
  Expect<
    Equals<
      WsEvent<'ws.invalid'>,
      {
        readonly event: 'ws.invalid'
        readonly route: string
        readonly reason: 'invalid_json' | 'unknown_type' | 'invalid_message'
        readonly connectionId: string
        readonly ip: string
        readonly sub?: string | undefined
        readonly paths?: readonly string[] | undefined
      }
    >
  >
]
// @ts-expect-error there is no such event
export type Nothing = WsEvent<'ws.opened'>

/** A metric for every event needs no list of its own. */
export const labels: ReadonlyArray<readonly [string, string]> = Object.entries(eventTable).flatMap(([name, entry]) =>
  entry.labels.map((label) => [name, eventFields[label].meaning] as const)
)

/* What the guard itself emits. */

events.emit('ws.drain', log, { connections: 1 })
events.emit('ws.refused', log, { status: 400, reason: 'method' })
connection.report('ws.invalid', { reason: 'invalid_json', paths: undefined })
connection.report('ws.forbidden', { reason: 'forbidden', sub: 'alice' })
// @ts-expect-error a field is missing
events.emit('ws.drain', log, {})
// @ts-expect-error a field that is not declared
events.emit('ws.drain', log, { connections: 1, token: 'secret' })
// @ts-expect-error of another type
events.emit('ws.drain', log, { connections: '1' })
// @ts-expect-error there is no such event
events.emit('ws.opened', log, about)
// @ts-expect-error a reason that is not declared would be a series nobody knows
connection.report('ws.rate_limited', { reason: 'whatever' })
// @ts-expect-error a field that is not declared
connection.report('ws.rate_limited', { reason: 'dropped', message: 'secret' })
// @ts-expect-error no event about a connection
connection.report('ws.refused', { status: 403, reason: 'forbidden' })
// @ts-expect-error the connection says itself which one it is
connection.report('ws.heartbeat_timeout', { reason: 'no_pong', ip: '127.0.0.1' })
