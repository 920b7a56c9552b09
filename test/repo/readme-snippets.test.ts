/** Every code block of the README compiles and does what is said about it; a test is named by the block's heading. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { hasSubscribers } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { FastifyInstance } from 'fastify'
import { WebSocket as UndiciWebSocket } from 'undici'
import type { Contract } from '../../lib/contract.ts'
import type { WsGuardOptions } from '../../lib/index.ts'
import { injectWs, type TestSocket } from '../../lib/testing.ts'
import { freePort, type Running, start, substitute } from '../proxies/processes.ts'
import { tokenFor } from '../support/app.ts'
import { selfSigned } from '../support/certificate.ts'
import { jsonFrame } from '../support/frames.ts'
import { captureLogs, type LogLine } from '../support/log-capture.ts'
import { connect } from '../support/raw-client.ts'
import { repositoryRoot } from '../support/readme.ts'
import { RedisServer } from '../support/redis.ts'
import { eventually, until } from '../support/wait.ts'
import { isCode, origin, readSnippets, type Snippet, SnippetProject, secret } from './snippets.ts'

const snippets = readSnippets()
const project = new SnippetProject(snippets.filter(isCode))
const tsx = new URL('node_modules/tsx/dist/loader.mjs', repositoryRoot).href

/** For whatever has to come: it ends a test that has failed. */
const timeoutMs = 15_000

/** What takes its time, side by side: each test waits for its own. */
const server = startServer()
const started = { complaints: project.compile(), server, chatTest: server.then(runChatTest, runChatTest) }
for (const promise of Object.values(started)) promise.catch(() => {})
after(async () => {
  await started.server.then((running) => running.stop('SIGKILL')).catch(() => {})
  await started.chatTest
  await started.complaints.catch(() => {})
  project.remove()
})

interface Prelude {
  guardedApp(options?: WsGuardOptions, server?: object): Promise<FastifyInstance>
}

/** An app of the README: the prelude's, with the parts that these blocks add. */
async function appOf(
  t: TestContext,
  titles: readonly string[],
  options: WsGuardOptions = {},
  server: object = {}
): Promise<FastifyInstance> {
  const { guardedApp } = await project.import<Prelude>('prelude.ts')
  const app = await guardedApp(options, server)
  t.after(() => app.close())
  for (const title of titles) {
    const { build } = await project.import<{ build(app: FastifyInstance): Promise<unknown> }>(title)
    await build(app)
  }
  return app
}

/** Lets the app listen, and gives the page's globals to what runs in it: `location`, `fetch` and `WebSocket`. */
async function asPage(t: TestContext, base: string, pageOrigin: string): Promise<void> {
  class PageSocket extends UndiciWebSocket {
    constructor(url: string, protocols: string[]) {
      super(url.replace(/^wss?:\/\/[^/]+/, base.replace(/^http/, 'ws')), { protocols, headers: { origin: pageOrigin } })
    }
  }
  const { fetch, setTimeout } = globalThis
  const globals = {
    location: { origin: base },
    WebSocket: PageSocket,
    fetch: (url: string, init: RequestInit) => fetch(new URL(url, base), init),
    // What a page still means to do when it is closed keeps nobody waiting.
    setTimeout: (task: () => void, ms: number) => setTimeout(task, ms).unref()
  }
  for (const [name, value] of Object.entries(globals)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name)
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true })
    t.after(() => {
      if (before === undefined) Reflect.deleteProperty(globalThis, name)
      else Object.defineProperty(globalThis, name, before)
    })
  }
}

interface PageSocket {
  readonly readyState: number
  send(data: string): void
  close(): void
  addEventListener(event: string, listener: () => void): void
}

async function runPage(t: TestContext, file: string, token?: string): Promise<PageSocket> {
  const { run } = await project.import<{ run(token?: string): Promise<PageSocket> }>(file)
  const socket = await run(token)
  t.after(() => socket.close())
  return socket
}

async function listen(app: FastifyInstance): Promise<string> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
}

function consoleLines(t: TestContext): string[] {
  const lines: string[] = []
  t.mock.method(console, 'log', (...words: unknown[]) => void lines.push(words.join(' ')))
  return lines
}

const named = (title: string): Snippet => {
  const found = snippets.filter((snippet) => snippet.title === title)
  assert.equal(found.length, 1, `README.md has ${found.length} code blocks titled "${title}"`)
  return found[0] as Snippet
}

/** What is done with a block, by its title. */
const runs: Readonly<Record<string, (t: TestContext) => Promise<void>>> = {
  'server.ts': async () => {
    const { port, token, output } = await started.server
    const own = `http://localhost:${port}`
    const status = async (headers: Record<string, string>) => {
      await using client = await connect(port)
      return (await client.handshake({ path: '/chat/lobby', headers, timeoutMs })).statusCode
    }
    assert.equal(await status({ Origin: 'https://evil.example', Authorization: `Bearer ${token}` }), 403)
    assert.equal(await status({ Origin: own, Authorization: 'Bearer nonsense' }), 401)
    await eventually(() => assert.match(output(), /"reason":"origin_forbidden"/), { timeoutMs })

    await using client = await connect(port)
    const good = { Origin: own, Authorization: `Bearer ${token}` }
    assert.equal((await client.handshake({ path: '/chat/lobby', headers: good, timeoutMs })).statusCode, 101)
    await client.sendJson({ type: 'say', text: 'x'.repeat(501) })
    assert.equal((await client.nextJson<{ code: string }>({ timeoutMs })).code, 'invalid_message')
    for (let n = 0; n < 6; n++) await client.sendText('{}')
    assert.equal((await client.nextFrame({ opcode: 8, timeoutMs })).payload.readUInt16BE(), 1008)
  },
  'page.js': async (t) => {
    const { port } = await started.server
    await asPage(t, `http://localhost:${port}`, `http://localhost:${port}`)
    const log = consoleLines(t)
    const socket = await runPage(t, 'page.js')
    await eventually(() => assert.deepEqual(log, ['ada: Hello']), { timeoutMs })
    socket.close()
    await eventually(() => assert.match(log[1] ?? '', /^closed \d+/), { timeoutMs })
  },
  'sessions.ts': async (t) => {
    const app = await appOf(t, ['sessions.ts'])
    const ws = await injectWs(app, '/news', { cookies: { session: 's3cret' } })
    assert.equal(await ws.receive(undefined, { timeoutMs }), 'Hello Ada')
    ws.close()
    assert.equal((await injectWs(app, '/news', { cookies: { session: 'other' } })).statusCode, 401)
    assert.equal((await injectWs(app, '/news')).statusCode, 401)
  },
  'tickets.ts': async (t) => {
    const app = await appOf(t, ['tickets.ts'])
    const headers = { authorization: `Bearer ${tokenFor(app)}` }
    const issued = await app.inject({ method: 'POST', url: '/ticket', headers })
    const { ticket, expiresInMs } = issued.json<{ ticket: string; expiresInMs: number }>()
    assert.equal(expiresInMs, 30_000)
    assert.equal((await app.inject({ method: 'POST', url: '/ticket' })).statusCode, 401)
    const url = `/chat/lobby?ticket=${ticket}`
    const ws = await injectWs(app, url)
    assert.equal(ws.statusCode, 101)
    ws.close()
    assert.equal((await injectWs(app, url)).statusCode, 401, 'it is spent')
  },
  'nodes.ts': async (t) => {
    const redis = await RedisServer.startFor(t)
    Object.assign(process.env, { REDIS_URL: redis.url })
    t.after(() => Reflect.deleteProperty(process.env, 'REDIS_URL'))
    const { build } = await project.import<{ build(): Promise<FastifyInstance> }>('nodes.ts')
    const apps = [await build(), await build()]
    for (const app of apps) app.wsRoute('/ws', { handler() {}, limits: { attempts: { max: 3 } } })
    const statuses = []
    for (const app of [...apps, ...apps]) statuses.push((await injectWs(app, '/ws', { origin })).statusCode)
    assert.deepEqual(statuses, [101, 101, 101, 429])
    for (const app of apps) await app.close()
  },
  'ticket-page.js': async (t) => {
    const app = await appOf(t, ['tickets.ts'])
    await asPage(t, await listen(app), origin)
    const socket = await runPage(t, 'ticket-page.js', tokenFor(app))
    await until(() => socket.readyState === UndiciWebSocket.OPEN, { timeoutMs })
    assert.equal(app.wsGuard.connections, 1)
  },
  'auth-page.js': async (t) => {
    const app = await appOf(t, ['handlers.ts'], { auth: { from: ['message'] } })
    app.get('/token', () => tokenFor(app))
    await asPage(t, await listen(app), origin)
    const log = consoleLines(t)
    const exp = Math.floor(Date.now() / 1000) + 62
    await runPage(t, 'auth-page.js', app.jwt.sign({ sub: 'alice', exp } as never))
    await eventually(() => assert.match(log[0] ?? '', /^good for 6\d{4} ms$/), { timeoutMs })
    await eventually(() => assert.match(log[1] ?? '', /^good for 3[56]\d{5} ms$/), { timeoutMs })
    assert.equal(app.wsGuard.connections, 1)

    const other = await injectWs(app, '/chat/lobby')
    other.send('say', { text: 'who am I?' })
    assert.deepEqual(await other.closed, { code: 4001, reason: 'unauthorized' })
  },
  'contract.ts': async () => {
    const { chat } = await project.import<{ chat: Contract }>('contract.ts')
    assert.equal(chat.name, 'chat')
  },
  'handlers.ts': async (t) => {
    const app = await appOf(t, ['handlers.ts'])
    const open = (path: string, sub: string) => injectWs(app, path, { token: tokenFor(app, sub) })
    assert.equal((await open('/chat/staff', 'ada')).statusCode, 403)
    assert.equal((await open('/chat/staff', 'boss')).statusCode, 101)
    const guest = await open('/chat/lobby', 'guest')
    guest.send('history', { limit: 1 }, { ref: 1 })
    assert.equal(((await guest.receive('error', { timeoutMs })) as { code: string }).code, 'forbidden')
    guest.send('say', { text: 'Hello' }, { ref: 2 })
    assert.deepEqual(await guest.receive('reply', { timeoutMs }), { type: 'reply', ref: 2, data: null })
    guest.send('say', { text: '/quit' })
    assert.deepEqual(await guest.closed, { code: 1000, reason: 'bye' })
  },
  'raw.ts': async (t) => {
    const app = await appOf(t, ['raw.ts'])
    const ws = await injectWs(app, '/upper', { token: tokenFor(app) })
    ws.sendRaw('hello')
    assert.equal(await ws.receive(undefined, { timeoutMs }), 'HELLO')
    assert.equal((await injectWs(app, '/upper')).statusCode, 401)
  },
  'the first message dropped': (t) => sawSpell(t, 0),
  'the spell ends': (t) => sawSpell(t, 1),
  'logout.ts': async (t) => {
    const app = await appOf(t, ['handlers.ts', 'logout.ts'])
    const token = tokenFor(app)
    const ws = await injectWs(app, '/chat/lobby', { token })
    const answer = await app.inject({ method: 'POST', url: '/logout', headers: { authorization: `Bearer ${token}` } })
    assert.deepEqual(answer.json(), { closed: 1 })
    assert.deepEqual(await ws.closed, { code: 4003, reason: 'revoked' })
    assert.equal((await injectWs(app, '/chat/lobby', { token })).statusCode, 401)
    const later = tokenFor(app, 'alice', { iat: Math.floor(Date.now() / 1000) + 1 })
    assert.equal((await injectWs(app, '/chat/lobby', { token: later })).statusCode, 101)
  },
  'the wire': async (t) => {
    const app = await appOf(t, ['handlers.ts'])
    const token = app.jwt.sign({ sub: 'ada' } as never, { expiresIn: '15m' })
    const ws = await injectWs(app, '/chat/lobby', { token })
    for (const line of named('the wire').code.split('\n')) await playLine(ws, line, token)
  },
  'a refusal': async (t) => {
    const app = await appOf(t, ['handlers.ts'])
    const ws = await injectWs(app, '/chat/lobby?token=nonsense')
    const [head = '', body] = named('a refusal').code.split('\n\n')
    const [status, ...headers] = head.split('\n')
    assert.match(status ?? '', new RegExp(`^HTTP/1.1 ${ws.statusCode} `))
    for (const header of headers) {
      const [name = '', value] = header.split(': ')
      assert.equal(ws.headers[name], value, name)
    }
    assert.equal(ws.body, body)
  },
  'ws.refused': async (t) => {
    const log = captureLogs()
    const app = await appOf(t, ['handlers.ts'], {}, { logger: log.logger })
    await injectWs(app, '/chat/lobby', { token: tokenFor(app), origin: 'https://evil.example' })
    const { time: _time, pid: _pid, hostname: _hostname, reqId: _reqId, ...line } = log.find('ws.refused') as LogLine
    assert.deepEqual(line, JSON.parse(named('ws.refused').code))
  },
  'metrics.ts': async (t) => {
    const channel = 'fastify-ws-guard:ws.refused'
    assert.equal(hasSubscribers(channel), false)
    const app = await appOf(t, ['handlers.ts', 'metrics.ts'])
    assert.equal(hasSubscribers(channel), true)
    assert.equal((await injectWs(app, '/chat/lobby')).statusCode, 401)
  },
  'chat.test.ts': async () => {
    assert.match(await started.chatTest, /^# pass 2$/m)
  },
  'behind-proxy.ts': async (t) => {
    process.env.JWT_SECRET = secret
    const { build } = await project.import<{ build(): Promise<FastifyInstance> }>('behind-proxy.ts')
    const app = await build()
    t.after(() => app.close())
    app.wsRoute('/x', { handler() {} })
    const from = async (remoteAddress: string) => {
      const headers = { 'x-forwarded-proto': 'https', 'x-forwarded-for': '203.0.113.7' }
      return (await injectWs(app, '/x', { token: tokenFor(app), remoteAddress, headers, timeoutMs })).statusCode
    }
    assert.equal(await from('10.0.0.7'), 101)
    assert.equal(await from('10.0.0.8'), 403)
  },
  'no-proxy.ts': async (t) => {
    const { key, cert } = selfSigned()
    project.write('key.pem', key)
    project.write('cert.pem', cert)
    const cwd = process.cwd()
    process.chdir(project.folder)
    t.after(() => process.chdir(cwd))
    const { build } = await project.import<{ build(): Promise<FastifyInstance> }>('no-proxy.ts')
    const app = await build()
    t.after(() => app.close())
    const { headersTimeout, connectionsCheckingInterval, maxConnections } = app.server as unknown as Record<
      string,
      number
    >
    assert.deepEqual([headersTimeout, connectionsCheckingInterval, maxConnections], [10_000, 5_000, 20_000])
  },
  'shutdown.ts': async (t) => {
    const port = await freePort()
    project.write(
      'main.ts',
      `import { build } from './shutdown.js'
       import { chat } from './contract.js'
       import { guardedApp } from './prelude.js'
       const app = await guardedApp()
       await build(app)
       app.addHook('onClose', async () => console.log('database closed'))
       app.wsRoute('/x', {
         auth: false,
         contract: chat,
         handlers: { say() {}, history: () => ({ lines: [] }) },
         onClose: (_, { cause }) => new Promise((resolve) => setTimeout(() => resolve(console.log('left:', cause)), 50))
       })
       await app.listen({ port: ${port} })
       console.log('ready')`
    )
    const args = ['--import', tsx, join(project.folder, 'main.ts')]
    const server = await start(process.execPath, args, { ready: /^ready$/m })
    t.after(() => server.stop())
    await using client = await connect(port)
    assert.equal((await client.handshake({ path: '/x', headers: { Origin: origin }, timeoutMs })).statusCode, 101)
    const stopped = server.stop('SIGTERM')
    assert.equal((await client.nextFrame({ opcode: 8, timeoutMs })).payload.readUInt16BE(), 1012)
    await client.sendClose(1012)
    await client.serverEnd({ timeoutMs })
    client.destroy()
    await stopped
    assert.match(server.output(), /left: restart\ndatabase closed\n$/)
  }
}

/** Starts server.ts as the README says, on a free port. */
async function startServer(): Promise<Running & { port: number; token: string }> {
  const port = await freePort()
  const code = substitute(named('server.ts').code, {
    'localhost:3000': `localhost:${port}`,
    'port: 3000': `port: ${port}`
  })
  project.write('started.ts', code)
  const env = { JWT_SECRET: secret }
  const args = ['--import', tsx, join(project.folder, 'started.ts')]
  const running = await start(process.execPath, args, { env, ready: /Server listening/ })
  const answer = await fetch(`http://localhost:${port}/login`, { method: 'POST' })
  const { token } = (await answer.json()) as { token: string }
  return { ...running, port, token }
}

/** Runs chat.test.ts as a reader would. What it writes, also when it fails. */
async function runChatTest(): Promise<string> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const args = ['--import', tsx, '--test', '--test-reporter=tap', join(project.folder, 'chat.test.ts')]
  return new Promise((resolve) => {
    execFile(process.execPath, args, { env, timeout: 120_000 }, (_error, stdout) => resolve(stdout))
  })
}

/** One line of the conversation. `…` stands for the token, and numbers of milliseconds may be lower by now. */
async function playLine(ws: TestSocket, line: string, token: string): Promise<void> {
  const [mark, text] = [line.slice(0, 1), line.slice(2)]
  if (mark === '→') return ws.sendRaw(text.replace('"…"', JSON.stringify(token)))
  if (mark === '✕') {
    const { code, reason } = await ws.closed
    return assert.equal(`${code} ${reason}`, text)
  }
  assert.equal(mark, '←', line)
  const received = JSON.stringify(await ws.receive(undefined, { timeoutMs }))
  const expiresInMs = Number(/"expiresInMs":(\d+)/.exec(received)?.[1])
  if (!Number.isNaN(expiresInMs)) assert.ok(expiresInMs > 0 && expiresInMs <= 900_000)
  assert.equal(received.replace(/(?<="expiresInMs":)\d+/, '900000'), text)
}

interface RateLimited {
  retryAfterMs?: number
  refs?: unknown[]
}

/** Sends 60 messages in one write; the guard answers twice about those it did not serve. */
async function sawSpell(t: TestContext, index: 0 | 1): Promise<void> {
  const app = await appOf(t, ['handlers.ts'])
  const port = Number(new URL(await listen(app)).port)
  const expected = JSON.parse(named(index === 0 ? 'the first message dropped' : 'the spell ends').code) as RateLimited
  // On a busy machine a token may come back, or the write fall apart, before all 60 were looked at: then once more.
  for (let attempt = 1; ; attempt++) {
    try {
      checkSpell(await floodOnce(port, tokenFor(app), index), expected)
      return
    } catch (error) {
      if (attempt === 5) throw error
    }
  }
}

/** @returns the first or the second answer of the spell */
async function floodOnce(port: number, token: string, index: number): Promise<RateLimited> {
  await using client = await connect(port)
  const headers = { Origin: origin, Authorization: `Bearer ${token}` }
  assert.equal((await client.handshake({ path: '/chat/lobby', headers, timeoutMs })).statusCode, 101)
  const frames = Array.from({ length: 60 }, (_, at) => jsonFrame({ type: 'say', text: 'x', ref: at + 1 }))
  await client.write(Buffer.concat(frames))
  const answers: RateLimited[] = []
  while (answers.length <= index) {
    const message = await client.nextJson<RateLimited & { type: string }>({ timeoutMs })
    if (message.type === 'error') answers.push(message)
  }
  return answers[index] as RateLimited
}

function checkSpell(answer: RateLimited, expected: RateLimited): void {
  if (expected.retryAfterMs !== undefined) {
    const { retryAfterMs = 0 } = answer
    assert.ok(retryAfterMs > 0 && retryAfterMs <= expected.retryAfterMs, `${retryAfterMs} ms`)
    assert.deepEqual({ ...answer, retryAfterMs: expected.retryAfterMs }, expected)
  } else {
    const { refs = [], ...others } = expected
    assert.equal(refs.at(-1), '…')
    assert.deepEqual(answer, { ...others, refs: Array.from({ length: 19 }, (_, at) => at + 42) })
    assert.deepEqual(answer.refs?.slice(0, refs.length - 1), refs.slice(0, -1))
  }
}

for (const snippet of snippets.filter(isCode)) {
  test(`README, ${snippet.name}: compiles`, async () => {
    const own = (await started.complaints).filter((line) => line.startsWith(`${snippet.title}(`))
    assert.deepEqual(own, [], `the block begins on line ${snippet.line} of README.md; its lines count from 1 here`)
  })
}

test('README: nothing else of the project of its code blocks is wrong', async () => {
  // What is wrong with lib/ itself is for the type check of lib/ to say.
  const files = new Set(snippets.filter(isCode).map(({ title }) => title))
  assert.deepEqual(
    (await started.complaints).filter(
      (line) => !/^ |\blib\/.*\(\d+,/.test(line) && !files.has(line.replace(/\(.*$/, ''))
    ),
    []
  )
})

for (const snippet of snippets.filter(({ title, language }) => title !== '' || isCode({ language } as Snippet))) {
  test(`README, ${snippet.name}: does what it says`, { timeout: 120_000 }, async (t) => {
    const run = runs[snippet.title]
    assert.ok(run, `no test runs the code block on line ${snippet.line}: give it a title="…" and a run in this file`)
    await run(t)
  })
}

test('README: every block has a title of its own, except commands', () => {
  const titles = snippets.filter(({ language }) => language !== 'sh').map(({ title }) => title)
  assert.deepEqual([...titles].sort(), Object.keys(runs).sort())
})

test('README: the first code of a reader is short', () => {
  assert.ok(named('server.ts').code.split('\n').length <= 34)
  const widest = Math.max(...snippets.filter(isCode).flatMap(({ code }) => code.split('\n').map((line) => line.length)))
  assert.ok(widest <= 120, `a line of code has ${widest} characters`)
  assert.ok(
    readFileSync(fileURLToPath(new URL('README.md', repositoryRoot)), 'utf8').startsWith('# fastify-ws-guard\n')
  )
})
