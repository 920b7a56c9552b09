/** Subscribers on several nodes, in a process of their own: what they heard, what they missed, and when they had it all. */
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { answer } from '../load/answer.ts'
import { Client } from './node-client.ts'

export interface Heard {
  /** Of each subscriber. */
  readonly received: readonly number[]
  readonly lost: number
  /** Came twice, or behind a later one of the same publisher. */
  readonly disordered: number
  readonly closed: number
}

const pollMs = 5
const patienceMs = 100_000

class Subscriber {
  received = 0
  lost = 0
  disordered = 0
  bytes = 0
  /** The last number, by topic and publisher. */
  readonly #last = new Map<string, number>()
  client!: Client
  #onReply: () => void = () => {}

  static async open(port: number, sub: string, topics: readonly string[]): Promise<Subscriber> {
    const made = new Subscriber()
    made.client = await Client.open(port, { sub, onMessage: (message) => made.#hear(message) })
    for (const topic of topics) {
      const replied = new Promise<void>((resolve) => {
        made.#onReply = resolve
      })
      made.client.send({ type: 'join', topic, ref: 1 })
      await replied
    }
    return made
  }

  get socket(): Socket {
    return this.client.socket
  }

  /** From now on only bytes are counted: what measures must not be what is slow. */
  countBytes(): void {
    this.socket.removeAllListeners('data')
    this.socket.on('data', (chunk) => {
      this.bytes += chunk.length
    })
  }

  #hear({ type, topic, from, n }: Record<string, unknown>): void {
    if (type === 'reply') return this.#onReply()
    const key = `${topic} ${from}`
    const last = this.#last.get(key) ?? 0
    this.received++
    if ((n as number) <= last) this.disordered++
    else {
      this.lost += (n as number) - last - 1
      this.#last.set(key, n as number)
    }
  }
}

let healthy: Subscriber[] = []
let silent: Subscriber[] = []

interface Opening {
  readonly ports: readonly number[]
  readonly count: number
  readonly topics: readonly string[]
}

/** So many on each port. */
async function openAll({ ports, count, topics }: Opening): Promise<Subscriber[]> {
  const made: Subscriber[] = []
  for (let index = 0; index < count; index++) {
    made.push(...(await Promise.all(ports.map((port) => Subscriber.open(port, `${port}-${index}`, topics)))))
  }
  return made
}

function report(some: readonly Subscriber[]): Heard {
  const sum = (of: (subscriber: Subscriber) => number): number => some.reduce((all, one) => all + of(one), 0)
  return {
    received: some.map(({ received }) => received),
    lost: sum(({ lost }) => lost),
    disordered: sum(({ disordered }) => disordered),
    closed: some.filter(({ client }) => client.isClosed).length
  }
}

async function untilAll(isThere: (subscriber: Subscriber) => boolean, ms: number = patienceMs): Promise<void> {
  const deadline = performance.now() + ms
  while (!healthy.every(isThere) && performance.now() < deadline) await delay(pollMs)
}

answer({
  open: async (opening: Opening) => void healthy.push(...(await openAll(opening))),
  /** Who subscribes, and reads no more. */
  openSilent: async (opening: Opening) => {
    silent = await openAll(opening)
    for (const { socket } of silent) socket.pause()
  },
  countBytes: () => {
    for (const subscriber of healthy) subscriber.countBytes()
  },
  untilHeard: ({ each, ms }: { each: number; ms?: number }) => untilAll(({ received }) => received >= each, ms),
  untilBytes: ({ each }: { each: number }) => untilAll(({ bytes }) => bytes >= each),
  bytes: () => healthy.map(({ bytes }) => bytes),
  healthy: () => report(healthy),
  silent: () => report(silent),
  leave: () => {
    for (const { client } of [...healthy, ...silent]) client.destroy()
    healthy = []
    silent = []
  }
})
