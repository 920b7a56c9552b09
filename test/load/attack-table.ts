/**
 * Every attack on three servers: the guarded one, the bare echo of @fastify/websocket, and what a guide puts together by
 * hand. Prints one Markdown table.
 *
 * npm run attack -- [--only 'message flood'] [--servers guarded,bare,guide] [--seconds 1] [--repeat 1]
 */
import { parseArgs } from 'node:util'
import { attackList } from './attack-list.ts'
import { allowanceOf, type BenchAttack, judge } from './attack-rules.ts'
import type { AttackReport } from './attackers/peer.ts'
import { Bench, type Outcome, type Phase, type ServerName } from './bench.ts'
import { Child } from './child.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    servers: { type: 'string', default: 'guarded,bare,guide' },
    seconds: { type: 'string', default: '1' },
    repeat: { type: 'string', default: '1' }
  }
})
const serverNames = values.servers.split(',') as ServerName[]
const seconds = Number(values.seconds)
const repeat = Number(values.repeat)
const quietMs = 500

const columns = [
  'attack',
  'server',
  'the attacker got',
  'MB/s sent',
  'p50 ms',
  'p99 ms',
  'max ms',
  'lost, cut off',
  'loop p99 ms',
  'CPU ms/s',
  'RSS MiB',
  'heap + external MiB',
  'allowed MiB',
  'left'
]

const mib = (bytes: number | undefined): string => (bytes === undefined ? '–' : String(Math.round(bytes / 1_048_576)))
const ms = (value: number | undefined): string =>
  value === undefined || Number.isNaN(value) ? '–' : value < 10 ? value.toFixed(1) : String(Math.round(value))

/** `1 / 2 / 3`: before, during and after. */
function three({ before, during, after }: Outcome, of: (phase: Phase) => number): string {
  return [before, during, after].map((phase) => ms(phase && of(phase))).join(' / ')
}

function counts(byName: Readonly<Record<string, number>>): string {
  return Object.entries(byName)
    .map(([name, count]) => `${name} ×${count}`)
    .join(', ')
}

function got({ statuses, closes, ended, answers }: AttackReport): string {
  const parts = [
    counts(statuses),
    Object.keys(closes).length > 0 && `closed ${counts(closes)}`,
    ended > 0 && `${ended} sockets ended`,
    answers > 0 && `${answers} answers`
  ]
  return parts.filter((part) => typeof part === 'string' && part !== '').join('; ') || 'nothing'
}

function row(attack: BenchAttack, server: ServerName, outcome: Outcome): string {
  const { attacker, before, during, after, memoryBefore, memoryHeld, memoryAfter, left, lost, failure } = outcome
  const cutOff = (after ?? during ?? before)?.cutOff ?? 0
  const cells = [
    attack.name,
    server,
    failure ?? (attacker === undefined ? '–' : got(attacker)),
    attacker === undefined ? '–' : (attacker.sentBytes / 1e6 / seconds).toFixed(1),
    three(outcome, ({ p50 }) => p50),
    three(outcome, ({ p99 }) => p99),
    three(outcome, ({ max }) => max),
    `${lost}, ${cutOff}`,
    three(outcome, ({ loopP99Ms }) => loopP99Ms),
    during === undefined ? '–' : String(Math.round(during.cpuMs / (during.wallMs / 1_000))),
    [memoryBefore?.rss, during?.peakRss, memoryAfter?.rss].map(mib).join(' / '),
    [memoryBefore, memoryHeld, memoryAfter].map((memory) => mib(memory?.bytes)).join(' / '),
    server === 'guarded' ? `+${mib(allowanceOf(attack))}` : '–',
    left === undefined ? '–' : counts(left) || '0'
  ]
  return `| ${cells.map((cell) => cell.replace(/\s+/g, ' ').replaceAll('|', '\\|')).join(' | ')} |`
}

/** A server that has died, does not answer or has something left is not attacked again: a new one takes its place. */
const benches = new Map<ServerName, Bench>()

async function attackOnce(attacker: Child, attack: BenchAttack, server: ServerName): Promise<Outcome> {
  const bench = benches.get(server) ?? (await Bench.start(server))
  benches.set(server, bench)
  const isAnswered = (report: AttackReport): boolean => server !== 'guarded' || judge(attack, report).length === 0
  const outcome = await bench.attack(attacker, { ...attack, isAnswered }, { quietMs, seconds })
  const isAsBefore = outcome.failure === undefined && Object.keys(outcome.left ?? {}).length === 0
  if (!isAsBefore || (outcome.after?.cutOff ?? 0) > 0) {
    benches.delete(server)
    await bench.stop()
  }
  return outcome
}

const chosen = attackList.filter(({ name }) => values.only === undefined || values.only.includes(name))
const attacker = await Child.start('attackers/attacker.ts')
process.stdout.write(`| ${columns.join(' | ')} |\n|${' --- |'.repeat(columns.length)}\n`)
for (const attack of chosen) {
  for (const server of serverNames) {
    for (let at = 0; at < repeat; at++) {
      process.stdout.write(`${row(attack, server, await attackOnce(attacker, attack, server))}\n`)
    }
  }
}
await Promise.all([...benches.values(), { stop: () => attacker.kill() }].map((one) => one.stop()))
