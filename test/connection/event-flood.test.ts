/** Floods over real sockets: what they may write to the log, and how many series they may make of a metric. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { goodHeaders, guarded, listen, rawClient } from '../handshake/harness.ts'
import { echo } from '../support/app.ts'
import type { HandshakeOptions } from '../support/http-message.ts'
import type { LogCapture, LogLine } from '../support/log-capture.ts'
import { connect } from '../support/raw-client.ts'
import { eventually } from '../support/wait.ts'
import { only, recordEvents, seriesOf } from './event-recorder.ts'

const timeoutMs = 30_000
const forged = '\\n{"level":60,"event":"ws.open"}'
const linesPerSecond = 10

interface Flooded {
  readonly app: FastifyInstance
  readonly logs: LogCapture
  readonly port: number
}

/** Routes that let this machine knock as often as it likes. */
async function start(t: TestContext): Promise<Flooded> {
  const limits = { attempts: { max: 100_000 }, connections: { perIp: 10_000 } }
  const { app, logs } = await guarded(t, {
    guard: { limits, logSamplePerSecond: linesPerSecond, closeTimeoutMs: 500 }
  })
  const handlers = { say() {}, ask: () => ({ items: [] }) }
  app.wsRoute('/echo', { contract: echo, handlers })
  app.wsRoute('/open/:room', { contract: echo, handlers, auth: false })
  app.wsRoute('/told', {
    contract: echo,
    handlers: { ...handlers, say: ({ text }, connection) => connection.close(4000, text) },
    auth: false
  })
  return { app, logs, port: await listen(app) }
}

/** Runs `act` so many times, 50 at a time. */
async function many(count: number, act: (at: number) => Promise<void>): Promise<void> {
  for (let from = 0; from < count; from += 50) {
    await Promise.all(Array.from({ length: Math.min(50, count - from) }, (_, at) => act(from + at)))
  }
}

/** One handshake on a socket of its own. @returns its status */
async function knock(port: number, handshake: HandshakeOptions): Promise<number> {
  await using client = await connect(port)
  return (await client.handshake({ ...handshake, timeoutMs })).statusCode
}

test('P3: a thousand refused handshakes are ten lines a second; the channel has them all, the lines add up', async (t) => {
  const { logs, port } = await start(t)
  const seen = recordEvents(t)
  const evil = { path: '/echo', headers: { Origin: 'https://evil.example' } }
  const startedAt = performance.now()
  await many(1_000, async () => assert.equal(await knock(port, evil), 403))
  const seconds = 1 + Math.floor((performance.now() - startedAt) / 1_000)
  const { length: lines } = eventLines(logs)
  assert.ok(lines <= linesPerSecond * seconds, `${lines} lines in ${seconds} s`)
  assert.equal(only(seen, 'ws.refused').length, 1_000)

  // What the last second left out is said by the next line.
  await setTimeout(1_000)
  await knock(port, evil)
  const counted = logs.filter('ws.refused').map(({ suppressed }) => 1 + Number(suppressed ?? 0))
  assert.equal(
    counted.reduce((sum, count) => sum + count, 0),
    1_001
  )
})

/** Those of Fastify's own about requests are the app's to switch off. */
function eventLines(logs: LogCapture): LogLine[] {
  return logs.lines.filter(({ event }) => event !== undefined)
}

/** A log line inside each thing that a stranger chooses. */
const attempts: readonly HandshakeOptions[] = [
  { path: `/echo${encodeURIComponent(forged)}`, headers: goodHeaders() },
  { path: '/nowhere%0a%0d{"level":60}', headers: goodHeaders() },
  { path: '/echo?x=%0a{"level":60}', headers: goodHeaders() },
  { path: '/echo', headers: { Origin: `https://a\u0085\u009f\t${forged}` } },
  { path: '/echo', headers: { Origin: `https://a${'\u0085'.repeat(500)}` } },
  { path: '/echo', rawHeaders: ['Origin: https://a\n{"level":60,"event":"ws.open"}'] },
  { path: '/echo', rawHeaders: ['Origin: https://a\r{"level":60,"event":"ws.open"}'] },
  { path: '/echo', headers: { ...goodHeaders(), 'Sec-WebSocket-Protocol': forged } },
  { path: '/echo', headers: { ...goodHeaders(), 'Sec-WebSocket-Protocol': 'a\u0085, {"level":60}' } },
  { path: '/echo', headers: goodHeaders(forged) },
  { path: '/echo', headers: { ...goodHeaders(), 'X-Request-Id': forged, 'User-Agent': forged } }
]

test('P3: what a stranger chooses forges no line, and puts no control character into one', async (t) => {
  const { app, logs, port } = await start(t)
  const seen = recordEvents(t)
  for (const attempt of attempts) assert.notEqual(await knock(port, attempt), 101)
  for (const path of ['/open/a', '/open/%0a%7b%22level%22:60%7d']) {
    const client = await rawClient(t, port)
    assert.equal((await client.handshake({ path, headers: goodHeaders(), timeoutMs })).statusCode, 101)
    await client.sendJson({ type: 'say', text: 'a', '\n{"level":60}\u2028\u0085': 1 })
    await client.sendClose(4_999, '\n{"level":60,"event":"canary-of-the-peer"}')
    await client.serverEnd({ timeoutMs })
    client.destroy()
  }
  await eventually(() => assert.equal(app.wsGuard.connections, 0), { timeoutMs })
  const lines = eventLines(logs)
  assert.ok(lines.length >= attempts.length)
  // Every line is JSON: the capture parses them. Each is one that was meant, and says what its message says.
  assert.equal(lines.length, seen.length)
  assert.deepEqual(
    logs.lines.filter(({ level }) => level >= 60),
    []
  )
  for (const text of lines.flatMap((line) => Object.values(line).flat())) {
    if (typeof text !== 'string') continue
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    assert.doesNotMatch(text, /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
    assert.ok(text.length <= 256)
  }
  assert.equal(logs.text().includes('canary-of-the-peer'), false)
})

test("P3: a close reason that repeats a peer's words is one line, whatever they are", async (t) => {
  const { logs, port } = await start(t)
  const client = await rawClient(t, port)
  assert.equal((await client.handshake({ path: '/told', headers: goodHeaders(), timeoutMs })).statusCode, 101)
  const text = '\n{"level":60}\n'
  await client.sendJson({ type: 'say', text })
  await client.serverEnd({ timeoutMs }).finally(() => client.destroy())
  await eventually(() => assert.equal(logs.find('ws.close')?.reason, text), { timeoutMs })
  assert.deepEqual(
    eventLines(logs).map(({ event }) => event),
    ['ws.open', 'ws.close']
  )
  assert.ok(logs.lines.every(({ level }) => level < 60))
})

test('P4: 2 000 connections that their clients close, each in its own words, are a few series', async (t) => {
  const { app, port } = await start(t)
  const seen = recordEvents(t)
  await many(2_000, async (at) => {
    await using client = await connect(port)
    const handshake = { path: `/open/${at}`, headers: goodHeaders() }
    assert.equal((await client.handshake({ ...handshake, timeoutMs })).statusCode, 101)
    await client.sendClose(3_000 + at, `my reason ${at}`)
    await client.nextFrame({ opcode: 8, timeoutMs })
  })
  await eventually(() => assert.equal(app.wsGuard.connections, 0), { timeoutMs })
  const closes = only(seen, 'ws.close')
  assert.equal(closes.length, 2_000)
  assert.deepEqual([...seriesOf(closes)], ['ws.close /open/:room client'])
  assert.equal(new Set(closes.map(({ code }) => code)).size, 2_000, 'by code they would be as many as there are codes')
  assert.deepEqual([...new Set(closes.map(({ reason }) => reason))], [''])
  assert.ok(seriesOf(seen).size <= 20)
})

test('P4: 2 000 refusals of other paths, origins, tokens and protocols each are a few series', async (t) => {
  const { port } = await start(t)
  const seen = recordEvents(t)
  const kinds: ReadonlyArray<(at: number) => HandshakeOptions> = [
    (at) => ({ path: `/path-${at}`, headers: goodHeaders() }),
    (at) => ({ path: '/echo', headers: { Origin: `https://${at}.example` } }),
    (at) => ({ path: `/echo?${at}`, headers: goodHeaders(`token-${at}`) }),
    (at) => ({ path: `/open/${at}`, headers: { ...goodHeaders(), 'Sec-WebSocket-Protocol': `protocol-${at}` } }),
    (at) => ({ path: `/echo#${at}`, headers: goodHeaders() })
  ]
  await many(2_000, async (at) => {
    const handshake = kinds[at % kinds.length]?.(at)
    assert.ok((await knock(port, handshake as HandshakeOptions)) >= 400)
  })
  assert.equal(only(seen, 'ws.refused').length, 2_000)
  assert.equal(only(seen, 'ws.auth_failed').length, 400)
  const series = seriesOf(seen)
  assert.ok(series.size <= 20, [...series].join('\n'))
  assert.ok(series.size >= kinds.length, 'and they are told apart')
})
