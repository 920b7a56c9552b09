/** What must hold behind every proxy: one suite, run over nginx and over Caddy with the very files of deploy/. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { buildApp } from '../../example-app/server.ts'
import type { HttpAnswer } from '../support/http-message.ts'
import { captureLogs, type LogCapture } from '../support/log-capture.ts'
import { connect, type RawClient } from '../support/raw-client.ts'
import { certificateFor, freePort, temporaryFolder } from './processes.ts'

export const host = 'chat.example.com'
const origin = `https://${host}`
const perIp = 3

export interface ProxySettings {
  readonly folder: string
  readonly appPort: number
  readonly tlsPort: number
  readonly plainPort: number
  readonly key: string
  readonly cert: string
}

export interface RunningProxy {
  /** Everything the proxy has logged so far, wherever. */
  logs(): string
  stop(): Promise<void>
}

interface Via {
  /** The client's own address: each test has another, so that the limits per address do not meet. */
  readonly from: string
  readonly headers?: Record<string, string | null>
  readonly path?: string
}

export interface Stage {
  readonly app: FastifyInstance
  readonly appLog: LogCapture
  readonly proxy: RunningProxy
  readonly settings: ProxySettings
  readonly token: string
  /** A handshake through the proxy, over TLS, with the certificate checked. */
  overTls(via: Via): Promise<{ client: RawClient; answer: HttpAnswer }>
  /** A handshake without TLS, to the proxy's plain port or to the app itself. */
  plain(port: number, via: Via): Promise<{ client: RawClient; answer: HttpAnswer }>
}

/** Registers the suite. `more` adds what only this proxy has; `skip` is the reason not to run it. */
export function behindProxy(
  name: string,
  skip: string | false,
  startProxy: (settings: ProxySettings) => Promise<RunningProxy>,
  more: (stage: () => Stage) => void
): void {
  describe(`the example behind ${name}`, { skip, timeout: 60_000 }, () => {
    const undo: Array<() => Promise<unknown>> = []
    let stage: Stage
    before(async () => {
      stage = await setUp(name, startProxy, undo)
    })
    after(async () => {
      for (const step of undo.reverse()) await step()
    })
    commonTests(() => stage)
    more(() => stage)
    lastTests(() => stage)
  })
}

async function setUp(
  name: string,
  startProxy: (settings: ProxySettings) => Promise<RunningProxy>,
  undo: Array<() => Promise<unknown>>
): Promise<Stage> {
  const folder = temporaryFolder(name)
  undo.push(folder.remove)
  const files = certificateFor(host, folder.path)
  const [appPort, tlsPort, plainPort] = [await freePort(), await freePort(), await freePort()]
  const settings = { folder: folder.path, appPort, tlsPort, plainPort, ...files }

  const appLog = captureLogs('trace')
  const limits = { connections: { perIp } }
  const app = await buildApp({ origins: [origin], trustedProxies: ['127.0.0.1'], logger: appLog.logger, limits })
  undo.push(() => app.close())
  await app.listen({ port: appPort, host: '127.0.0.1' })
  const proxy = await startProxy(settings)
  undo.push(() => proxy.stop())

  const tls = { ca: readFileSync(files.cert), servername: host }
  const through = async (client: RawClient, { headers, path }: Via) => {
    undo.push(() => client[Symbol.asyncDispose]())
    const all = { Host: host, Origin: origin, 'Sec-WebSocket-Protocol': `ws-guard.v1, bearer.${token}`, ...headers }
    return { client, answer: await client.handshake({ path: path ?? '/chat/lobby', headers: all }) }
  }
  const { token } = await signIn(await connect(tlsPort, { tls, localAddress: '127.0.1.1' }))
  return {
    ...{ app, appLog, proxy, settings, token },
    overTls: async (via) => through(await connect(tlsPort, { tls, localAddress: via.from }), via),
    plain: async (port, via) => through(await connect(port, { localAddress: via.from }), via)
  }
}

async function signIn(client: RawClient): Promise<{ token: string }> {
  const body = JSON.stringify({ name: 'Ada' })
  const noUpgrade = { Upgrade: null, Connection: 'close', 'Sec-WebSocket-Key': null, 'Sec-WebSocket-Version': null }
  const headers = { Host: host, ...noUpgrade, 'Content-Type': 'application/json', 'Content-Length': `${body.length}` }
  const answer = await client.handshake({ method: 'POST', path: '/login', headers, body })
  assert.equal(answer.statusCode, 200)
  client.destroy()
  return answer.json()
}

/** The values of one header, so that a doubled one shows. */
export const valuesOf = (answer: HttpAnswer, name: string): string[] =>
  answer.rawHeaders.filter(([each]) => each.toLowerCase() === name).map(([, value]) => value)

function commonTests(stage: () => Stage): void {
  test('wss works: sign-in, handshake, message and reply', async () => {
    const { client, answer } = await stage().overTls({ from: '127.0.1.1' })
    assert.equal(answer.statusCode, 101)
    assert.deepEqual(valuesOf(answer, 'sec-websocket-protocol'), ['ws-guard.v1'])
    await client.sendJson({ type: 'chat', text: 'hello through the proxy', ref: 'a' })
    const received = [await client.nextJson(), await client.nextJson(), await client.nextJson()] as { type: string }[]
    assert.deepEqual(received.map(({ type }) => type).sort(), ['chat', 'presence', 'reply'])
    client.destroy()
  })

  test('the page comes with one set of security headers', async () => {
    const noUpgrade = { Upgrade: null, Connection: 'close', 'Sec-WebSocket-Key': null, 'Sec-WebSocket-Version': null }
    const { answer } = await stage().overTls({ from: '127.0.1.1', path: '/', headers: noUpgrade })
    assert.equal(answer.statusCode, 200)
    assert.match(answer.body, /<title>Guarded chat<\/title>/)
    for (const name of ['content-security-policy', 'strict-transport-security', 'x-content-type-options']) {
      assert.equal(valuesOf(answer, name).length, 1, name)
    }
    assert.match(String(answer.headers['content-security-policy']), /script-src 'self'/)
  })

  test('the security headers are on the 101 and on refusals, once', async () => {
    const upgraded = await stage().overTls({ from: '127.0.1.2' })
    const refused = await stage().overTls({ from: '127.0.1.2', path: '/chat/backstage' })
    assert.deepEqual([upgraded.answer.statusCode, refused.answer.statusCode], [101, 403])
    for (const { answer, client } of [upgraded, refused]) {
      assert.deepEqual(valuesOf(answer, 'x-content-type-options'), ['nosniff'])
      assert.equal(valuesOf(answer, 'strict-transport-security').length, 1)
      assert.match(String(answer.headers['strict-transport-security']), /^max-age=\d{8}/)
      client.destroy()
    }
  })

  test('T1: plain ws is refused by the proxy, and not redirected', async () => {
    const { plain, settings } = stage()
    const forged = { 'X-Forwarded-Proto': 'https', Forwarded: 'proto=https' }
    for (const headers of [{}, forged]) {
      const { answer } = await plain(settings.plainPort, { from: '127.0.1.3', headers })
      assert.equal(answer.statusCode, 403)
      assert.equal(answer.headers.location, undefined)
    }
  })

  test('T1, T4: the app believes X-Forwarded-Proto from its proxy and from nobody else', async () => {
    const { plain, settings } = stage()
    const statusFrom = async (from: string, headers: Record<string, string>) => {
      const { client, answer } = await plain(settings.appPort, { from, headers })
      client.destroy()
      return answer.statusCode
    }
    const https = { 'X-Forwarded-Proto': 'https', 'X-Forwarded-For': '127.0.1.4' }
    assert.equal(await statusFrom('127.0.0.1', https), 101, 'the proxy is believed')
    assert.equal(await statusFrom('127.0.0.1', {}), 403, 'the proxy says nothing of https')
    assert.equal(await statusFrom('127.0.0.2', https), 403, 'not the proxy')
    assert.equal(await statusFrom('127.0.0.2', { ...https, 'X-Forwarded-For': '127.0.0.1' }), 403, 'nor this one')
    assert.equal(await statusFrom('127.0.0.2', { Forwarded: 'for=127.0.0.1;proto=https' }), 403, 'nor in the new way')
  })

  test('T4: limits count the address of the client, whatever it claims', async () => {
    const { overTls, appLog } = stage()
    const forge = (n: number) => ({
      'X-Forwarded-For': `203.0.113.${n}`,
      'X-Forwarded-Proto': 'http',
      'X-Real-IP': `203.0.113.${n}`,
      Forwarded: `for=203.0.113.${n}`
    })
    const statuses = []
    const clients = []
    for (let n = 0; n < perIp + 2; n++) {
      const { client, answer } = await overTls({ from: '127.0.1.5', headers: forge(n) })
      clients.push(client)
      statuses.push(answer.statusCode)
      if (answer.statusCode !== 101) assert.equal(answer.json<{ code: string }>().code, 'too_many_requests')
    }
    assert.deepEqual(statuses, [101, 101, 101, 429, 429])
    const neighbour = await overTls({ from: '127.0.1.6', headers: { 'X-Forwarded-For': '127.0.1.5' } })
    assert.equal(neighbour.answer.statusCode, 101, 'a neighbour behind the same proxy has a budget of its own')
    assert.ok(appLog.filter('ws.refused').some((line) => line.reason === 'per_ip' && line.ip === '127.0.1.5'))
    // From an address that the app trusts: were the header appended to, what this client claims would be believed.
    const local = await overTls({ from: '127.0.0.1', headers: forge(99) })
    assert.equal(local.answer.statusCode, 101)
    assert.doesNotMatch(appLog.text(), /203\.0\.113/)
    for (const client of [neighbour.client, local.client, ...clients]) client.destroy()
  })
}

function lastTests(stage: () => Stage): void {
  // Last, because it stops the app: what a proxy logs when nobody answers is where tokens leak.
  test('P1: no token in any log, of the proxy or of the app; 1012 reaches the client', async () => {
    const { app, appLog, overTls, plain, proxy, settings, token } = stage()
    const query = `/chat/lobby?token=${token}&ticket=${token}`
    const cookie = { Cookie: `token=${token}`, Authorization: `Bearer ${token}` }
    const upgraded = await overTls({ from: '127.0.1.7' })
    assert.equal(upgraded.answer.statusCode, 101)
    const withQuery = await overTls({ from: '127.0.1.7', path: query, headers: { 'Sec-WebSocket-Protocol': null } })
    assert.equal(withQuery.answer.statusCode, 401, 'this example takes no token from the query')
    await overTls({ from: '127.0.1.7', path: query, headers: cookie })
    await plain(settings.plainPort, { from: '127.0.1.7', path: query, headers: cookie })
    await plain(settings.appPort, { from: '127.0.1.7', path: query, headers: cookie })

    const closed = app.close()
    assert.equal((await upgraded.client.nextFrame({ opcode: 8 })).payload.readUInt16BE(), 1012)
    await upgraded.client.sendClose(1012)
    await closed
    const gone = await overTls({ from: '127.0.1.7', path: query, headers: cookie })
    assert.equal(gone.answer.statusCode, 502)
    await proxy.stop()

    const [, , signature] = token.split('.') as [string, string, string]
    assert.match(proxy.logs(), /\/chat\/lobby/, 'there is a log to look into')
    assert.ok(appLog.filter('ws.refused').length > 0)
    for (const log of [proxy.logs(), appLog.text()]) {
      assert.equal(log.includes(token), false)
      assert.equal(log.includes(signature), false)
    }
  })
}
