/** One attack on one server, with good clients beside it: what is measured, in order. */
import { setTimeout as delay } from 'node:timers/promises'
import { claims, signJwt } from '../support/tokens.ts'
import type { AttackReport } from './attackers/peer.ts'
import { Child } from './child.ts'
import type { PhaseReport } from './good-clients.ts'
import { origin, path, secret } from './servers/messages.ts'
import type { Holdings, LoopReport, Memory } from './servers/report.ts'

export type ServerName = 'guarded' | 'bare' | 'guide'

export const goodClients = 50
export const goodPerSecond = 10

/** A server that says nothing for so long has lost to its attacker. */
const answerMs = 8_000
/** Answers of the good clients' may be so late before they count as lost. */
const patienceMs = 3_000
/** What an attack leaves behind is waited for: the deadline of a close that is not answered, and some more. */
const leftMs = 7_000
const pollMs = 50
const firstWordsMs = 500
/** An attack that is not over by then will not be. */
const attackMs = 60_000

export interface Phase extends PhaseReport, LoopReport {}

/** What could be measured until the end, or until the server was gone. */
export interface Outcome {
  attacker?: AttackReport
  before?: Phase
  during?: Phase
  after?: Phase
  memoryBefore?: Memory
  /** With the attacker's sockets still open, and nothing left to send. */
  memoryHeld?: Memory
  memoryAfter?: Memory
  /** How many more of each thing there are than before the good clients had company; only what is not none. */
  left?: Readonly<Record<string, number>>
  /** Of all phases, and of the time between them. */
  lost: number
  /** Why there is no more. */
  failure?: string
}

export interface AttackPlan {
  readonly name: string
  readonly sockets: number
  /** Accounts and addresses of the attacker's own. */
  readonly accounts: number
  readonly addresses: number
  /** Whether it has got what it gets: the end of a socket may come later than that of an attack. */
  readonly isAnswered?: (report: AttackReport) => boolean
}

export interface Timing {
  /** Of the phases before and after. */
  readonly quietMs: number
  readonly seconds: number
  /** The attacker's process is busy before it attacks, so that what that costs on a small machine is no part of it. */
  readonly isBusyBefore?: boolean
}

export function tokenOf(sub: string): string {
  return signJwt(claims({ sub }), secret)
}

/** A server with its good clients. */
export class Bench {
  readonly #server: Child
  readonly #good: Child
  readonly #port: number
  /** With the good clients only. */
  readonly #atRest: Holdings
  #attacks = 0

  private constructor(server: Child, good: Child, port: number, atRest: Holdings) {
    this.#server = server
    this.#good = good
    this.#port = port
    this.#atRest = atRest
  }

  static async start(name: ServerName): Promise<Bench> {
    const [server, good] = await Promise.all([Child.start(`servers/${name}.ts`), Child.start('good-clients.ts')])
    const port = await server.ask<number>('port')
    const tokens = Array.from({ length: goodClients }, (_, at) => tokenOf(`good-${at}`))
    await good.ask('open', { target: { port, path, origin }, tokens, perSecond: goodPerSecond })
    // Each has said something by then, and whatever a server keeps of a client is there.
    await delay(firstWordsMs)
    return new Bench(server, good, port, await server.ask<Holdings>('holdings'))
  }

  async stop(): Promise<void> {
    await Promise.all([this.#good.kill(), this.#server.kill()])
  }

  /** @returns what was seen; after a `failure` the server is of no more use */
  async attack(attacker: Child, plan: AttackPlan, timing: Timing): Promise<Outcome> {
    const outcome: Outcome = { lost: 0 }
    try {
      await this.#attack(attacker, plan, timing, outcome)
    } catch (error) {
      outcome.failure = this.#server.ended ?? `no answer: ${(error as Error).message}`
      await attacker.ask('release')
    }
    return outcome
  }

  memory(): Promise<Memory> {
    return this.#server.ask<Memory>('memory', {}, answerMs)
  }

  async #attack(attacker: Child, plan: AttackPlan, timing: Timing, outcome: Outcome): Promise<void> {
    const { quietMs, seconds, isBusyBefore = false } = timing
    outcome.memoryBefore = await this.memory()
    await this.#turn(outcome)
    if (isBusyBefore) await attacker.ask('spin', { seconds: quietMs / 1_000 })
    else await delay(quietMs)
    outcome.before = await this.#turn(outcome)
    await attacker.ask('attack', this.#settings(plan, seconds), attackMs)
    outcome.attacker = await attacker.ask<AttackReport>('report')
    outcome.during = await this.#turn(outcome)
    await this.#untilAnswered(attacker, plan, outcome)
    outcome.memoryHeld = await this.memory()
    await attacker.ask('release')
    await this.#settle(outcome)
    outcome.memoryAfter = await this.memory()
    await this.#turn(outcome)
    await delay(quietMs)
    outcome.after = await this.#turn(outcome)
  }

  async #untilAnswered(attacker: Child, { isAnswered = () => true }: AttackPlan, outcome: Outcome): Promise<void> {
    const deadline = performance.now() + patienceMs
    while (!isAnswered(outcome.attacker as AttackReport) && performance.now() < deadline) {
      await delay(pollMs)
      outcome.attacker = await attacker.ask<AttackReport>('report')
    }
  }

  #settings({ name, sockets, accounts, addresses }: AttackPlan, seconds: number): object {
    const attack = ++this.#attacks
    const tokens = Array.from({ length: accounts }, (_, at) => tokenOf(`attacker-${attack}-${at}`))
    const from = Array.from({ length: addresses }, (_, at) => `127.1.${attack}.${at + 1}`)
    return { name, port: this.#port, path, origin, seconds, sockets, tokens, addresses: from }
  }

  async #turn(outcome: Outcome): Promise<Phase> {
    const [trips, loop] = await Promise.all([
      this.#good.ask<PhaseReport>('turn', { patienceMs }),
      this.#server.ask<LoopReport>('loop', {}, answerMs)
    ])
    outcome.lost += trips.lost
    return { ...trips, ...loop }
  }

  async #settle(outcome: Outcome): Promise<void> {
    const deadline = performance.now() + leftMs
    for (;;) {
      outcome.left = beyond(this.#atRest, await this.#server.ask<Holdings>('holdings', {}, answerMs))
      if (Object.keys(outcome.left).length === 0 || performance.now() > deadline) return
      await delay(pollMs)
    }
  }
}

/** Attempts are remembered for a minute by design, within a bound of their own: one entry for each address. */
const remembered: ReadonlySet<string> = new Set(['store.attempts', 'store.punished'])

function beyond(atRest: Holdings, now: Holdings): Record<string, number> {
  const flat = ({ stats, ...counts }: Holdings): Record<string, number> => ({ ...counts, ...stats })
  const before = flat(atRest)
  const grown = Object.entries(flat(now)).map(([name, size]) => [name, size - (before[name] ?? 0)] as const)
  return Object.fromEntries(grown.filter(([name, more]) => more !== 0 && !remembered.has(name)))
}
