/** Everything that the events' channels carry while a test runs. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { TestContext } from 'node:test'
import { eventTable, type WsEvent, type WsEventName } from '../../lib/connection/event-table.ts'

export const eventNames = Object.keys(eventTable) as WsEventName[]

/** The messages of all channels, in order. */
export function recordEvents(t: TestContext): WsEvent[] {
  const seen: WsEvent[] = []
  const onMessage = (message: unknown): void => void seen.push(message as WsEvent)
  for (const name of eventNames) {
    subscribe(`fastify-ws-guard:${name}`, onMessage)
    t.after(() => unsubscribe(`fastify-ws-guard:${name}`, onMessage))
  }
  return seen
}

/** Those of one event. */
export function only<N extends WsEventName>(seen: readonly WsEvent[], name: N): WsEvent<N>[] {
  return seen.filter(({ event }) => event === name) as readonly unknown[] as WsEvent<N>[]
}

/** What a metric would tell apart: the values of the fields that the table calls labels. */
export function seriesOf(messages: readonly WsEvent[]): Set<string> {
  return new Set(
    messages.map((message) => {
      const values = message as unknown as Readonly<Record<string, unknown>>
      return [message.event, ...eventTable[message.event].labels.map((label) => String(values[label]))].join(' ')
    })
  )
}

/** A payload without the fields that say nothing. */
export function defined(payload: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(payload).filter(([, value]) => value !== undefined))
}
