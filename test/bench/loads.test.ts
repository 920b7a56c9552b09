/** Every kind of load in its short form, on a bare echo and on this package: it runs, and it measures what it says. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { base, guarded } from './contestants.ts'
import { contestantsFromSources, type ShortBench, shortBench, skipUnlessLinux } from './for-tests.ts'
import { allLoads } from './loads/all.ts'
import { repeatUntil } from './rate.ts'

/** They differ from others only in numbers. */
const alike = ['echo-120-closed', 'echo-120-pipelined', 'echo-2k-closed', 'echo-2k-pipelined', 'fan-1', 'fan-8']
/** What crosses nodes has tests of its own. */
const loads = allLoads.filter(({ name }) => name !== 'publish' && !alike.includes(name))

describe('loads', { skip: skipUnlessLinux, timeout: 240_000 }, () => {
  let bench: ShortBench
  before(async () => {
    bench = await shortBench()
  })
  after(() => bench?.stop())

  for (const load of loads) {
    it(`${load.name}: both servers have a value for each metric`, async () => {
      bench.rounds.length = 0
      const runs = await load.measure(bench, await contestantsFromSources([base, guarded]))
      assert.deepEqual(
        runs.map(({ server, round }) => [server, round]),
        [
          [base, 0],
          [guarded, 0]
        ]
      )
      for (const { server, values } of runs) {
        for (const { key } of load.metrics) assert.ok(Number.isFinite(values[key]), `${server}: ${key} ${values[key]}`)
      }
      // The interval that the load sets is the server's: its own default is longer than the whole run.
      if (load.name === 'heartbeat')
        assert.deepEqual(
          runs.map(({ values }) => (values.pings as number) > 0),
          [false, true]
        )
      assert.deepEqual(bench.notes, [])
      assert.equal(bench.rounds.length, 1)
    })
  }
})

it('a server is warmed up once at least, until it has had enough, and not without end', async () => {
  const runsOf = async (count: number, received: number): Promise<number> => {
    let runs = 0
    await repeatUntil(count, 1, async () => {
      runs++
      return { received }
    })
    return runs
  }
  assert.deepEqual([await runsOf(0, 5), await runsOf(20_000, 6_000), await runsOf(20_000, 20_000)], [1, 4, 1])
  assert.equal(await runsOf(20_000, 0), 60)
})
