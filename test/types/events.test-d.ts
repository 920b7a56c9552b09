/** Compiled, never run: what a subscriber knows of an event. */
import { subscribe } from 'node:diagnostics_channel'
import { type CloseCause, eventFields, eventTable, type WsEvent, type WsEventName } from '../../lib/index.ts'
import type { Equals, Expect } from './expect.ts'

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
