/** The ways in which code of a developer's can fail. One place of a server is armed with one of them at a time. */

/** What the errors say: it may be in the log, and nowhere else. */
export const secret = 'what no client may read'

/**
 * What a place makes of a failure: it `fails`, it never answers (`hangs`), it has answered `nothing`, or its client has
 * left before it fails (`left`). Where nobody waits for an answer, a promise is only a wrong one (`promise`).
 */
export type Effect = 'fails' | 'hangs' | 'nothing' | 'left'

export interface Failure {
  readonly effect: Effect
  /** Fails before it has returned anything. */
  readonly isSync: boolean
  readonly run: (later: Later) => unknown
}

/** Promises that a test settles. */
export interface Later {
  /** Rejects when the test says that the client has gone. */
  readonly rejected: () => Promise<never>
  /** Settles when all is over. */
  readonly never: () => Promise<void>
}

function look(): never {
  throw new Error(secret)
}

/** Throws whatever is done with it. */
const untouchable: object = new Proxy(
  {},
  {
    get: look,
    has: look,
    set: look,
    ownKeys: look,
    getPrototypeOf: look,
    getOwnPropertyDescriptor: look,
    defineProperty: look
  }
)

function failure(effect: Effect, isSync: boolean, run: Failure['run']): Failure {
  return { effect, isSync, run }
}

function thenable(then: (resolve: (value?: unknown) => void, reject: (error: unknown) => void) => void): object {
  return { then }
}

function throws(value: unknown): Failure {
  return failure('fails', true, () => {
    throw value
  })
}

function rejects(value: unknown): Failure {
  return failure('fails', false, () => Promise.reject(value))
}

export const failures: Readonly<Record<string, Failure>> = {
  'throws an Error': throws(new Error(secret)),
  'throws undefined': throws(undefined),
  'throws a Proxy that throws': throws(untouchable),
  'rejects with an Error': rejects(new Error(secret)),
  'rejects with a Proxy that throws': rejects(untouchable),
  'rejects later': failure('fails', false, async () => {
    await new Promise((resolve) => setTimeout(resolve, 5))
    throw new Error(secret)
  }),
  'returns what throws when asked for then': failure('fails', false, () =>
    Object.defineProperty({}, 'then', { get: look })
  ),
  'returns a thenable that resolves, rejects and throws': failure('nothing', false, () =>
    thenable((resolve, reject) => {
      resolve()
      reject(new Error(secret))
      look()
    })
  ),
  'returns nothing': failure('nothing', true, () => undefined),
  'never settles': failure('hangs', false, ({ never }) => never()),
  'rejects when its client has left': failure('left', false, ({ rejected }) => rejected())
}
