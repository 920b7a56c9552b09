/** Behind a proxy that is trusted the address of a client is whatever the proxy passes on. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { AttemptsStore } from '../../lib/limits/store.ts'
import { recordChannels } from '../support/canary.ts'
import { until } from '../support/wait.ts'
import { Target } from './harness.ts'

const longestAddress = 64

/** A store that notes the keys it is asked about. */
function notingStore(keys: string[]): MemoryStore {
  const store = new MemoryStore()
  class Attempts implements AttemptsStore {
    incr(key: string, callback: Parameters<AttemptsStore['incr']>[1], ttl: number): void {
      keys.push(key)
      callback(null, { current: 1, ttl })
    }
    child = (): AttemptsStore => this
  }
  const acquireSlot = (key: string, max: number): boolean => {
    keys.push(key.replace(/^ip:/, ''))
    return MemoryStore.prototype.acquireSlot.call(store, key, max)
  }
  return Object.defineProperties(store, { Attempts: { value: Attempts }, acquireSlot: { value: acquireSlot } })
}

for (const [name, claimed] of Object.entries({
  letters: 'x'.repeat(8_000),
  'colons, as of IPv6': 'a:'.repeat(4_000),
  'an address and more': `203.0.113.9${' '.repeat(10)}${'9'.repeat(8_000)}`,
  'a zone': `fe80::1%${'z'.repeat(8_000)}`
})) {
  test(`T4: what a trusted proxy passes on for an address is kept short: ${name}`, async (t) => {
    const published = recordChannels(t)
    const [ips, keys]: [string[], string[]] = [[], []]
    const target = await Target.start(t, {
      server: { trustProxy: '127.0.0.1' },
      guard: { store: notingStore(keys) },
      route: { onOpen: ({ ip }) => void ips.push(ip) }
    })
    const forwarded = { 'X-Forwarded-For': claimed }
    assert.equal(await target.knock('/echo', { ...target.headers('alice'), ...forwarded }), 101)
    assert.equal(await target.knock('/echo', { Origin: 'https://evil.example', ...forwarded }), 403)
    assert.equal(await target.knock('/nope', forwarded), 404)
    target.hangUp()
    await until(() => target.logs.filter('ws.close').length === 1)
    const events = [...published, ...target.logs.lines.filter(({ event }) => event !== undefined)] as { ip?: string }[]
    const kept = [...keys, ...ips, ...events.flatMap(({ ip }) => ip ?? [])]
    assert.equal(ips.length, 1)
    assert.ok(events.some(({ ip }) => ip !== undefined) && keys.length >= 4)
    assert.deepEqual(
      kept.filter((value) => value.length > longestAddress),
      []
    )
  })
}
