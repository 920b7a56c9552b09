/** What a place is, and what becomes of each way to fail there. */
import type { Drive } from './drives.ts'
import { type Effect, type Failure, failures } from './failures.ts'

/** What the client sees, and the line of the log that says why: its event and its reason. */
export type Outcome = readonly [sees: string, line?: string]

export interface Place {
  readonly drive: Drive
  readonly fails: Outcome
  readonly hangs?: Outcome
  /** Absent where nothing is a good answer. */
  readonly nothing?: Outcome
  /** Nobody waits for an answer here: what a promise is taken for. */
  readonly promise?: Outcome
  /** Of those, one with a `then` that is called and settles or throws at once. */
  readonly thenable?: Outcome
  /** Only what fails at once is tried: a promise would be a value like any other, and nobody's to wait for. */
  readonly isSync?: true
  /** Fastify's own: it calls `then` itself, where an error would end any app of Fastify's. */
  readonly isHook?: true
  /** What comes of a falsy error, which is none to Fastify. */
  readonly falsy?: Outcome
  /** Fastify writes the error to the log, where one that cannot be read ends any app of Fastify's. */
  readonly isLogged?: true
  /** Calls that go well before. */
  readonly skip?: number
  /** The guard answers before it is asked. */
  readonly isNeverReached?: true
}

export const unavailable: Outcome = ['503', 'ws.refused unavailable']
export const timeout: Outcome = ['503', 'ws.refused handshake_timeout']
export const failed: Outcome = ['500', 'ws.refused hook_failed']
export const open: Outcome = ['open']
export const ended = (line: string): Outcome => ['1013 unavailable', line]
export const revoked: Outcome = ['401', 'ws.refused revoked']
export const internal: Outcome = ['internal', 'ws.handler_error handler']
export const slow: Outcome = ['1011 handler_timeout', 'ws.close handler_timeout']
export const auth = { type: 'auth', token: 'mallory' }

const isFull = process.env.LOAD === 'full'
let places = 0

/** Each place is tried with one in so many of the failures, in turn; in the long form with all. */
const oneIn = 3

/** The failures that a place is tried with. */
export function failuresOf(place: Place): readonly string[] {
  const names = Object.entries(failures).flatMap(([name, failure]) => (isTried(place, name, failure) ? [name] : []))
  const first = places++ % oneIn
  return isFull || names.length < oneIn ? names : names.filter((_, at) => at % oneIn === first)
}

function isTried(
  { isSync, isHook, isLogged, isNeverReached, nothing }: Place,
  name: string,
  failure: Failure
): boolean {
  if (isSync && !failure.isSync) return false
  if (isHook && isThenable(name)) return false
  if (isLogged && name.includes('Proxy')) return false
  if (isNeverReached && name !== 'throws an Error') return false
  return nothing !== undefined || failure.effect !== 'nothing'
}

function isThenable(name: string): boolean {
  return name.startsWith('returns') && name !== 'returns nothing'
}

/** What becomes of a failure at a place. */
export function outcomeOf(place: Place, name: string): Outcome & { readonly effect?: Effect } {
  const { effect, isSync } = failures[name] as (typeof failures)[string]
  if (place.falsy !== undefined && name === 'throws undefined') return place.falsy
  if (isThenable(name) && place.thenable !== undefined) return place.thenable
  if (!isSync && place.promise !== undefined) return place.promise
  if (effect === 'left') return ['left']
  return place[effect] as Outcome
}
