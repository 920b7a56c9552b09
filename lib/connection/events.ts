import { channel } from 'node:diagnostics_channel'
import type { FastifyBaseLogger } from 'fastify'
import { LogSampler } from '../limits/log-sampler.ts'

/**
 * What operators see. Each event is a log line `{ event, … }` and a message on the diagnostics channel
 * `fastify-ws-guard:<event>`. No event carries a token, a cookie, a query, a message or a rejected value (threat P1).
 */
export const eventLevels = {
  'ws.open': 'info',
  'ws.close': 'info',
  'ws.refused': 'info',
  'ws.auth_failed': 'warn',
  'ws.forbidden': 'warn',
  'ws.invalid': 'info',
  'ws.rate_limited': 'info',
  'ws.slow_consumer': 'warn',
  'ws.heartbeat_timeout': 'info',
  'ws.handler_error': 'error',
  'ws.refreshed': 'info',
  'ws.drain': 'info'
} as const

/** The audit trail (threat P2): handshakes are limited before they get here, so a flood does not reach these. */
const unsampled: ReadonlySet<string> = new Set(['ws.open', 'ws.close', 'ws.refreshed', 'ws.drain'])
const whole = { suppressed: 0 }

export type EventName = keyof typeof eventLevels

/** Only identifiers, counts and our own machine tokens; `err` stays in the log and never reaches a channel. */
export type EventFields = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>

const channels = Object.fromEntries(
  Object.keys(eventLevels).map((name) => [name, channel(`fastify-ws-guard:${name}`)])
) as Record<EventName, ReturnType<typeof channel>>

// Anything a peer chose is cut to this length in a log line (threat P3).
const maxFieldLength = 256

/** Cuts a value chosen by the peer and takes its control characters out (threat P3: log injection). */
export function printable(value: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return value.slice(0, maxFieldLength).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '?')
}

export class Events {
  readonly #sampler: LogSampler
  readonly #now: () => number

  constructor(samplePerSecond: number, now: () => number) {
    this.#sampler = new LogSampler(samplePerSecond)
    this.#now = now
  }

  /**
   * Reports an event. Under flood at most `logSamplePerSecond` lines per event and reason are logged a second; the
   * next line carries how many were left out. Channels get every event.
   */
  emit(event: EventName, log: FastifyBaseLogger, fields: EventFields, error?: unknown): void {
    const target = channels[event]
    if (target.hasSubscribers) target.publish({ event, ...fields })
    const line = unsampled.has(event) ? whole : this.#sampler.admit(`${event} ${fields.reason ?? ''}`, this.#now())
    if (line === undefined) return
    const suppressed = line.suppressed > 0 ? { suppressed: line.suppressed } : undefined
    const cause = error === undefined ? undefined : { err: error }
    try {
      log[eventLevels[event]]({ event, ...fields, ...suppressed, ...cause }, event)
    } catch {
      // An error object of the developer's that cannot be read, or a logger that fails: neither may end the process.
    }
  }
}
