import { errorCodes } from '../errors.ts'
import type { MaybePromise } from '../limits/store.ts'
import { parseJson, readRef } from '../messages/decode.ts'
import { encodeErrorMessage } from '../messages/encode.ts'
import { takeUserToken } from './budget.ts'
import { type Connection, pausedBy } from './connection.ts'
import { accept, isServed, strike } from './dispatch.ts'
import { inflowOf } from './inflow.ts'
import { write } from './outbound.ts'
import { copyOf, type Frame, type Spell, type Waiting } from './parts.ts'
import { isPromise } from './promises.ts'

/** Answers of a spell name at most so many dropped messages. */
export const maxRefs = 64
/** More than so many bursts dropped in one spell is an attack, not a client in a hurry. */
export const maxDroppedBursts = 10
// What a kept frame costs beside its bytes: an empty one is not free.
const frameOverheadBytes = 64
/** While the queue is half full, kept frames are looked at again after this time. */
const queuePollMs = 50
/** A timer cannot be set further ahead (2 ** 31 - 1 ms); when it fires early, it is set again. */
const maxTimerMs = 2_147_483_647

/**
 * Charges a frame before anything looks at it (threats R3, R7). When a bucket runs empty, reading is paused until
 * there is a token: TCP pushes back, and nobody else feels it. What ws had read by then goes by `onExceeded`.
 * @returns true when the frame is to be processed now
 */
export function admit(connection: Connection, frame: Frame, now: number): boolean {
  const { waiting, spell } = inflowOf(connection)
  if (waiting !== undefined) {
    waitBehind(connection, waiting, frame)
    return false
  }
  const isBehindOthers = spell !== undefined && spell.delayed.length > 0
  const isTaken = !isBehindOthers && takeTokens(connection, frame, now)
  if (isTaken === true) return true
  if (isPromise(isTaken)) {
    waitForStore(connection, isTaken, frame, (later) => exceed(connection, startSpell(connection, later), frame, later))
  } else if (connection.state === 'open') {
    exceed(connection, startSpell(connection, now), frame, now)
  }
  return false
}

/**
 * While the store is asked for the user's budget, nothing is read: this frame and what ws had read behind it wait. A raw
 * route's listeners have seen it already: there it only has to be paid for.
 */
function waitForStore(
  connection: Connection,
  answer: Promise<boolean>,
  frame: Frame,
  refuse: (now: number) => void
): void {
  const { clock } = connection.runtime
  const { handlerTimeoutMs } = connection.settings
  const waiting: Waiting = { frames: [], bytes: 0, deadline: clock.now() + handlerTimeoutMs }
  inflowOf(connection).waiting = waiting
  connection.pause(pausedBy.budget)
  const kept = copyOf(frame)
  void answer.then((isTaken) => {
    if (!isServed(connection)) return
    inflowOf(connection).waiting = undefined
    const now = clock.now()
    if (isTaken) serve(connection, kept, now)
    else refuse(now)
    for (const later of waiting.frames) {
      if (isServed(connection) && admit(connection, later, now)) serve(connection, later, now)
    }
    if (inflowOf(connection).waiting === undefined) connection.resume(pausedBy.budget)
  })
}

/** A frame that the buckets let through, and the pause when it took the last token. */
export function serve(connection: Connection, frame: Frame, now: number): void {
  accept(connection, frame, now)
  pauseWhenEmpty(connection, now)
}

/** Bounded as what is delayed is. */
function waitBehind(connection: Connection, waiting: Waiting, frame: Frame): void {
  waiting.frames.push(copyOf(frame))
  waiting.bytes += frame.bytes + frameOverheadBytes
  if (waiting.bytes > connection.settings.limits.bytes.burst) endFlood(connection)
}

/** After a message, and what its handler costs, was charged. */
function pauseWhenEmpty(connection: Connection, now: number): void {
  if (connection.state === 'open' && !hasTokens(connection, now)) startSpell(connection, now)
}

function hasTokens(connection: Connection, now: number): boolean {
  const { messages, bytes } = inflowOf(connection)
  return messages.available(now) >= 1 && bytes.available(now) >= 1
}

/** The connection's own tokens are asked for first: a message that they refuse costs the user's budget nothing. */
function takeTokens(connection: Connection, { bytes }: Frame, now: number): MaybePromise<boolean> {
  if (!hasTokens(connection, now)) return false
  const isTaken = takeUserToken(connection)
  if (!isPromise(isTaken)) return payTokens(connection, isTaken, bytes, now)
  return isTaken.then((isTakenLate) => payTokens(connection, isTakenLate, bytes, connection.runtime.clock.now()))
}

function payTokens(connection: Connection, isTaken: boolean, bytes: number, now: number): boolean {
  const inflow = inflowOf(connection)
  if (isTaken) {
    inflow.messages.charge(1, now)
    inflow.bytes.charge(bytes, now)
  } else {
    inflow.budgetRefusedAt = now
  }
  return isTaken
}

function startSpell(connection: Connection, now: number): Spell {
  const inflow = inflowOf(connection)
  inflow.spell ??= { dropped: 0, refs: [], delayed: [], delayedBytes: 0, timer: undefined }
  if (!connection.isPausedBy(pausedBy.limit)) {
    // The timer, if there is one, waits for a full bucket; now a single token is waited for.
    clearTimeout(inflow.spell.timer)
    connection.pause(pausedBy.limit)
    schedule(connection, inflow.spell, now)
  }
  return inflow.spell
}

/** One timer per connection in a spell: until there is a token while paused, until the bucket is full afterwards. */
function schedule(connection: Connection, spell: Spell, now: number): void {
  const isPaused = connection.isPausedBy(pausedBy.limit)
  const waitMs = Math.max(
    isPaused ? msUntilToken(connection, now) : msUntilFull(connection, now),
    isPaused && connection.isPausedBy(pausedBy.queue) ? queuePollMs : 0
  )
  spell.timer = setTimeout(() => onTimer(connection, spell), Math.min(Math.ceil(waitMs) + 1, maxTimerMs))
}

function msUntilToken(connection: Connection, now: number): number {
  const { messages, bytes } = inflowOf(connection)
  return Math.max(messages.msUntil(1, now), bytes.msUntil(1, now), msUntilBudget(connection, 1, now))
}

function msUntilFull(connection: Connection, now: number): number {
  const { messages, bytes } = inflowOf(connection)
  const { limits } = connection.settings
  const budget = limits.userMessages === false ? 0 : limits.userMessages.burst
  return Math.max(
    messages.msUntil(limits.messages.burst, now),
    bytes.msUntil(limits.bytes.burst, now),
    msUntilBudget(connection, budget, now)
  )
}

/** The budget a user's connections share does not say when it refills: reckoned from when it was found empty. */
function msUntilBudget(connection: Connection, tokens: number, now: number): number {
  const { userMessages } = connection.settings.limits
  const { budgetRefusedAt } = inflowOf(connection)
  if (userMessages === false || budgetRefusedAt === undefined) return 0
  return budgetRefusedAt + (1000 * tokens) / userMessages.perSecond - now
}

function onTimer(connection: Connection, spell: Spell): void {
  const now = connection.runtime.clock.now()
  serveDelayed(connection, spell, now)
  if (connection.state !== 'open') return
  if (spell.delayed.length === 0 && msUntilToken(connection, now) <= 0) {
    connection.resume(pausedBy.limit)
    if (msUntilFull(connection, now) <= 0) return endSpell(connection, spell)
  }
  schedule(connection, spell, now)
}

/** Kept frames go on as tokens come, as long as the serial handlers keep up. */
function serveDelayed(connection: Connection, spell: Spell, now: number): void {
  while (isServed(connection) && !connection.isPausedBy(pausedBy.queue)) {
    const inflow = inflowOf(connection)
    const frame = spell.delayed[0]
    const isTaken = frame !== undefined && inflow.waiting === undefined && takeTokens(connection, frame, now)
    if (frame === undefined || isTaken === false) return
    spell.delayed.shift()
    spell.delayedBytes -= frame.bytes + frameOverheadBytes
    if (isPromise(isTaken)) {
      // Back to its place: it was the first.
      return waitForStore(connection, isTaken, frame, (later) => {
        const current = startSpell(connection, later)
        current.delayed.unshift(frame)
        current.delayedBytes += frame.bytes + frameOverheadBytes
      })
    }
    accept(connection, frame, now)
  }
}

/** Two answers for a spell, however many messages were dropped: this one when it starts, `endSpell`'s when it ends. */
function exceed(connection: Connection, spell: Spell, frame: Frame, now: number): void {
  const { limits, contract } = connection.settings
  if (contract === undefined) return exceedRaw(connection, frame, now)
  if (limits.messages.onExceeded === 'close') return endFlood(connection)
  if (limits.messages.onExceeded === 'delay') return delay(connection, spell, frame)
  connection.dropped++
  if (++spell.dropped > maxDroppedBursts * limits.messages.burst) return endFlood(connection)
  const ref = spell.dropped <= maxRefs + 1 ? refOf(connection, frame) : undefined
  if (spell.dropped > 1) {
    if (ref !== undefined) spell.refs.push(ref)
    return
  }
  connection.report('ws.rate_limited', { reason: 'dropped' })
  if (strike(connection, 'rate_limited', now)) return
  const retryAfterMs = Math.max(Math.ceil(msUntilToken(connection, now)), 1)
  write(connection, encodeErrorMessage({ code: 'rate_limited', message: errorCodes.rate_limited, ref, retryAfterMs }))
}

/**
 * The listeners of a raw route see what ws had already read; it is charged as a debt, so that the pause gets longer
 * and the rate holds over time. Too much of it closes.
 */
function exceedRaw(connection: Connection, frame: Frame, now: number): void {
  const { burst, onExceeded } = connection.settings.limits.messages
  const { messages, bytes } = inflowOf(connection)
  messages.charge(1, now)
  bytes.charge(frame.bytes, now)
  if (onExceeded === 'close' || messages.available(now) < -maxDroppedBursts * burst) endFlood(connection)
}

function delay(connection: Connection, spell: Spell, frame: Frame): void {
  if (frame.isBinary) return connection.end('binary')
  spell.delayed.push(copyOf(frame))
  spell.delayedBytes += frame.bytes + frameOverheadBytes
  if (spell.delayedBytes > connection.settings.limits.bytes.burst) endFlood(connection)
}

/** 1008: more than any client in a hurry sends. */
export function endFlood(connection: Connection): void {
  connection.report('ws.rate_limited', { reason: 'closed' })
  connection.end('rate_limited')
}

/** The same where ws has left no way to send a code. */
export function endDrowned(connection: Connection): void {
  connection.report('ws.rate_limited', { reason: 'closed' })
  connection.endUnanswered('rate_limited', 1006)
}

function endSpell(connection: Connection, spell: Spell): void {
  inflowOf(connection).spell = undefined
  if (spell.dropped < 2) return
  const { refs, dropped } = spell
  const answer = { code: 'rate_limited', message: errorCodes.rate_limited, dropped: dropped - 1, refs }
  write(connection, encodeErrorMessage(answer))
}

function refOf(connection: Connection, frame: Frame): string | number | undefined {
  if (frame.isBinary) return undefined
  return readRef(parseJson(frame.data.toString(), connection.settings.limits.json))
}
