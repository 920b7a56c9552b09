/**
 * Faults put in on purpose, one at a time: a check that is gone, a bound that is off, a release that was forgotten. Each
 * has to be noticed by the tests named beside it. `run.ts` tries them.
 */
import { cleanUpMutants } from './clean-up.ts'
import { handshakeMutants } from './handshake.ts'
import { inputMutants } from './input.ts'
import { limitMutants } from './limits.ts'
import { messageMutants } from './messages.ts'
import { nodeMutants } from './nodes.ts'

export interface Mutant {
  /** What the fault is, after the row it breaks. */
  readonly name: string
  /** Under lib/. */
  readonly file: string
  /** Stands exactly once in the file. */
  readonly find: string
  readonly replace: string
  /** Under test/: these tests notice it, and so does the whole suite. */
  readonly killedBy: readonly string[]
  /** The campaign of test/fuzz/ that finds it alone. */
  readonly fuzzedBy?: string
}

export const mutants: readonly Mutant[] = [
  ...handshakeMutants,
  ...inputMutants,
  ...messageMutants,
  ...limitMutants,
  ...cleanUpMutants,
  ...nodeMutants
]
