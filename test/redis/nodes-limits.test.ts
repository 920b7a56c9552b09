/** Limits of all nodes together, while clients race for what is left of them. */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Names } from '../../lib/redis/names.ts'
import type { Client } from './node-client.ts'
import { isFull, Nodes, soon } from './nodes.ts'

const perUser = 10
const perIp = 25
const attempts = 40
/** Handshakes at once, for each slot there is. */
const racersPerSlot = 6
const churnMs = isFull ? 20_000 : 2_000
/** As many come in at least, however slow the machine is. */
const churnAdmitted = 100
const churnMostMs = 40_000
/** Clients that come and go, for each slot there is. */
const churnersPerSlot = 3
const names = new Names('wsg:', 'wsg:')

/** All of them at once, to each node as many. @returns those who came in */
async function race(nodes: Nodes, count: number, subOf: (index: number) => string): Promise<Client[]> {
  const tries = Array.from({ length: count }, (_, index) => nodes.tryOpen(nodes.at(index), { sub: subOf(index) }))
  return (await Promise.all(tries)).filter((client) => client !== undefined)
}

/** What Redis has of a key, by node, in order of size. */
async function heldOf(nodes: Nodes, key: string): Promise<number[]> {
  const fields = (await nodes.redis.ask('HVALS', names.slots(key))) as string[]
  return fields.map(Number).sort((a, b) => a - b)
}

async function connectionsOf(nodes: Nodes): Promise<number[]> {
  const counts = await nodes.ask<number>('connections')
  return counts.filter((count) => count > 0).sort((a, b) => a - b)
}

async function noneHeld(nodes: Nodes): Promise<void> {
  const keys = await nodes.redis.keys()
  assert.deepEqual(
    keys.filter((key) => key.startsWith('wsg:s:')),
    []
  )
}

for (const count of [2, 4]) {
  test(`N1: of one user ${perUser} come in, racing on ${count} nodes`, async (t) => {
    const nodes = await Nodes.start(t, count, { limits: { connections: { perUser } } })
    for (let round = 0; round < 3; round++) {
      const admitted = await race(nodes, racersPerSlot * perUser, () => 'alice')
      assert.equal(admitted.length, perUser)
      await soon(async () => assert.deepEqual(await heldOf(nodes, 'user:alice'), await connectionsOf(nodes)))
      for (const client of admitted) client.close()
      await soon(() => noneHeld(nodes))
    }
  })

  test(`N1: of one address ${perIp} come in, racing on ${count} nodes`, async (t) => {
    const nodes = await Nodes.start(t, count, { limits: { connections: { perIp } } })
    const admitted = await race(nodes, racersPerSlot * perIp, (index) => `user-${index}`)
    assert.equal(admitted.length, perIp)
    await soon(async () => assert.deepEqual(await heldOf(nodes, 'ip:127.0.0.1'), await connectionsOf(nodes)))
    // Who was refused for the address holds nothing of a user.
    const keys = await nodes.redis.keys()
    assert.equal(keys.filter((key) => key.startsWith('wsg:s:')).length, 1 + perIp)
  })

  test(`N1: of ${attempts} attempts none is counted twice or not at all on ${count} nodes`, async (t) => {
    const nodes = await Nodes.start(t, count, { limits: { attempts: { max: attempts, timeWindow: 600_000 } } })
    const admitted = await race(nodes, 3 * attempts, (index) => `user-${index}`)
    assert.equal(admitted.length, attempts)
    assert.equal(await nodes.tryOpen(nodes.at(0), { sub: 'late' }), undefined)
  })

  test(`N1: clients that come and go on ${count} nodes are never more than ${perUser} of a user`, async (t) => {
    const nodes = await Nodes.start(t, count, { limits: { connections: { perUser } } })
    const churn = new Churn(nodes)
    await churn.run(churnMs)
    t.diagnostic(`${churn.admitted} came in, ${churn.refused} were refused, at most ${churn.most} at once`)
    assert.ok(churn.most <= perUser, `${churn.most} at once`)
    assert.ok(churn.admitted >= churnAdmitted, `${churn.admitted} came in`)
    assert.ok(churn.refused > 0, 'nobody was refused')
    await soon(async () => {
      assert.equal(
        (await connectionsOf(nodes)).reduce((sum, held) => sum + held, 0),
        churn.open.size
      )
      assert.deepEqual(await heldOf(nodes, 'user:alice'), await connectionsOf(nodes))
    })
    // No slot was lost on the way.
    const more = await race(nodes, racersPerSlot * perUser, () => 'alice')
    assert.equal(churn.open.size + more.length, perUser)
    for (const client of [...churn.open, ...more]) client.destroy()
    await soon(() => noneHeld(nodes))
  })
}

class Churn {
  readonly open: Set<Client> = new Set()
  /** Open at once, from the answer to the first byte of the end: the nodes count longer. */
  most = 0
  admitted = 0
  refused = 0
  readonly #nodes: Nodes

  constructor(nodes: Nodes) {
    this.#nodes = nodes
  }

  async run(ms: number): Promise<void> {
    const startedAt = performance.now()
    const isOver = (): boolean => {
      const passed = performance.now() - startedAt
      return passed > churnMostMs || (passed > ms && this.admitted >= churnAdmitted)
    }
    await Promise.all(Array.from({ length: churnersPerSlot * perUser }, () => this.#lane(isOver)))
  }

  async #lane(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const client = await this.#nodes.tryOpen(this.#nodes.at(randomInt(4)), { sub: 'alice' })
      if (client === undefined) {
        this.refused++
        await delay(randomInt(20))
        continue
      }
      this.admitted++
      this.open.add(client)
      this.most = Math.max(this.most, this.open.size)
      await delay(randomInt(60))
      if (isOver()) return
      this.open.delete(client)
      if (randomInt(2) === 0) client.close()
      else client.destroy()
    }
  }
}
