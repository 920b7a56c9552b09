import type { CloseCodes } from '../close-codes.ts'
import type { Store } from '../limits/store.ts'
import type { Events } from './events.ts'
import type { Registry } from './registry.ts'
import type { Topics } from './topics.ts'

/**
 * Two clocks: limits go by the one that never jumps, credentials by the one on the wall. Both in whole ms: V8 keeps an
 * integer of 31 bits, which is 24 days of the first one, in its place, and other numbers in 16 bytes each.
 */
export interface Clock {
  readonly now: () => number
  readonly wall: () => number
}

export const systemClock: Clock = { now: () => Math.floor(performance.now()), wall: () => Date.now() }

/** The account of what all connections hold back. */
export interface SendBuffers {
  readonly maxBytes: number
  countedBytes: number
  isJudging: boolean
}

export function createSendBuffers(maxBytes: number): SendBuffers {
  return { maxBytes, countedBytes: 0, isJudging: false }
}

/** What all connections of this node share. */
export interface Runtime {
  readonly clock: Clock
  readonly closeCodes: CloseCodes
  readonly events: Events
  readonly registry: Registry
  readonly topics: Topics
  readonly store: Store
  /** limits.totalBufferedBytes, and what is counted against it. */
  readonly sendBuffers: SendBuffers
}
