import type { Limits } from '../limits/limits.ts'
import { TokenBucket } from '../limits/token-bucket.ts'
import type { Connection } from './connection.ts'
import type { Job, Spell, Waiting } from './parts.ts'

/**
 * What a connection keeps of what its peer sends. Most peers are silent most of the time, so it is made when a frame
 * comes, and the heartbeat lets go of one that a new one could stand in for.
 */
export class Inflow {
  readonly messages: TokenBucket
  readonly bytes: TokenBucket
  readonly controlFrames: TokenBucket
  spell: Spell | undefined
  strikes = 0
  strikesSince = 0
  readonly queue: Job[] = []
  queuedBytes = 0
  /** When the budget that the user's connections share was last found empty. */
  budgetRefusedAt: number | undefined
  /** Frames behind one for which the store is being asked. */
  waiting: Waiting | undefined

  constructor({ messages, bytes, controlFrames }: Limits, now: number) {
    this.messages = new TokenBucket(messages, now)
    this.bytes = new TokenBucket(bytes, now)
    this.controlFrames = new TokenBucket(controlFrames, now)
  }

  /** True when nothing in it would be missed. A spell lasts for as long as `budgetRefusedAt` matters. */
  isAtRest({ strikes }: Limits, now: number): boolean {
    return (
      this.queue.length === 0 &&
      this.spell === undefined &&
      this.waiting === undefined &&
      (this.strikes === 0 || now - this.strikesSince >= strikes.windowMs) &&
      this.messages.isFull(now) &&
      this.bytes.isFull(now) &&
      this.controlFrames.isFull(now)
    )
  }
}

export function inflowOf(connection: Connection): Inflow {
  connection.inflow ??= new Inflow(connection.settings.limits, connection.runtime.clock.now())
  return connection.inflow
}
