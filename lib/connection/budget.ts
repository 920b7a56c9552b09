import type { MaybePromise, Store } from '../limits/store.ts'
import type { Rate } from '../limits/token-bucket.ts'
import type { Connection } from './connection.ts'
import { inflowOf } from './inflow.ts'
import { isPromise } from './promises.ts'

/**
 * Takes the one token of a message from the budget that a user's connections share; an empty one gives nothing. A store
 * that is down, and has no other way, ends the connection: it never lets more through.
 */
export function takeUserToken(connection: Connection): MaybePromise<boolean> {
  // Asked for every message, and most routes have none.
  if (connection.settings.limits.userMessages === false) return true
  const answer = askStore(connection, (store, subject, rate) => store.takeUserBudget(subject, 1, rate))
  if (!isPromise(answer)) return answer === true
  return Promise.resolve(answer).then(
    (isTaken) => isTaken === true,
    () => false
  )
}

/** What a handler costs beyond the one token that every message costs (`handlers.x.cost`). */
export function chargeCost(connection: Connection, cost: number, now: number): void {
  if (cost <= 1) return
  inflowOf(connection).messages.charge(cost - 1, now)
  // Owed, not asked for: the token of the message may have been the last one.
  askStore(connection, (store, subject, rate) => store.chargeUserBudget(subject, cost - 1, rate))
}

function askStore(connection: Connection, ask: (store: Store, subject: string, rate: Rate) => unknown): unknown {
  const { userMessages } = connection.settings.limits
  const subject = connection.identity?.subject
  if (userMessages === false || subject === undefined) return true
  try {
    const answer = ask(connection.runtime.store, subject, userMessages)
    // A failure that nobody catches would end the process. Whoever says both yes and no has failed, so this asks by
    // itself.
    if (isPromise(answer)) answer.then(undefined, () => connection.end('unavailable'))
    return answer
  } catch {
    connection.end('unavailable')
    return false
  }
}
