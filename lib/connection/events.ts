import { type Channel, channel } from 'node:diagnostics_channel'
import type { FastifyBaseLogger } from 'fastify'
import { LogSampler } from '../limits/log-sampler.ts'
import { type EventPayload, eventTable, type WsEventName } from './event-table.ts'

const names = Object.keys(eventTable) as WsEventName[]

/** The level each event is logged with. */
export const eventLevels: Readonly<Record<WsEventName, 'info' | 'warn' | 'error'>> = forEach(
  (name) => eventTable[name].level
)

/** Made once: to ask whether anybody listens then costs nothing. */
const channels = forEach((name): Channel => channel(`fastify-ws-guard:${name}`))

function forEach<T>(make: (name: WsEventName) => T): Readonly<Record<WsEventName, T>> {
  return Object.fromEntries(names.map((name) => [name, make(name)])) as Record<WsEventName, T>
}

const whole = { suppressed: 0 }

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
   * Reports an event: a log line `{ event, … }` and a message on the diagnostics channel `fastify-ws-guard:<event>`. No
   * event carries a token, a cookie, a query, a message or a rejected value (threat P1). Under flood at most
   * `logSamplePerSecond` lines per event and reason are logged a second; the next line carries how many were left out.
   * Channels get every event.
   * @param error stays in the log and never reaches a channel
   */
  emit<N extends WsEventName>(event: N, log: FastifyBaseLogger, fields: EventPayload<N>, error?: unknown): void {
    this.#log(event, log, fields, error)
    // After the log and with an object of its own: what a subscriber does to it is in no line.
    if (channels[event].hasSubscribers) channels[event].publish({ event, ...fields })
  }

  #log(event: WsEventName, log: FastifyBaseLogger, fields: { readonly reason?: string }, error: unknown): void {
    const { isSampled, level } = eventTable[event]
    const line = isSampled ? this.#sampler.admit(`${event} ${fields.reason}`, this.#now()) : whole
    if (line === undefined) return
    const suppressed = line.suppressed > 0 ? { suppressed: line.suppressed } : undefined
    const cause = error === undefined ? undefined : { err: error }
    const written = { event, ...fields, ...suppressed }
    // An error object of the developer's that cannot be read, or a logger that fails: neither may end the process.
    if (!tryLog(log, level, { ...written, ...cause }, event) && cause) tryLog(log, level, written, event)
  }
}

/** A logger that fails, or an error that it cannot write, changes nothing else. @returns whether the line was written */
export function tryLog(
  log: FastifyBaseLogger,
  level: 'debug' | 'info' | 'warn' | 'error',
  fields: object,
  message: string
): boolean {
  try {
    log[level](fields, message)
    return true
  } catch {
    return false
  }
}
