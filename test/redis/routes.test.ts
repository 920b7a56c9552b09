/** The tests of routes that ask the store, as they stand, over Redis: a name space for each app. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { suite, test } from 'node:test'
import { skipWithout } from '../proxies/processes.ts'
import { redisPortVariable } from '../support/default-store.ts'
import { RedisServer } from '../support/redis.ts'

const files = [
  'connection/credential-life',
  'handshake/accept',
  'handshake/admission',
  'handshake/attempts',
  'handshake/brute-force',
  'handshake/refuse',
  'handshake/slots-return',
  'handshake/tickets',
  'route/revocation',
  'route/ws-guard'
]
/** Fewer: they did not run. */
const leastTests = 100
const timeoutMs = 300_000

suite('routes on Redis', { skip: skipWithout('redis-server') }, () => {
  test('N1, N2: whatever a route promises on the store in memory it keeps on Redis', {
    timeout: timeoutMs
  }, async (t) => {
    const server = await RedisServer.startFor(t)
    const { code, output } = await runTests(t.signal, String(server.port))
    // The spec reporter ends with those that failed, and why.
    const [, failures] = output.split('✖ failing tests:')
    if (failures !== undefined) assert.fail(failures)
    assert.equal(code, 0, output)
    const passed = Number(/^ℹ pass (\d+)$/m.exec(output)?.[1])
    assert.ok(passed >= leastTests, `${passed} tests ran`)
    const keys = await server.keys()
    assert.ok(keys.length > 0, 'nothing of it was on Redis')
  })
})

/** In one process: to start one for each file takes longer than their tests. */
async function runTests(signal: AbortSignal, port: string): Promise<{ code: number; output: string }> {
  const imports = files.map((file) => `import ${JSON.stringify(new URL(`../${file}.test.ts`, import.meta.url).href)}`)
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env
  const options = ['--import', 'tsx', '--test-reporter=spec', '--input-type=module', '--eval', imports.join('\n')]
  const child = spawn(process.execPath, options, {
    env: { ...environment, [redisPortVariable]: port },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
    killSignal: 'SIGKILL'
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const [code] = await once(child, 'close')
  return { code, output }
}
