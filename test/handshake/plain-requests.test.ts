/** Requests without an upgrade: what is left of a handshake when a proxy drops its Upgrade header. */
import assert from 'node:assert/strict'
import dns from 'node:dns'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import { buildApp, origin } from '../support/app.ts'
import { findSecrets, spellingsOf } from '../support/canary.ts'
import type { HttpAnswer } from '../support/http-message.ts'
import { captureLogs, type LogCapture } from '../support/log-capture.ts'
import { connect } from '../support/raw-client.ts'

const token = 'canary-token'
const ticket = 'canary-ticket'
const query = `?a=1&token=${token}&b=2&ticket=${ticket}`

interface Started {
  readonly app: FastifyInstance
  readonly logs: LogCapture
}

async function started(
  t: TestContext,
  server: FastifyServerOptions = {},
  from: readonly ('header' | 'query' | 'ticket')[] = ['query', 'ticket']
): Promise<Started> {
  const logs = captureLogs()
  const app = await buildApp({ server: { logger: logs.logger, ...server } as never, guard: { auth: { from } } })
  t.after(() => app.close())
  app.wsRoute('/ws', { handler() {} })
  return { app, logs }
}

/** One request on a connection of its own. */
async function ask(port: number, host: string, method: string, path: string, lines = ''): Promise<HttpAnswer> {
  await using client = await connect(port, { host })
  await client.write(`${method} ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${lines}\r\n`)
  return await client.answer()
}

async function listen(app: FastifyInstance, host = '127.0.0.1'): Promise<number> {
  await app.listen({ port: 0, host })
  return (app.server.address() as AddressInfo).port
}

/** A machine whose localhost has both addresses, as most have: Fastify then opens a second server. */
function giveLocalhostBoth(t: TestContext): void {
  const { lookup } = dns
  const both = [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 }
  ]
  const patched = (host: string, options: dns.LookupAllOptions, callback: (error: null, found: object) => void) =>
    host === 'localhost' && options.all === true
      ? callback(null, both)
      : lookup(host, options as never, callback as never)
  t.mock.method(dns, 'lookup', patched)
}

const listened = {
  'on IPv4': { host: '127.0.0.1', asked: ['127.0.0.1'] },
  'on IPv6': { host: '::1', asked: ['::1'] },
  'on localhost, which is two servers': { host: 'localhost', asked: ['127.0.0.1', '::1'] }
}
for (const [name, { host, asked }] of Object.entries(listened)) {
  test(`P1, H7, H11: ${name}: no credential of a URL is seen again, whatever the method and the path`, async (t) => {
    if (host === 'localhost') giveLocalhostBoth(t)
    const { app, logs } = await started(t)
    const seen: string[] = []
    // As access loggers are written, in hooks that run last.
    app.addHook('onResponse', async (request) => {
      seen.push(`${request.url} ${request.originalUrl} ${JSON.stringify(request.query)}`)
    })
    const port = await listen(app, host)
    const answers: string[] = []
    for (const address of asked) {
      for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS']) {
        for (const path of ['/ws', '/nope', '/ws/', '/ws/..//ws', '//ws']) {
          const answer = await ask(port, address, method, path + query)
          assert.equal(answer.statusCode, method === 'GET' && path === '/ws' ? 426 : 404)
          answers.push(JSON.stringify(answer))
        }
      }
    }
    assert.equal(answers.length, 25 * asked.length)
    assert.equal(logs.filter('incoming request').length, answers.length)
    const everything = [...answers, ...seen, logs.text()].join('\n')
    assert.deepEqual(findSecrets(everything, [token, ticket]), [])
    // What is no credential is still there.
    assert.match(logs.text(), /Route POST:\/ws\?a=1&b=2 not found/)
    assert.equal(
      seen.filter((line) => line.startsWith('/nope?a=1&b=2 /nope?a=1&b=2 {"a":"1","b":"2"}')).length,
      5 * asked.length
    )
  })
}

test('P1: the routes of the app keep their URLs, and their lines in the log', async (t) => {
  const { app, logs } = await started(t)
  app.get('/reset', (request) => request.query)
  const port = await listen(app)
  const answer = await ask(port, '127.0.0.1', 'GET', '/reset?token=of-the-app')
  assert.deepEqual(answer.json(), { token: 'of-the-app' })
  const { req } = logs.find('incoming request') as unknown as { req: { url: string } }
  assert.equal(req.url, '/reset?token=of-the-app')
})

test('P1: only the parameters that a route reads credentials from are taken out of an unknown path', async (t) => {
  const { app } = await started(t, {}, ['header', 'ticket'])
  app.setNotFoundHandler((request) => ({ url: request.url, query: request.query }))
  const port = await listen(app)
  const answer = await ask(port, '127.0.0.1', 'GET', `/nope${query}`)
  assert.deepEqual(answer.json(), { url: `/nope?a=1&token=${token}&b=2`, query: { a: '1', token, b: '2' } })
})

test('P1: a serializer of the app’s own is kept, and covered', async (t) => {
  const logs = captureLogs()
  const shown = { whole: (request: { url: string }) => ({ url: request.url, mine: 1 }), none: () => undefined }
  for (const req of Object.values(shown)) {
    const { app } = await started(t, { logger: { ...logs.logger, serializers: { req } } } as never)
    await ask(await listen(app), '127.0.0.1', 'GET', `/nope${query}`)
  }
  const [first, second] = logs.filter('incoming request')
  assert.deepEqual(first?.req, { url: '/nope?a=1&b=2', mine: 1 })
  assert.equal(second?.req, undefined)
  assert.deepEqual(findSecrets(logs.text(), [token, ticket]), [])
})

test('P1: a logger that is not pino is left alone', async (t) => {
  const lines: unknown[] = []
  const write = (...line: unknown[]): void => void lines.push(line)
  const logger = {
    level: 'info',
    info: write,
    error: write,
    debug() {},
    fatal() {},
    warn() {},
    trace() {},
    silent() {}
  }
  const loggerInstance = Object.assign(logger, { child: () => logger })
  const { app } = await started(t, { logger: undefined, loggerInstance } as never)
  const answer = await ask(await listen(app), '127.0.0.1', 'GET', `/nope${query}`)
  assert.match(answer.body, /Route GET:\/nope\?a=1&b=2 not found/)
  assert.ok(lines.length > 0)
})

test('P1: a request that node cannot parse is not in the log, byte by byte', async (t) => {
  const { app, logs } = await started(t)
  const errors: Array<Error & { rawPacket?: Buffer }> = []
  app.server.on('clientError', (error) => errors.push(error))
  const port = await listen(app)
  const answer = await ask(
    port,
    '127.0.0.1',
    'GET',
    `/ws${query}`,
    `Origin: ${origin}\r\nCookie: ${token}\r\nBad Header\r\n`
  )
  assert.equal(answer.statusCode, 400)
  assert.equal(logs.filter('client error').length, 1)
  assert.deepEqual(findSecrets(logs.text() + JSON.stringify(answer), [token, ticket]), [])
  // For a handler of the developer's own it is still there.
  assert.match(String(errors[0]?.rawPacket), /canary/)
})

test('the search finds a secret in each spelling', () => {
  const secret = 'canary-token'
  const texts = [
    `x${secret}y`,
    JSON.stringify(Buffer.from(`GET /${secret} HTTP`)),
    Buffer.from(`..${secret}..`).toString('hex'),
    ...['', 'a', 'ab'].map((before) => Buffer.from(`${before}${secret}${before}`).toString('base64url'))
  ]
  for (const text of texts) assert.deepEqual(findSecrets(text, [secret, 'other']), [secret], text)
  assert.equal(new Set(spellingsOf(secret)).size, 8)
})

test('T4, P1: of a trustProxy that throws the line says neither host nor address, and the client is answered', async (t) => {
  const trustProxy = (): never => {
    throw new Error('what no client may read')
  }
  const { app, logs } = await started(t, { trustProxy })
  const port = await listen(app)
  const headers = { Origin: origin, 'X-Forwarded-For': '203.0.113.1, 203.0.113.2' }
  await using client = await connect(port)
  const answer = await client.handshake({ path: `/ws${query}`, headers })
  assert.deepEqual([answer.statusCode, answer.body.includes('read')], [503, false])
  const { req } = logs.find('incoming request') as unknown as { req: Record<string, unknown> }
  assert.deepEqual([req.url, req.host, req.remoteAddress], ['/ws', undefined, undefined])
})
