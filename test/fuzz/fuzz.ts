/**
 * The long form: `npm run fuzz -- --seconds 600 [--only name] [--seed n] [--batch n]`. Prints what each campaign did,
 * and what the process holds before and after.
 */
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { gc } from '../support/gc.ts'
import { type Outcome, shareOf } from './campaign.ts'
import { campaigns } from './campaigns.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    only: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    batch: { type: 'string', default: '0' }
  }
})

/** A campaign is run in so many rounds, so that what grows from round to round is seen. */
const rounds = 4

/** What V8 keeps of compiled code, and rounding; a leak of 100 bytes a case would pass it in ten minutes. */
const mayGrowMiB = 16

interface Held {
  readonly heapMiB: number
  readonly resources: Readonly<Record<string, number>>
}

async function held(): Promise<Held> {
  // A handle is let go of a turn or two after its 'close'.
  await setTimeout(100)
  gc()
  gc()
  const resources: Record<string, number> = {}
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1
  return { heapMiB: Math.round((process.memoryUsage().heapUsed / 2 ** 20) * 10) / 10, resources }
}

function print({ name, cases, seconds, seed, failure }: Outcome): void {
  const verdict = failure === undefined ? 'none' : `\n${failure}`
  console.log(
    `${name.padEnd(14)} ${String(cases).padStart(9)} cases ${seconds.toFixed(1).padStart(7)} s  seed ${seed}  failures: ${verdict}`
  )
}

const chosen = campaigns.filter(({ name }) => values.only === undefined || name === values.only)
if (chosen.length === 0) throw new Error(`--only: one of ${campaigns.map(({ name }) => name).join(', ')}`)
let failures = 0
const before = await held()
console.log('before', JSON.stringify(before))
let first: Held | undefined
for (let round = 0; round < rounds && failures === 0; round++) {
  for (const campaign of chosen) {
    const seconds = shareOf(campaign, chosen, Number(values.seconds) / rounds)
    const outcome = await campaign.run({ seconds, seed: Number(values.seed) + round, firstBatch: Number(values.batch) })
    print(outcome)
    if (outcome.failure !== undefined) failures++
  }
  const after = await held()
  console.log(`after round ${round + 1}`, JSON.stringify(after))
  // The first round loads and compiles what the others use again.
  first ??= after
  const grown = after.heapMiB - first.heapMiB
  const isMore = Object.entries(after.resources).some(([name, count]) => count > (before.resources[name] ?? 0))
  if (grown <= mayGrowMiB && !isMore) continue
  console.log(`left behind: ${grown.toFixed(1)} MiB more than after the first round, or more resources than before`)
  failures++
}
process.exitCode = failures > 0 ? 1 : 0
