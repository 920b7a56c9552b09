import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { origin } from '../support/app.ts'
import { Target } from './harness.ts'

const floodMs = 2000
// Unfixed, a single flood made everybody wait for seconds.
const worstMs = 400

interface Flood {
  readonly guard: WsGuardOptions
  readonly headers: Readonly<Record<string, string>>
  /** Sent before the flood. */
  readonly first?: string
}

const floods: Readonly<Record<string, Flood>> = {
  'a bad first message': {
    guard: { auth: { from: ['message', 'header'] } },
    headers: { Origin: origin },
    first: '{"type":"auth","token":"none"}'
  },
  "a handshake refused with refuse: 'close'": {
    guard: { refuse: 'close' },
    headers: { Origin: 'https://evil.example' }
  }
}

const flooder = fileURLToPath(new URL('flooder.mjs', import.meta.url))

for (const [name, { guard, headers, first }] of Object.entries(floods)) {
  test(`R7: a flood of empty frames after ${name} does not delay a good client`, async (t) => {
    const open = { perSecond: 1_000_000, burst: 1_000_000 }
    const target = await Target.start(t, {
      guard: { ...guard, limits: { bytes: open, attempts: { max: 100_000 } } },
      declare: (app) => {
        app.wsRoute('/good', {
          handler: ({ socket }) => void socket.on('message', (data) => socket.send(String(data))),
          auth: { from: ['header'] },
          limits: { messages: { ...open, onExceeded: 'error' } }
        })
      }
    })
    const good = await target.open('/good')
    const attack = { port: target.port, path: '/echo', headers, first, floodMs, sockets: 12 }
    const child = spawn(process.execPath, [flooder, JSON.stringify(attack)], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.after(() => child.kill())
    const report = once(child.stdout.setEncoding('utf8'), 'data')
    const exited = once(child, 'exit').then(() => (isOver = true))
    let isOver = false
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const trips: number[] = []
    while (!isOver) {
      const startedAt = performance.now()
      await good.sendText('x')
      await good.nextFrame({ timeoutMs: 20_000 })
      trips.push(performance.now() - startedAt)
    }
    delay.disable()
    await exited
    const { megabytes } = JSON.parse(String((await report)[0])) as { megabytes: number }
    const tripMs = quantile(trips, 0.99)
    const delayMs = delay.percentile(99) / 1e6
    t.diagnostic(`${megabytes} MB; p99 of ${trips.length} trips ${tripMs.toFixed(1)} ms, loop ${delayMs.toFixed(1)} ms`)
    assert.ok(megabytes >= 1, `only ${megabytes} MB were sent`)
    assert.ok(tripMs < worstMs, `99 % of the round trips within ${tripMs} ms`)
    assert.ok(delayMs < worstMs, `99 % of the loop's delays within ${delayMs} ms`)
    assert.ok(Math.max(...trips) < floodMs / 2, `a round trip of ${Math.max(...trips)} ms`)
  })
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) * share)] as number
}
