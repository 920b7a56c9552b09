/** Rounds of the leak harness: every way to end as often as every other, many at a time, then a server that is full. */
import type { RawClient } from '../support/raw-client.ts'
import { within } from '../support/wait.ts'
import { Peer, type Ports } from './cycles-peer.ts'
import { maxTotal, maxWaiting } from './cycles-routes.ts'
import { type Way, ways } from './cycles-ways.ts'
import { type Counts, tally } from './leak-probe.ts'

/** Cycles at a time; each holds up to two connections, which is below what the server admits. */
const lanes = 32
/** Patience with one of them, on a machine that has other work. */
const cycleMs = 60_000
/** Clients that come when the server is full. */
const tooMany = 3

/** What a round did. */
export interface Round {
  readonly connections: number
  /** Of these, those that filled the server up. */
  readonly filling: number
  /** What the server has to have seen. */
  readonly expected: Counts
}

export class Rounds {
  readonly #ports: Ports
  readonly #settle: () => Promise<unknown>
  #number = 0

  /** @param settle resolves when the server has seen every client go */
  constructor(ports: Ports, settle: () => Promise<unknown>) {
    this.#ports = ports
    this.#settle = settle
  }

  /** Each way so many times, in turns, so that all of them happen side by side. */
  async run(times: number): Promise<Round> {
    const due = Array.from({ length: times }, () => ways).flat()
    let connections = 0
    const lane = async (): Promise<void> => {
      for (let way = due.pop(); way !== undefined; way = due.pop()) {
        const made = await this.#cycle(way)
        connections += made
      }
    }
    const runs = await Promise.allSettled(Array.from({ length: lanes }, lane))
    for (const run of runs) if (run.status === 'rejected') throw run.reason
    const filling = await this.#fill()
    const seen = Array.from({ length: times }, () => ways.flatMap((way) => way.seen)).flat()
    return { connections: connections + filling, filling, expected: tally([...seen, ...filled]) }
  }

  peer(): Peer {
    return new Peer(this.#ports, ++this.#number)
  }

  async #cycle({ name, run }: Way): Promise<number> {
    const peer = this.peer()
    try {
      await within(run(peer), { timeoutMs: cycleMs, what: 'a cycle' })
    } catch (error) {
      throw new Error(`"${name}": ${error instanceof Error ? error.message : error}`, { cause: error })
    } finally {
      peer.destroy()
    }
    return peer.count
  }

  /** As many as the server admits and some more, all gone at once; last those whose refusal has a timer of its own. */
  async #fill(): Promise<number> {
    const peers: Peer[] = []
    const each = <T>(count: number, does: (peer: Peer) => Promise<T>): Promise<T>[] =>
      Array.from({ length: count }, () => {
        const peer = this.peer()
        peers.push(peer)
        return does(peer)
      })
    await this.#settle()
    const crowd = await Promise.all(each(maxTotal, (peer) => peer.open('/ws')))
    await Promise.all(each(tooMany, (peer) => peer.refused('/ws', 503)))
    await Promise.all(crowd.map((client, at) => (at % 2 === 0 ? reset(client) : (peers[at] as Peer).leaves(client))))
    await this.#settle()
    const waiting = await Promise.all(each(maxWaiting, (peer) => peer.open('/late/few', { token: null })))
    await Promise.all(each(tooMany, (peer) => peer.refused('/late/few', 503, { token: null })))
    await Promise.all(waiting.map(reset))
    await Promise.all(each(tooMany, async (peer) => peer.closed(await peer.open('/close'), 4003)))
    return peers.reduce((sum, { count }) => sum + count, 0)
  }
}

async function reset(client: RawClient): Promise<void> {
  client.reset()
  await client.closed
}

/** What the server says of them. */
const filled: readonly string[] = [
  ...Array.from({ length: maxTotal + maxWaiting }, (_, at) =>
    at < maxTotal && at % 2 === 1 ? 'close client' : 'close lost'
  ),
  ...Array.from({ length: 2 * tooMany }, () => 'refused at_capacity'),
  ...Array.from({ length: tooMany }, () => 'refused forbidden')
]
