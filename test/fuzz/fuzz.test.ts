/**
 * The short form of the campaigns, time-boxed: FUZZ_SECONDS is the time of all together, FUZZ_SEED repeats a run, and
 * with FUZZ_BATCH it begins where a failure was. The long form is `npm run fuzz`.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { numberOf, shareOf } from './campaign.ts'
import { campaigns } from './campaigns.ts'

const seconds = numberOf('FUZZ_SECONDS', 8)
/** The same cases each time: what nobody has changed must not fail. The long form draws its own. */
const seed = numberOf('FUZZ_SEED', 1)
const firstBatch = numberOf('FUZZ_BATCH', 0)

const titles: Readonly<Record<string, string>> = {
  frames:
    'M1, M2, M3, M9, M10, R4, R5, R6: frames of any kind are read as RFC 6455 says, and nothing after the first error',
  handshakes: 'H1, H4, H5, A1: no change of the bytes of a handshake gets a 101 that the request is not worth',
  contracts: 'M4, M5, M6, M8, O3: what Ajv admits comes through unchanged and nothing else does, in either direction',
  options: 'L4, R4: options that are right hold, others throw and say which',
  arguments: 'O4, M12: no argument of a public method and nothing thrown breaks more than its own call',
  origins: 'H2: an Origin is admitted when a browser may send it and the list has it, and only then',
  lives: 'L1, L2, O2, P5: whatever order things happen in, a connection opens and closes once, and nothing is left'
}

for (const campaign of campaigns) {
  test(titles[campaign.name] as string, async (t) => {
    t.diagnostic(`FUZZ_SEED=${seed}`)
    const outcome = await campaign.run({ seconds: shareOf(campaign, campaigns, seconds), seed, firstBatch })
    t.diagnostic(`${outcome.cases} cases in ${outcome.seconds.toFixed(1)} s`)
    assert.equal(outcome.failure, undefined, outcome.failure)
  })
}
