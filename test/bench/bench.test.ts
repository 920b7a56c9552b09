/** Each mode of the load generator on real servers of the benchmark: what it counts is what they have counted. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { signJwt } from '../support/tokens.ts'
import { eventually } from '../support/wait.ts'
import { skipUnlessLinux, sourcesEnv } from './for-tests.ts'
import { compile, echo, fan, flood, hold, pace, shake } from './generator.ts'
import { ServerProcess } from './server-process.ts'

interface Messages {
  readonly secret: string
  readonly origin: string
  readonly messageOf: (bytes: number) => object
  readonly claimsOf: (user: number) => object
}

interface Counts {
  readonly handshakes: number
  readonly messages: number
}

const seconds = 0.1
const conns = 8
const window = 4
const patience = { timeoutMs: 10_000, everyMs: 20 }

/** What a server has seen of it. */
async function during<T>(server: ServerProcess, load: () => Promise<T>): Promise<{ result: T; seen: Counts }> {
  const from = await server.ask<Counts>('counts')
  const result = await load()
  const to = await server.ask<Counts>('counts')
  return { result, seen: { handshakes: to.handshakes - from.handshakes, messages: to.messages - from.messages } }
}

describe('the load generator', { skip: skipUnlessLinux, timeout: 120_000 }, () => {
  const servers = new Map<string, ServerProcess>()
  let folder: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ws-guard-bench-test-'))
    const env = await sourcesEnv()
    await Promise.all([compile(), writeInputs(), start('c', {}), start('guarded', env)])
  })
  after(async () => {
    await Promise.all([...servers.values()].map((server) => server.stop()))
    await rm(folder, { recursive: true, force: true })
  })

  async function writeInputs(): Promise<void> {
    const url = new URL('servers/messages.mjs', import.meta.url).href
    const { secret, origin, messageOf, claimsOf } = (await import(url)) as Messages
    const tokens = Array.from({ length: conns }, (_, user) => signJwt(JSON.stringify(claimsOf(user)), secret))
    const headers = (from: string): string => `Origin: ${from}\r\nAuthorization: Bearer %TOKEN%\r\n`
    const files: Record<string, string> = {
      headers: headers(origin),
      'wrong-headers': headers('https://evil.example'),
      tokens: tokens.join('\n'),
      'wrong-tokens': signJwt(JSON.stringify(claimsOf(0)), 'another secret of more than 32 bytes'),
      'payload-120': JSON.stringify(messageOf(120)),
      'payload-2048': JSON.stringify(messageOf(2048)),
      'wrong-payload': JSON.stringify({ ...messageOf(120), seq: -23_456 })
    }
    for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content)
  }

  async function start(name: string, env: Readonly<Record<string, string>>): Promise<void> {
    servers.set(name, await ServerProcess.start({ file: `${name}.mjs`, env }))
  }

  function serverOf(name: string): ServerProcess {
    return servers.get(name) as ServerProcess
  }

  function target(server: ServerProcess, path: string, bytes = 120) {
    const [port, pid] = [String(server.port), String(server.pid)]
    const [headers, tokens, payload] = [
      join(folder, 'headers'),
      join(folder, 'tokens'),
      join(folder, `payload-${bytes}`)
    ]
    return { port, pid, path, headers, tokens, payload, conns }
  }

  for (const name of ['c', 'guarded']) {
    for (const bytes of [120, 2048]) {
      it(`${name}: an echo of ${bytes} bytes has as many replies as the server had messages`, async () => {
        const server = serverOf(name)
        const options = { ...target(server, '/echo', bytes), window, seconds, warm: 0.02 }
        const { result, seen } = await during(server, () => echo(options))
        assert.deepEqual(seen, { handshakes: conns, messages: result.sent })
        assert.equal(result.received, result.sent)
        assert.ok(result.messages > 0 && result.messages < result.received, 'a part of them is counted')
        assert.ok(Math.abs((result.rate * result.seconds) / result.messages - 1) < 0.01)
        assert.ok(result.cpuUs > 0 && result.ownCpuShare > 0)
        assert.ok(result.p50Us > 0 && result.p99Us >= result.p50Us && result.p99Us < 10e6)
      })
    }

    it(`${name}: as many handshakes are counted as the server accepted`, async () => {
      const server = serverOf(name)
      const { result, seen } = await during(server, () => shake({ ...target(server, '/echo'), seconds }))
      assert.deepEqual(seen, { handshakes: result.received, messages: 0 })
      assert.ok(result.messages > 0)
      assert.equal(result.refused, 0)
    })

    it(`${name}: each publish is delivered to all subscribers and to its sender`, async () => {
      const server = serverOf(name)
      const { result, seen } = await during(server, () => fan({ ...target(server, '/fan'), window, seconds }))
      assert.deepEqual(seen, { handshakes: conns + 1, messages: result.sent })
      assert.equal(result.received, result.sent * (conns + 1))
      assert.ok(result.messages > conns)
    })

    it(`${name}: connections are held until they are let go`, async () => {
      const server = serverOf(name)
      const { result, seen } = await during(server, async () => (await hold(target(server, '/echo'))).stop())
      assert.deepEqual(seen, { handshakes: conns, messages: 0 })
      assert.equal(result.open, conns)
    })

    it(`${name}: a flood is counted, of which the server had no more than was written`, async () => {
      const server = serverOf(name)
      const { result, seen } = await during(server, async () => {
        const flooding = await flood({ ...target(server, '/echo'), conns: 2 })
        const { messages } = await server.ask<Counts>('counts')
        await eventually(async () => {
          const counts = await server.ask<Counts>('counts')
          assert.ok(counts.messages > messages + 100)
        }, patience)
        return flooding.stop()
      })
      assert.ok(result.received > 0 && result.received <= seen.messages, `${result.received} of ${seen.messages}`)
      assert.ok(seen.messages <= result.written, `${seen.messages} of ${result.written}`)
      assert.deepEqual([result.ended, result.refused], [0, 0])
    })
  }

  it('paces two servers in turn, each at the rate that was asked for', async () => {
    const [c, guarded] = [serverOf('c'), serverOf('guarded')]
    const both = { port: `${c.port},${guarded.port}`, pid: `${c.pid},${guarded.pid}` }
    const options = { ...target(c, '/echo'), ...both, perSecond: 50, seconds: 0.4 }
    const { result, seen } = await during(guarded, () => during(c, () => pace(options)))
    const { ports, sent } = result.result
    assert.deepEqual(
      ports.map(({ port, messages, unanswered }) => ({ port, messages, unanswered })),
      [
        { port: c.port, messages: result.seen.messages, unanswered: 0 },
        { port: guarded.port, messages: seen.messages, unanswered: 0 }
      ]
    )
    assert.equal(result.seen.messages + seen.messages, sent)
    assert.equal(result.seen.messages, 160)
    // 8 connections × 50 a second × 0.4 s; a generator that comes late catches up.
    assert.equal(seen.messages, 160)
    for (const { p50Us, p99Us, maxUs } of ports) assert.ok(p50Us > 0 && p99Us >= p50Us && maxUs * 1.02 >= p99Us)
  })

  for (const name of ['guarded', 'straightforward']) {
    it(`${name}: a wrong token, a wrong Origin and a wrong message are told from an echo`, async () => {
      if (!servers.has(name)) await start(name, {})
      const options = { ...target(serverOf(name), '/echo'), window, seconds }
      const token = { tokens: join(folder, 'wrong-tokens') }
      await assert.rejects(echo({ ...options, ...token }), /refused: HTTP\/1\.1 401/)
      await assert.rejects(shake({ ...options, ...token }), /\d+ handshakes were refused/)
      await assert.rejects(echo({ ...options, headers: join(folder, 'wrong-headers') }), /refused: HTTP\/1\.1 403/)
      await assert.rejects(echo({ ...options, payload: join(folder, 'wrong-payload') }), /an answer of \d+ bytes/)
    })
  }
})
