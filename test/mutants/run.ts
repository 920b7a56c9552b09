/**
 * Puts every fault into a copy of the project, one at a time, and says which tests notice it: `npm run mutants`, with
 * `-- --only <part of a name>` for some of them and `-- --fuzz` for fuzzing alone.
 */
import { parseArgs } from 'node:util'
import { type Mutant, mutants } from './mutants.ts'
import { type Outcome, Workbench } from './workbench.ts'

const workers = 2
const fuzzSeconds = 15
/** All the tests together, on a slow machine. */
const unharmedWithinMs = 1_200_000

const { values } = parseArgs({ options: { only: { type: 'string', default: '' }, fuzz: { type: 'boolean' } } })
const isFuzzed = values.fuzz === true
const chosen = mutants.filter(
  ({ name, fuzzedBy }) => name.includes(values.only) && (!isFuzzed || fuzzedBy !== undefined)
)

const outcomes = new Map<Mutant, Outcome>()
const benches = Array.from({ length: workers }, () => new Workbench())
try {
  await checkUnharmed(benches[0] as Workbench)
  const waiting = [...chosen]
  await Promise.all(
    benches.map(async (bench) => {
      for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
        const outcome = await bench.try(
          mutant,
          isFuzzed ? () => bench.fuzz(String(mutant.fuzzedBy), fuzzSeconds) : undefined
        )
        outcomes.set(mutant, outcome)
        const by =
          outcome.result === 'survived' ? (isFuzzed ? mutant.fuzzedBy : mutant.killedBy.join(', ')) : outcome.failed[0]
        console.log(
          `${outcome.result.padEnd(8)} ${outcome.seconds.toFixed(1).padStart(6)} s  ${mutant.name}\n    ${by}`
        )
      }
    })
  )
} finally {
  for (const bench of benches) bench.remove()
}
const alive = [...outcomes].filter(([, { result }]) => result !== 'killed')
console.log(`${outcomes.size} faults, ${outcomes.size - alive.length} noticed, ${alive.length} not`)
process.exitCode = alive.length === 0 ? 0 : 1

/** Tests that fail anyway notice nothing. */
async function checkUnharmed(bench: Workbench): Promise<void> {
  if (isFuzzed) return
  const patterns = [...new Set(chosen.flatMap(({ killedBy }) => killedBy))]
  const { result, failed } = await bench.run(patterns, unharmedWithinMs)
  if (result !== 'survived') throw new Error(`these tests fail without a fault: ${failed.join('; ')}`)
}
