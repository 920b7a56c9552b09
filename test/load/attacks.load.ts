/**
 * Every attack on one guarded server, one after the other, with 50 good clients beside it. What each sends and may cost
 * is in attack-list.ts; `npm run attack` prints the numbers, beside those of two servers without a guard.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { attackList } from './attack-list.ts'
import { allowanceOf, type BenchAttack, judge, leftoverBytes } from './attack-rules.ts'
import type { AttackReport } from './attackers/peer.ts'
import { Bench, type Outcome, type Phase, type Timing } from './bench.ts'
import { Child } from './child.ts'
import type { Memory } from './servers/report.ts'
import { maxStolenShare, watchStolen } from './stolen.ts'

const isFull = process.env.LOAD === 'full'
const timing: Timing = isFull ? { quietMs: 1_000, seconds: 2 } : { quietMs: 300, seconds: 0.5 }
/** A latency on a busy machine is measured again before it is believed. */
const tries = 3
/** With those that do not count, because the machine was taken away meanwhile. */
const maxTries = isFull ? 12 : 4
/**
 * Of the good clients, or twice what it was before. The short form runs on machines that have other work to do; it
 * tells those apart who wait for seconds.
 */
const fineMs = isFull ? 20 : 200
/** What is left over after all attacks together: more is compiled, and in more tables, than after one. */
const allLeftoverBytes = 3 * leftoverBytes
const heaviest: readonly string[] = isFull
  ? ['message flood', 'slow reader of lists', 'unfinished messages', 'oversize']
  : ['message flood']
const repeats = 3
/** The short form has those that have hurt a server without a guard, or were found to hurt this one. */
const short: readonly string[] = [
  ...['message flood', 'empty frames', 'ping flood'],
  ...['slow reader of lists', 'oversize', 'RST at every stage']
]
const chosen = attackList.filter(({ name }) => isFull || short.includes(name))
const isAnswered = (attack: BenchAttack) => (report: AttackReport) => judge(attack, report).length === 0
/** The allocator gives memory back when it likes: a leak of one attack would be more than this. */
const rssSlackBytes = 12_582_912

let bench: Bench
let attacker: Child
let atFirst: Memory

before(async () => {
  ;[bench, attacker] = await Promise.all([Bench.start('guarded'), Child.start('attackers/attacker.ts')])
  atFirst = await bench.memory()
})

after(() => Promise.all([bench?.stop(), attacker?.kill()]))

const limitOf = (quiet: Phase, { workMs = 0 }: BenchAttack): number => Math.max(2 * quiet.p99, fineMs + workMs)
const mib = (bytes: number): string => (bytes / 1_048_576).toFixed(1)

function checkKept(attack: BenchAttack, outcome: Outcome): void {
  const { memoryBefore, memoryHeld, memoryAfter, left, lost } = outcome as Required<Outcome>
  assert.equal(outcome.failure, undefined)
  assert.deepEqual(judge(attack, (outcome as Required<Outcome>).attacker), [])
  assert.equal(lost, 0, 'messages of the good clients were lost')
  assert.deepEqual(left, {}, 'sockets, timers or entries were left')
  const held = memoryHeld.bytes - memoryBefore.bytes
  assert.ok(held <= allowanceOf(attack), `${mib(held)} MiB held, ${mib(allowanceOf(attack))} MiB allowed`)
  const stayed = memoryAfter.bytes - memoryBefore.bytes
  assert.ok(stayed <= leftoverBytes, `${mib(stayed)} MiB stayed`)
}

for (const attack of chosen) {
  test(`${attack.threats}: ${attack.name} (${attack.does}) costs the others nothing`, async (t) => {
    const seen: string[] = []
    let isFine = false
    const stolenShare = watchStolen()
    for (let at = 0, ours = 0; ours < tries && at < maxTries && !isFine; at++) {
      stolenShare()
      const outcome = await bench.attack(
        attacker,
        { ...attack, isAnswered: isAnswered(attack) },
        { ...timing, isBusyBefore: at > 0 }
      )
      checkKept(attack, outcome)
      const { before: quiet, during } = outcome as Required<Outcome>
      const stolen = stolenShare()
      if (stolen <= maxStolenShare) ours++
      const percent = Math.round(100 * stolen)
      seen.push(`${quiet.p99.toFixed(1)} ms before, ${during.p99.toFixed(1)} ms during, ${percent} % of the CPU stolen`)
      isFine = during.p99 <= limitOf(quiet, attack)
    }
    t.diagnostic(`p99 ${seen.join('; ')}`)
    assert.ok(isFine, `p99 of the good clients: ${seen.join('; ')}`)
  })
}

test('L1, R7: the heaviest attacks, three times each, leave no more behind the third time than the second', async (t) => {
  for (const attack of attackList.filter(({ name }) => heaviest.includes(name))) {
    const rss: number[] = []
    for (let at = 0; at < repeats; at++) {
      const outcome = await bench.attack(attacker, { ...attack, isAnswered: isAnswered(attack) }, timing)
      checkKept(attack, outcome)
      rss.push((outcome as Required<Outcome>).memoryAfter.rss)
    }
    const [, second, third] = rss as [number, number, number]
    t.diagnostic(`${attack.name}: RSS ${rss.map(mib).join(', ')} MiB`)
    assert.ok(third - second <= rssSlackBytes, `RSS after ${attack.name}: ${rss.map(mib).join(', ')} MiB`)
  }
})

test('L1: after all attacks the server holds what it held before the first', async (t) => {
  const { bytes, rss } = await bench.memory()
  t.diagnostic(`${mib(atFirst.bytes)} → ${mib(bytes)} MiB, RSS ${mib(atFirst.rss)} → ${mib(rss)} MiB`)
  assert.ok(bytes - atFirst.bytes <= allLeftoverBytes, `${mib(bytes - atFirst.bytes)} MiB more than before`)
})
