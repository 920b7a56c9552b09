/**
 * A campaign is a list of properties that share one ground (an app, a client beside it) and are checked in batches until
 * the time is over. Every batch has a seed of its own, made from the campaign's seed and the batch's number: the same
 * seed gives the same cases in the same order, however many of them a machine gets through.
 */
import fc from 'fast-check'

export interface Budget {
  /** No batch begins after this time; each property gets at least one. */
  readonly seconds: number
  readonly seed: number
  /** The batch to begin with, to get to a failure at once. Default 0. */
  readonly firstBatch?: number
}

export interface Outcome {
  readonly name: string
  readonly cases: number
  readonly seconds: number
  readonly seed: number
  /** What failed, with the shrunk case and how to run it again. */
  readonly failure: string | undefined
}

export interface Campaign {
  readonly name: string
  /** Its share of the time of all campaigns. */
  readonly weight: number
  readonly run: (budget: Budget) => Promise<Outcome>
}

export interface Part {
  readonly what: string
  /** Cases of a batch: a fraction of a second's worth. */
  readonly cases: number
  readonly property: fc.IRawProperty<unknown>
}

export interface Ground {
  readonly parts: readonly Part[]
  /** Takes everything down; rejects when something is left. */
  readonly end?: () => Promise<void>
}

/** A failure is made smaller for so long. */
const shrinkMs = 10_000

/** `fc.property` and `fc.asyncProperty` as a part. */
export function part(what: string, cases: number, property: unknown): Part {
  return { what, cases, property: property as fc.IRawProperty<unknown> }
}

export function campaign(name: string, weight: number, setUp: () => Promise<Ground>): Campaign {
  return { name, weight, run: (budget) => run(name, setUp, budget) }
}

async function run(name: string, setUp: () => Promise<Ground>, budget: Budget): Promise<Outcome> {
  const { seconds, seed, firstBatch = 0 } = budget
  const startedAt = performance.now()
  const strays = watchStrays()
  let cases = 0
  let failure: string | undefined
  try {
    const { parts, end } = await setUp()
    const isTime = (batch: number): boolean =>
      batch < firstBatch + parts.length || performance.now() - startedAt < seconds * 1000
    for (let batch = firstBatch; failure === undefined && isTime(batch); batch++) {
      const { what, property, cases: numRuns } = parts[batch % parts.length] as Part
      const details = await fc.check(shrinkingInTime(property), {
        seed: seedOf(seed, batch),
        numRuns,
        includeErrorInReport: true
      })
      cases += details.numRuns
      const report = details.failed ? fc.defaultReportMessage(details) : strays.take()
      if (report) failure = `${name}, ${what}: FUZZ_SEED=${seed} FUZZ_BATCH=${batch}\n${report}`
    }
    await end?.().catch((error: unknown) => (failure ??= `${name}, at the end: FUZZ_SEED=${seed}\n${String(error)}`))
    failure ??= strays.take()
  } finally {
    strays.stop()
  }
  return { name, cases, seconds: (performance.now() - startedAt) / 1000, seed, failure }
}

/**
 * When the time for it is over, no smaller case fails any more. fast-check's own limit would also stop a batch that is
 * slow but right, in the middle of a case.
 */
function shrinkingInTime(property: fc.IRawProperty<unknown>): fc.IRawProperty<unknown> {
  let endsAt = Number.POSITIVE_INFINITY
  const note = <R>(result: R): R => {
    if (result !== null) endsAt = Math.min(endsAt, performance.now() + shrinkMs)
    return result
  }
  const bounded = Object.create(property) as fc.IRawProperty<unknown>
  bounded.run = (value) => {
    if (performance.now() > endsAt) return null
    const result = property.run(value)
    return result instanceof Promise ? result.then(note) : note(result)
  }
  return bounded
}

/** fast-check takes 32 bits; neighbours are far apart. */
function seedOf(seed: number, batch: number): number {
  return (seed + Math.imul(batch, 0x9e3779b1)) | 0
}

interface Strays {
  readonly take: () => string | undefined
  readonly stop: () => void
}

/** What nobody caught would have ended the process. */
function watchStrays(): Strays {
  const found: string[] = []
  const note =
    (kind: string) =>
    (error: unknown): void =>
      void found.push(`${kind}: ${error instanceof Error ? error.stack : String(error)}`)
  const onException = note('uncaught exception')
  const onRejection = note('unhandled rejection')
  process.on('uncaughtException', onException)
  process.on('unhandledRejection', onRejection)
  return {
    take: () => (found.length === 0 ? undefined : found.splice(0).join('\n')),
    stop: () => {
      process.off('uncaughtException', onException)
      process.off('unhandledRejection', onRejection)
    }
  }
}

/** A number of the environment, or another one. */
export function numberOf(name: string, fallback: number): number {
  const value = Number(process.env[name] ?? fallback)
  if (!Number.isFinite(value)) throw new Error(`${name} must be a number`)
  return value
}

/** The time of one campaign, of the time of all. */
export function shareOf({ weight }: Campaign, all: readonly Campaign[], seconds: number): number {
  return (seconds * weight) / all.reduce((sum, other) => sum + other.weight, 0)
}
