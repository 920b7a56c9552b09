/** What it costs the others when one user is thrown out. */
import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { Connection } from '../../lib/connection/connection.ts'
import { Registry } from '../../lib/connection/registry.ts'
import type { WsGuard } from '../../lib/route/ws-guard.ts'
import { buildApp, echo, origin } from '../support/app.ts'
import { eventually } from '../support/wait.ts'
import { Holder } from './holder.ts'

const few = 100
const many = 10_000
/** Of each user who is thrown out. */
const perUser = 3
/** As many rounds as there are users to throw out at each size. */
const rounds = 5
const sampled = 200

interface Touched {
  isCounting: boolean
  readonly ids: Set<string>
}

/** Notes who is looked at: every kick goes by `identity`, `state` or `settings`. */
function watch(connection: Connection, touched: Touched): void {
  for (const name of ['identity', 'state', 'settings'] as const) {
    let value: unknown = connection[name]
    Object.defineProperty(connection, name, {
      get: () => {
        if (touched.isCounting) touched.ids.add(connection.id)
        return value
      },
      set: (next: unknown) => {
        value = next
      }
    })
  }
}

interface Server {
  readonly app: FastifyInstance
  readonly touched: Touched
  /** Connection ids by `sub`. */
  readonly ids: Map<string, string[]>
}

/** A token is `sub:sid`; whoever has one is in. */
async function start(): Promise<Server> {
  const touched: Touched = { isCounting: false, ids: new Set() }
  const ids = new Map<string, string[]>()
  const app = await buildApp({
    jwt: false,
    guard: {
      limits: { attempts: { max: 1_000_000 }, connections: { total: 20_000, perIp: 20_000 } },
      maxLifetimeMs: false
    }
  })
  app.wsRoute('/ws', {
    contract: echo,
    auth: { verify: (token) => ({ sub: token.split(':')[0] as string, sid: token, iat: 1 }) },
    handlers: { say() {}, ask: () => ({ items: [] }) },
    onOpen: (connection) => {
      ids.set(connection.user.sub, [...(ids.get(connection.user.sub) ?? []), connection.id])
      watch(connection as unknown as Connection, touched)
    }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { app, touched, ids }
}

interface Cost {
  readonly closed: number
  readonly cpuMicros: number
}

/** The CPU time of a kick, and who was looked at until it was done: with the store in memory no timer runs meanwhile. */
async function measure(touched: Touched, kick: () => Promise<number>): Promise<Cost> {
  touched.ids.clear()
  touched.isCounting = true
  const before = process.cpuUsage()
  const closed = await kick()
  const { user, system } = process.cpuUsage(before)
  touched.isCounting = false
  return { closed, cpuMicros: user + system }
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] as number

test('Z4, R2: revoke, block and disconnect of one of 10,000 connections look at nobody else', {
  timeout: 120_000
}, async (t) => {
  const { app, touched, ids } = await start()
  const { port } = app.server.address() as AddressInfo
  const holder = Holder.start(t, { port, path: '/ws', origin })
  t.after(() => app.close())
  const tokens: string[] = []
  const open = async (more: readonly string[]): Promise<void> => {
    tokens.push(...more)
    await holder.open(more, 60_000)
  }
  const victims = (size: string): string[] => Array.from({ length: rounds }, (_, at) => `${size}-${at}`)
  const withSids = (sub: string): string[] => [`${sub}:phone`, `${sub}:phone`, `${sub}:desk`]
  const crowd = (count: number): string[] => Array.from({ length: count }, (_, at) => `user-${tokens.length + at}:s`)

  /** Kicks, and holds the result against what was to be kicked. */
  const check = async (who: readonly string[], kick: (guard: WsGuard) => Promise<number>): Promise<number> => {
    const meant = [...tokens.keys()].filter(
      (index) => who.includes(tokens[index] as string) && !holder.closed.has(index)
    )
    const before = holder.closed.size
    const { closed, cpuMicros } = await measure(touched, () => kick(app.wsGuard))
    assert.equal(closed, meant.length)
    const users = new Set(who.map((token) => token.split(':')[0] as string))
    const own = new Set([...users].flatMap((sub) => ids.get(sub) ?? []))
    assert.ok(touched.ids.size >= meant.length, 'the kicked ones are looked at')
    for (const id of touched.ids) assert.ok(own.has(id), `${touched.ids.size} were looked at, not only ${who}`)
    await eventually(() => {
      assert.equal(holder.closed.size, before + meant.length)
      for (const index of meant) assert.equal(holder.closed.get(index), '4003 revoked')
    })
    return cpuMicros
  }
  const revokeAll = async (size: string): Promise<number> => {
    const costs: number[] = []
    for (const sub of victims(size)) costs.push(await check(withSids(sub), (guard) => guard.revoke({ sub })))
    return median(costs)
  }

  await open([...victims('few').flatMap(withSids), ...crowd(few - rounds * perUser)])
  const atFew = await revokeAll('few')

  const startedAt = performance.now()
  const named = ['alice', 'bob', 'carol', ...victims('many')].flatMap(withSids)
  const left = few - rounds * perUser
  await open([...named, ...crowd(many - left - named.length)])
  await eventually(() => assert.equal(app.wsGuard.connections, many))
  t.diagnostic(`${many} connections in ${Math.round(performance.now() - startedAt)} ms`)

  const atMany = await revokeAll('many')
  t.diagnostic(`CPU of revoke({ sub }): ${atFew} µs with ${few} open, ${atMany} µs with ${many} open`)
  // A scan of all would be a hundred times the work; a median of five is still noisy on a busy machine.
  assert.ok(atMany < 20 * Math.max(atFew, 500), `${atMany} µs`)

  await check(['alice:phone', 'alice:phone'], (guard) => guard.disconnect({ sid: 'alice:phone' }))
  await check(['alice:desk'], (guard) => guard.revoke({ sub: 'alice' }))
  await check(withSids('bob'), (guard) => guard.block({ sub: 'bob' }, { untilMs: Date.now() + 60_000 }))
  await check(['carol:phone', 'carol:phone'], (guard) => guard.revoke({ sid: 'carol:phone' }))
  await check(['carol:desk'], (guard) => guard.disconnect({ sub: 'carol', sid: 'carol:desk' }))

  // Nobody else was closed, and they still answer.
  const others = [...tokens.keys()].filter((index) => !holder.closed.has(index))
  assert.equal(others.length, many - (rounds + 3) * perUser)
  await eventually(() => assert.equal(app.wsGuard.connections, others.length), { timeoutMs: 10_000 })
  const step = Math.floor(others.length / sampled)
  await holder.ask(Array.from({ length: sampled }, (_, at) => others[at * step] as number))
})

test('Z4: an index finds its connections without going through the others', () => {
  const registry = new Registry()
  const touched: unknown[] = []
  for (let at = 0; at < 1_000; at++) {
    const sub = at < perUser ? 'alice' : `user-${at}`
    const fields = {
      id: `id-${at}`,
      ip: `10.0.0.${at}`,
      position: -1,
      settings: { path: '/ws' },
      identity: { subject: sub, sessionId: `sid-${sub}`, tokenId: `jti-${sub}` }
    }
    const noted = new Proxy(fields, {
      get: (target, name) => {
        touched.push(target)
        return Reflect.get(target, name)
      }
    })
    registry.add(noted as unknown as Connection)
  }
  /** Nothing may go through a whole table: neither by these, nor by a loop. */
  const iterators = ['entries', 'keys', 'values', 'forEach', Symbol.iterator] as const
  const originals = iterators.map((name) => Map.prototype[name])
  let scans = 0
  for (const name of iterators) {
    Object.defineProperty(Map.prototype, name, { value: () => ++scans && [], writable: true, configurable: true })
  }
  try {
    for (const query of [{ sub: 'alice' }, { sid: 'sid-alice' }, { jti: 'jti-alice' }]) {
      touched.length = 0
      assert.equal(registry.find(query).length, perUser)
      assert.equal(new Set(touched).size, perUser)
    }
    for (const query of [{ id: 'id-7' }, { ip: '10.0.0.7' }, { sub: 'user-7', ip: '10.0.0.7', route: '/ws' }]) {
      touched.length = 0
      assert.equal(registry.find(query).length, 1)
      assert.equal(new Set(touched).size, 1)
    }
  } finally {
    for (const [at, name] of iterators.entries()) {
      Object.defineProperty(Map.prototype, name, { value: originals[at], writable: true, configurable: true })
    }
  }
  assert.equal(scans, 0)
})
