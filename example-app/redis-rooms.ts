/**
 * The rooms when there are several nodes. Redis holds, for each room and with a TTL each,
 *   chat:<room>:lines   list: the last lines, newest first
 *   chat:<room>:number  what ids of lines and versions of the presence are taken from; they increase over all nodes
 *   chat:<room>:people  sorted set: `<node> <name>`, by the time until which that node has vouched for that person
 * A node vouches for its people again and again; those of a node that died are gone `vouchMs` later.
 */
import { randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import { historyLimit, type Line, rooms } from './contract.ts'
import { Headcount, type Presence, presenceOf, type Room, type Rooms } from './rooms.ts'

const keepMs = 24 * 60 * 60 * 1000
/** The clocks of the nodes must agree much better than this. */
const vouchMs = 6_000
const renewMs = 2_000

export class RedisRooms extends Map<string, RedisRoom> implements Rooms {
  #timer: NodeJS.Timeout | undefined

  constructor(redis: Redis) {
    const node = randomUUID()
    super(rooms.map(({ id }) => [id, new RedisRoom(redis, node, `chat:${id}`)]))
  }

  watch(changed: (id: string) => Promise<void>): void {
    const renew = async (id: string, room: RedisRoom) => (await room.renew()) && changed(id)
    this.#timer = setInterval(() => {
      for (const [id, room] of this) renew(id, room).catch(() => {}) // Redis is away; the next one makes up for it
    }, renewMs)
  }

  close(): void {
    clearInterval(this.#timer)
  }
}

class RedisRoom implements Room {
  readonly #redis: Redis
  readonly #node: string
  readonly #key: string
  /** Of this node. */
  readonly #people = new Headcount()

  constructor(redis: Redis, node: string, key: string) {
    this.#redis = redis
    this.#node = node
    this.#key = key
  }

  async say(from: string, text: string): Promise<Line> {
    const [, id] = await run(this.#numbered())
    const line = { id: Number(id), from, text, at: Date.now() }
    const lines = `${this.#key}:lines`
    const push = this.#redis.multi().lpush(lines, JSON.stringify(line))
    await run(push.ltrim(lines, 0, historyLimit - 1).pexpire(lines, keepMs))
    return line
  }

  async last(limit: number): Promise<Line[]> {
    const texts = await this.#redis.lrange(`${this.#key}:lines`, 0, limit - 1)
    // Two nodes may push in another order than they took their ids.
    return texts.map((text): Line => JSON.parse(text)).sort((a, b) => a.id - b.id)
  }

  async enter(name: string): Promise<void> {
    this.#people.enter(name)
    await run(this.#vouch([name]))
  }

  async leave(name: string): Promise<void> {
    if (this.#people.leave(name)) await this.#redis.zrem(`${this.#key}:people`, `${this.#node} ${name}`)
  }

  /** One transaction: a higher version is never an older state. */
  async presence(): Promise<Presence> {
    const [, version, members] = await run(
      this.#numbered().zrange(`${this.#key}:people`, Date.now(), '+inf', 'BYSCORE')
    )
    const names = (members as string[]).map((member) => member.slice(this.#node.length + 1))
    return presenceOf(Number(version), [...new Set(names)])
  }

  /** @returns whether somebody has gone, or is back after Redis had forgotten them */
  async renew(): Promise<boolean> {
    const [gone, back] = await run(this.#vouch(this.#people.names()))
    return Number(gone) + Number(back ?? 0) > 0
  }

  #vouch(names: string[]): Transaction {
    const people = `${this.#key}:people`
    const drop = this.#redis.multi().zremrangebyscore(people, '-inf', Date.now())
    if (names.length === 0) return drop
    const until = Date.now() + vouchMs
    return drop.zadd(people, ...names.flatMap((name) => [until, `${this.#node} ${name}`])).pexpire(people, vouchMs)
  }

  /** Begins where the clock is: above all that was given out before Redis forgot it. */
  #numbered(): Transaction {
    const number = `${this.#key}:number`
    return this.#redis.multi().set(number, Date.now(), 'PX', keepMs, 'NX').incr(number)
  }
}

type Transaction = ReturnType<Redis['multi']>

async function run(transaction: Transaction): Promise<unknown[]> {
  const answers = (await transaction.exec()) ?? []
  return answers.map(([error, answer]) => {
    if (error) throw error
    return answer
  })
}
