/**
 * A program whose own code throws where a handshake is refused or goes on. For each case that its arguments name it
 * shakes hands with itself twice, without a credential and as a user who may come in, and writes a line: what its clients
 * saw and what it held afterwards. An error that nobody catches ends it, as it would end a server.
 */
import type { AddressInfo } from 'node:net'
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import { type AppOptions, buildApp, echo, origin, tokenFor } from '../support/app.ts'
import { captureLogs } from '../support/log-capture.ts'
import { connect } from '../support/raw-client.ts'
import { connectionsOf, eventually, until, within } from '../support/wait.ts'

export interface Seen {
  /** The answers, in order; `destroyed` where the socket was instead, `left` where the client did not wait for one. */
  readonly answers: ReadonlyArray<{ readonly statusCode: number; readonly body: string } | 'destroyed' | 'left'>
  /** Sockets, handshakes, and slots of every kind. */
  readonly held: Readonly<Record<string, number>>
  /** The errors that nobody caught; only a case that says so goes on after them. */
  readonly uncaught: readonly string[]
}

interface Case {
  readonly server?: object
  readonly route?: object
  readonly headers?: Record<string, string>
  readonly path?: string
  readonly handlesUncaught?: boolean
  /** Clients leave as soon as this is true. */
  readonly leaves?: () => boolean
}

type Hook = (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) => void

function fail(): never {
  throw new Error('what no client may read')
}

const throwsAtGarbage = (address: string): boolean => (address === 'garbage' ? fail() : true)
const forwarded = { 'X-Forwarded-For': '203.0.113.9, garbage' }
/** Node throws for this header when the answer is sent, and the answer is then written without it. */
const setUnsendable: Hook = (_request, reply, done) => {
  reply.header('x-name', '\u4e00')
  done()
}
const begin: Hook = (_request, reply, done) => {
  reply.raw.flushHeaders()
  done()
}
const beginWithHead: Hook = (_request, reply, done) => {
  reply.raw.writeHead(200, { 'content-type': 'text/plain' })
  reply.raw.write('x')
  done()
}
const beginAndFail: Hook = (_request, reply, done) => {
  reply.raw.flushHeaders()
  done(new Error('what no client may read'))
}

/** It fails at all but the lines that Fastify writes: of its own it would survive no error. */
function failingLogger(): FastifyBaseLogger {
  const line = (fields: unknown): void => {
    if (isListening && !Object.hasOwn(Object(fields), 'req') && !Object.hasOwn(Object(fields), 'res')) fail()
  }
  const levels = { fatal: line, error: line, warn: line, info: line, debug: line, trace: line, silent: line }
  return { ...levels, level: 'info', child: failingLogger }
}

let isListening = false
let waiting = 0
const listenAndWait = async (request: FastifyRequest): Promise<void> => {
  request.raw.on('close', fail)
  waiting++
  await new Promise(() => {})
}

const cases: Readonly<Record<string, Case>> = {
  'trust-proxy': { server: { trustProxy: throwsAtGarbage }, headers: forwarded },
  'trust-proxy-of-an-unknown-path': { server: { trustProxy: throwsAtGarbage }, headers: forwarded, path: '/nope' },
  'head-flushed': { route: { onRequest: begin } },
  'head-and-body-written': { route: { onRequest: beginWithHead } },
  'head-flushed-in-the-last-hook': { route: { preHandler: begin } },
  'head-flushed-before-an-error': { route: { preHandler: beginAndFail } },
  'err-serializer': {
    server: { logger: { ...captureLogs('info').logger, serializers: { err: fail } } },
    route: { onRequest: setUnsendable }
  },
  logger: {
    server: { loggerInstance: failingLogger() },
    route: { onRequest: setUnsendable }
  },
  'schema-error-formatter': {
    server: { schemaErrorFormatter: fail },
    route: { schema: { querystring: { type: 'object', required: ['room'] } } }
  },
  'schema-error-formatter-behind-an-async-hook': {
    server: { schemaErrorFormatter: fail },
    route: {
      preValidation: async () => {},
      schema: { querystring: { type: 'object', required: ['room'] } }
    }
  },
  'close-listener': {
    route: { preHandler: listenAndWait },
    handlesUncaught: true,
    leaves: () => waiting > 0
  }
}

const uncaught: string[] = []

async function see(chosen: Case): Promise<Seen> {
  if (chosen.handlesUncaught) process.on('uncaughtException', ({ message }) => void uncaught.push(message))
  const store = new MemoryStore()
  const app = await buildApp({ server: chosen.server, guard: { store } } as AppOptions)
  app.wsRoute('/echo', { contract: echo, handlers: { say() {}, ask: () => ({ items: [] }) }, ...chosen.route })
  await app.listen({ port: 0, host: '127.0.0.1' })
  isListening = true
  const answers = [
    await shakeHands(app, chosen, { Origin: origin }),
    await shakeHands(app, chosen, { Origin: origin, Authorization: `Bearer ${tokenFor(app)}` })
  ]
  await eventually(async () => {
    if (Object.values(await held(app, store)).some((count) => count > 0)) throw new Error('something is held')
  }).catch(() => {})
  const seen: Seen = { answers, held: await held(app, store), uncaught: uncaught.splice(0) }
  isListening = false
  await within(app.close(), { timeoutMs: 8000, what: 'app.close()' })
  return seen
}

async function shakeHands(
  app: FastifyInstance,
  chosen: Case,
  headers: Record<string, string>
): Promise<Seen['answers'][number]> {
  await using client = await connect((app.server.address() as AddressInfo).port)
  client.socket.once('end', () => client.destroy())
  const answer = client.handshake({
    path: '/echo',
    ...chosen,
    headers: { ...headers, ...chosen.headers },
    timeoutMs: 4000
  })
  if (chosen.leaves !== undefined) answer.catch(() => {})
  try {
    if (chosen.leaves !== undefined && 'Authorization' in headers) {
      await until(chosen.leaves)
      client.reset()
      return 'left'
    }
    const { statusCode, body } = await answer
    return { statusCode, body }
  } catch (error) {
    if (!String(error).includes('the socket closed')) throw error
    return 'destroyed'
  }
}

async function held(app: FastifyInstance, store: MemoryStore): Promise<Record<string, number>> {
  const { handshakes = 0, slots = 0, unauthenticated = 0, refused = 0, connections = 0 } = app.wsGuard.stats()
  const sockets = await connectionsOf(app.server)
  return { handshakes, slots, unauthenticated, refused, connections, stored: store.sizes().slots as number, sockets }
}

for (const name of process.argv.slice(2)) console.log(JSON.stringify(await see(cases[name] as Case)))
