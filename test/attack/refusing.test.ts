/** Code of the app's that throws while a handshake is refused, or throws what no client may read. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { FastifyBaseLogger } from 'fastify'
import { assertNoSockets, assertNothingHeld, assertRefused, bodyOf } from '../handshake/harness.ts'
import { type HttpAnswer, handshakeRequest } from '../support/http-message.ts'
import { captureLogs } from '../support/log-capture.ts'
import type { Seen } from './crash-app.ts'
import { closeFrameOf, Target, type TargetOptions } from './harness.ts'

const program = fileURLToPath(new URL('crash-app.ts', import.meta.url))

/** What the program saw in each of these cases, up to the one that ended it. */
function run(...names: string[]): Promise<Seen[]> {
  return new Promise((resolve, reject) => {
    const args = ['--import', 'tsx', program, ...names]
    execFile(process.execPath, args, { timeout: 120_000 }, (error, stdout, stderr) => {
      const lines = stdout.trim().split('\n').slice(0, names.length)
      if (!error) return resolve(lines.map((line) => JSON.parse(line)))
      const ended = names[stdout.split('\n').length - 1]
      reject(new Error(`"${ended}" ended the program with ${error.code ?? error.signal}: ${stderr.slice(-2000)}`))
    })
  })
}

const nothing = { handshakes: 0, slots: 0, unauthenticated: 0, refused: 0, connections: 0, stored: 0, sockets: 0 }
const refused = (statusCode: number): object => ({ statusCode, body: bodyOf(statusCode) })
const accepted = { statusCode: 101, body: '' }

/** What the client without a credential and the one with a good one see of each case. */
const cases: Readonly<Record<string, readonly [what: string, anonymous: unknown, user: unknown]>> = {
  'trust-proxy': ['a trustProxy that throws at an address', refused(503), refused(503)],
  'trust-proxy-of-an-unknown-path': ['the same for a path that is not ours', refused(503), refused(503)],
  'head-flushed': ['a hook that has sent a head and goes on', 'destroyed', 'destroyed'],
  'head-and-body-written': ['a hook that has written an answer and goes on', 'destroyed', 'destroyed'],
  'head-flushed-in-the-last-hook': ['a last hook that has sent a head and goes on', refused(401), 'destroyed'],
  'head-flushed-before-an-error': ['a hook that has sent a head and fails', refused(401), 'destroyed'],
  'err-serializer': ['a serializer for errors that throws', refused(401), accepted],
  logger: ['a logger that throws', refused(401), accepted],
  'schema-error-formatter': ['a schemaErrorFormatter that throws', refused(401), refused(400)],
  'schema-error-formatter-behind-an-async-hook': ['the same behind an async hook', refused(401), refused(400)]
}

/** One process for all of them: what one leaves behind is what the next one meets. */
let all: Promise<Seen[]> | undefined

for (const [at, [what, anonymous, user]] of Object.values(cases).entries()) {
  test(`H10, H13, L2: ${what} ends no process, and nothing is held afterwards`, async () => {
    all ??= run(...Object.keys(cases))
    assert.deepEqual((await all)[at], { answers: [anonymous, user], held: nothing, uncaught: [] })
  })
}

test('H8, L2: a listener of the request that throws when the client has left keeps no slot', async () => {
  const [{ answers, held, uncaught }] = (await run('close-listener')) as [Seen]
  assert.deepEqual(answers, [refused(401), 'left'])
  assert.deepEqual(held, nothing)
  // It is the app's own error, and Node says so.
  assert.equal(uncaught.length, 1)
})

const secret = 'what no client may read'

function fail(): never {
  throw new Error(secret)
}

/** Each error is a new one, whose property comes from a getter of its own. */
function throwing(property: string, makeGetter: () => () => unknown): () => never {
  return () => {
    throw Object.defineProperty(new Error('boom'), property, { enumerable: true, get: makeGetter() })
  }
}

function readableOnce(value: unknown): () => unknown {
  let reads = 0
  return () => (reads++ === 0 ? value : fail())
}

/** Fails at what is no line about a request: of those Fastify would not survive it. */
function failingLogger(): FastifyBaseLogger {
  const line = (fields: unknown): void => {
    if (Object.hasOwn(Object(fields), 'err')) fail()
  }
  const levels = { fatal: line, error: line, warn: line, info: line, debug: line, trace: line, silent: line }
  return { ...levels, level: 'info', child: failingLogger }
}

const serializing: TargetOptions['server'] = { logger: { ...captureLogs('info').logger, serializers: { err: fail } } }
interface Unreadable {
  readonly authorize: () => never
  readonly server?: TargetOptions['server']
  readonly status?: number
}
const unreadable: Readonly<Record<string, Unreadable>> = {
  'a logger that throws': { authorize: fail, server: { loggerInstance: failingLogger() } },
  'a serializer for errors that throws': { authorize: fail, server: serializing },
  'an error with a getter that throws': { authorize: throwing('response', () => fail) },
  'an error with a cause that throws': { authorize: throwing('cause', () => fail) },
  'a statusCode that throws the second time': {
    authorize: throwing('statusCode', () => readableOnce(400)),
    status: 400
  },
  'a code that throws the second time': { authorize: throwing('code', () => readableOnce('E_CODE')) },
  'a validation that throws the second time': { authorize: throwing('validation', () => readableOnce(undefined)) }
}

for (const [name, { authorize, server, status }] of Object.entries(unreadable)) {
  test(`H13: of ${name} no text is in the answer`, async (t) => {
    const target = await Target.start(t, { ...(server && { server }), route: { authorize } })
    const client = await target.dial()
    const answer = await client.handshake({ path: '/echo', headers: target.headers() })
    // A status that could be read may be kept.
    assertAnswer(answer, answer.statusCode === status ? status : 500)
    await client.serverEnd()
    await assertNothingHeld(target.app)
    target.hangUp()
    await assertNoSockets(target.app)
  })
}

test('H13, T1: of a trustProxy that throws when it is asked for the protocol no text is in the answer', async (t) => {
  const target = await Target.start(t, { server: { trustProxy: fail } })
  for (const [path, status] of Object.entries({ '/echo': 500, '/nope': 404 })) {
    const client = await target.dial()
    const headers = { ...target.headers(), 'X-Forwarded-Proto': 'https' }
    const answer = await client.handshake({ path, headers })
    assert.equal(answer.body, bodyOf(status), path)
    assert.equal(answer.statusCode, status)
    await client.serverEnd()
  }
  await assertNothingHeld(target.app)
})

function assertAnswer(answer: HttpAnswer, status: number): void {
  assertRefused(answer, status)
  assert.equal(JSON.stringify(answer).includes(secret), false)
}

const malformed: Readonly<Record<string, Record<string, string | null>>> = {
  'a key that is none': { 'Sec-WebSocket-Key': 'x' },
  'no key': { 'Sec-WebSocket-Key': null },
  'version 12': { 'Sec-WebSocket-Version': '12' },
  'a list of protocols that cannot be read': { 'Sec-WebSocket-Protocol': 'a,,b' },
  'a protocol offered twice': { 'Sec-WebSocket-Protocol': 'a, a' }
}

test("H13, R1: with refuse: 'close' what ws could not accept is refused over HTTP, by us, whatever the reason", async (t) => {
  const target = await Target.start(t, { guard: { refuse: 'close', limits: { attempts: { max: 1 } } } })
  await target.open()
  for (const [name, headers] of Object.entries(malformed)) {
    const client = await target.dial()
    const answer = await client.handshake({ path: '/echo', headers: { ...target.headers(), ...headers } })
    assert.equal(answer.body, bodyOf(429), name)
    assertRefused(answer, 429)
    await client.serverEnd()
  }
  // What ws can accept is told in the way that a browser can read.
  assert.equal((await closeFrameOf(await target.open())).code, 1013)
})

async function answerOfHook(target: Target, path: string): Promise<HttpAnswer> {
  const client = await target.dial()
  await client.write(handshakeRequest({ path, headers: target.headers() }))
  return client.answer()
}

test('H13: a status of a hook that is no status of a refusal is 500', async (t) => {
  const statuses: readonly unknown[] = [
    '403',
    404.5,
    {},
    { valueOf: () => 450 },
    [404],
    399,
    600,
    200,
    101,
    -1,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    null,
    true
  ]
  const target = await Target.start(t, {
    declare: (app) => {
      for (const [at, statusCode] of statuses.entries()) {
        const thrown = Object.assign(new Error(secret), { statusCode })
        app.wsRoute(`/hook/${at}`, { handler() {}, preHandler: async () => Promise.reject(thrown) })
        app.wsRoute(`/authorize/${at}`, { handler() {}, authorize: () => Promise.reject(thrown) })
      }
    }
  })
  for (const at of statuses.keys()) {
    for (const step of ['hook', 'authorize']) assertAnswer(await answerOfHook(target, `/${step}/${at}`), 500)
  }
})

test('H13: an integer from 400 to 599 is kept, and nothing else of the error', async (t) => {
  const statuses = [400, 401, 403, 404, 429, 451, 500, 503, 599]
  const target = await Target.start(t, {
    declare: (app) => {
      for (const statusCode of statuses) {
        const thrown = Object.assign(new Error(secret), { statusCode, headers: { 'x-secret': secret } })
        app.wsRoute(`/${statusCode}`, { handler() {}, preHandler: async () => Promise.reject(thrown) })
      }
    }
  })
  for (const status of statuses) {
    const answer = await answerOfHook(target, `/${status}`)
    assert.equal(answer.statusCode, status)
    assert.deepEqual(Object.keys(answer.json<object>()), ['statusCode', 'error', 'code'])
    assert.equal(answer.json<{ statusCode: unknown }>().statusCode, status)
    assert.equal(answer.body.includes(secret), false)
  }
})
