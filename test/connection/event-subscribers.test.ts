/** What a subscriber can do to the guard: one that throws, and one that changes what it is given. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { injectWs } from '../../lib/testing.ts'
import { guarded } from '../handshake/harness.ts'
import { echo, tokenFor } from '../support/app.ts'
import type { LogLine } from '../support/log-capture.ts'

const program = fileURLToPath(new URL('throwing-subscriber.ts', import.meta.url))

function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', 'tsx', program, ...args], { timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stdout, stderr })
    })
  })
}

/** The lines about events, as a program wrote them. */
function eventLines(stdout: string): LogLine[] {
  const lines = stdout.split('\n').filter((line) => line.includes('"event"'))
  return lines.map((line) => JSON.parse(line))
}

test('P2: a subscriber that throws stops no connection, no line and no other subscriber', async () => {
  const { code, stdout } = await run('handled')
  assert.equal(code, 0)
  // The logger writes by itself: its last line may come behind ours.
  const own = stdout.split('\n').find((line) => line.includes('"served"'))
  assert.deepEqual(JSON.parse(own as string), { served: 'hello', heard: 3, uncaught: 3 })
  assert.deepEqual(
    eventLines(stdout)
      .map(({ event }) => event)
      .sort(),
    ['ws.close', 'ws.drain', 'ws.invalid', 'ws.open']
  )
})

test('P2: but Node ends a process that does not handle what a subscriber throws; the line is written before', async () => {
  const { code, stdout, stderr } = await run()
  assert.notEqual(code, 0)
  assert.match(stderr, /the subscriber failed/)
  assert.deepEqual(
    eventLines(stdout).map(({ event }) => event),
    ['ws.open']
  )
})

test('P2: what a subscriber does to a message is in no line, in no later message and not in the options', async (t) => {
  const { app, logs } = await guarded(t)
  app.wsRoute('/echo', { contract: echo, handlers: { say() {}, ask: () => ({ items: [] }) } })
  const spoil = (message: unknown): void => {
    const fields = message as Record<string, unknown>
    for (const [name, value] of Object.entries(fields)) {
      if (Array.isArray(value) && !Object.isFrozen(value)) value.length = 0
      fields[name] = 'spoilt'
    }
  }
  for (const event of ['ws.open', 'ws.refused', 'ws.invalid']) {
    subscribe(`fastify-ws-guard:${event}`, spoil)
    t.after(() => unsubscribe(`fastify-ws-guard:${event}`, spoil))
  }
  for (let count = 0; count < 2; count++) {
    assert.equal((await injectWs(app, '/echo', { origin: 'https://evil.example' })).statusCode, 403)
  }
  const ws = await injectWs(app, '/echo', { contract: echo, token: tokenFor(app) })
  ws.sendRaw('{"type":"say","text":5}')
  await ws.receive('error')
  assert.equal(ws.statusCode, 101)
  assert.equal(logs.text().includes('spoilt'), false)
  const expected = logs.filter('ws.refused').map((line) => line.expected)
  assert.deepEqual(expected, [['https://app.example.com'], ['https://app.example.com']])
  assert.deepEqual(logs.find('ws.invalid')?.paths, ['/text'])
})
