/** Every event for real, once: its log line and its message carry the fields the table declares, of their types. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import { closeCauses } from '../../lib/close-codes.ts'
import { eventFields, eventTable, type WsEvent, type WsEventName } from '../../lib/connection/event-table.ts'
import { defineContract } from '../../lib/contract.ts'
import { refusalReasons } from '../../lib/handshake/refusal.ts'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { StoreListener } from '../../lib/limits/store.ts'
import { goodHeaders, guarded, listen, rawClient } from '../handshake/harness.ts'
import { echo, tokenFor } from '../support/app.ts'
import type { LogLine } from '../support/log-capture.ts'
import type { RawClient } from '../support/raw-client.ts'
import { eventually, until } from '../support/wait.ts'
import { defined, eventNames, only, recordEvents } from './event-recorder.ts'

const timeoutMs = 10_000
const bulk = defineContract({
  name: 'bulk',
  clientToServer: { go: Type.Object({}) },
  serverToClient: { much: Type.Object({ text: Type.String() }) }
})
const say = { type: 'say', text: 'hello' }

/** Routes on which each event can be had. */
function declareRoutes(app: FastifyInstance): void {
  const handlers = {
    say: () => {
      throw new Error('in the log only')
    },
    ask: { authorize: () => false, handler: () => ({ items: [] }) }
  }
  app.wsRoute('/house/:room', {
    contract: echo,
    handlers,
    authorize: (user) => (user as { sub: string }).sub !== 'mallory'
  })
  app.wsRoute('/late', { contract: echo, handlers, auth: { from: ['message'] } })
  const tight = { messages: { perSecond: 1, burst: 1 } }
  app.wsRoute('/tight', { contract: echo, handlers, limits: tight })
  app.wsRoute('/still', { contract: echo, handlers, heartbeat: { intervalMs: 20, timeoutMs: 20 } })
  app.wsRoute('/bulk', {
    contract: bulk,
    limits: { sendBuffer: { softBytes: 65_536, hardBytes: 65_536 } },
    handlers: {
      go(_message, connection) {
        const text = 'x'.repeat(65_536)
        for (let count = 0; count < 1_000 && connection.send('much', { text }); count++);
      }
    }
  })
}

interface Scene {
  readonly app: FastifyInstance
  /** Opens a connection of alice, and sends. */
  readonly open: (path: string, ...messages: unknown[]) => Promise<RawClient>
  /** A handshake that is refused with this status. */
  readonly refused: (status: number, path: string, headers: Record<string, string | string[]>) => Promise<void>
}

async function play({ app, open, refused }: Scene): Promise<void> {
  const good = goodHeaders(tokenFor(app))
  await refused(403, '/house/a', { ...good, Origin: 'https://evil.example' })
  await refused(401, '/house/a', goodHeaders('nonsense'))
  await refused(403, '/house/a', goodHeaders(tokenFor(app, 'mallory')))
  await refused(404, '/nowhere', good)
  await refused(400, '/house/a', { ...good, Origin: [String(good.Origin), 'https://other.example'] })
  await refused(400, '/house/a', { ...good, Upgrade: 'h2c' })

  const house = await open('/house/a', say, { type: 'ask', count: 1 }, { type: 'x' }, { type: 'say', text: 5 })
  await house.sendJson({ type: 'auth', token: tokenFor(app, 'alice', { jti: 'second' }) })
  await until(() => house.frames.length >= 5, { timeoutMs })
  await house.sendText('not JSON')
  await house.serverEnd({ timeoutMs })
  await (await open('/house/a', { type: 'auth', token: 'nonsense' })).serverEnd({ timeoutMs })
  await open('/late', { type: 'auth', token: tokenFor(app) })
  await (await open('/late', { type: 'auth', token: 'nonsense' })).serverEnd({ timeoutMs })
  await open('/tight', say, say, say)
  await (await open('/still')).serverEnd({ timeoutMs })
  const unread = await open('/bulk')
  unread.pause()
  await unread.sendJson({ type: 'go' })
}

/** What a store with other nodes has to say. */
class StoreOfMany extends MemoryStore {
  #listener: StoreListener | undefined

  override open(listener?: StoreListener): void {
    this.#listener = listener
  }

  speak(): void {
    this.#listener?.onState('down', 'no answer in time')
    this.#listener?.onState('up')
    for (const payload of ['', 'echo\n{', 'echo\n{"type":"other"}', 'echo\n{"type":"said","text":5}']) {
      this.#listener?.onMessage('echo\nroom', payload)
    }
  }
}

interface Recording {
  readonly messages: readonly WsEvent[]
  readonly lines: readonly LogLine[]
}

/** What an app with real sockets says on its channels and in its log, from its first handshake to its last word. */
async function recording(t: TestContext): Promise<Recording> {
  const messages = recordEvents(t)
  const store = new StoreOfMany()
  const { app, logs } = await guarded(t, { guard: { store, shutdown: { timeoutMs: 500 } } })
  declareRoutes(app)
  const port = await listen(app)
  const open = async (path: string, ...sent: unknown[]): Promise<RawClient> => {
    const client = await rawClient(t, port)
    const headers = goodHeaders(path === '/late' ? undefined : tokenFor(app))
    assert.equal((await client.handshake({ path, headers, timeoutMs })).statusCode, 101)
    for (const message of sent) await client.sendJson(message)
    return client
  }
  const refused: Scene['refused'] = async (status, path, headers) => {
    const client = await rawClient(t, port)
    assert.equal((await client.handshake({ path, headers, timeoutMs })).statusCode, status)
    client.destroy()
  }
  await play({ app, open, refused })
  store.speak()
  const awaited = eventNames.filter((name) => name !== 'ws.drain')
  const missing = (): WsEventName[] => awaited.filter((name) => only(messages, name).length === 0)
  await eventually(() => assert.deepEqual(missing(), []), { timeoutMs })
  await app.close()
  return { messages, lines: logs.lines.filter(({ event }) => event !== undefined) }
}

/** The fields of a payload, without its name. */
function fieldsOf({ event: _event, ...fields }: WsEvent): Record<string, unknown> {
  return defined(fields)
}

function isOf(type: string, value: unknown): boolean {
  if (type === 'CloseCause') return Object.hasOwn(closeCauses, String(value))
  if (type === 'string[]') return Array.isArray(value) && value.every((item) => typeof item === 'string')
  return typeof value === type
}

const lateReasons = ['session_expired', 'unauthorized', 'unavailable']
const known: Partial<Record<WsEventName, readonly string[]>> = {
  'ws.refused': Object.keys(refusalReasons),
  'ws.auth_failed': [...Object.keys(refusalReasons), ...lateReasons]
}

test('P2: each event, for real: the declared fields, all of them and no others, on the channel and in the log', async (t) => {
  const { messages, lines } = await recording(t)
  for (const name of eventNames) {
    await t.test(name, () => checkEvent(name, only(messages, name)))
  }
  await t.test('the lines say what the messages say', () => checkLines(messages, lines))
})

function checkEvent(name: WsEventName, messages: readonly WsEvent[]): void {
  const { labels, details, optional, ...entry } = eventTable[name]
  const declared = [...labels, ...details].sort()
  for (const message of messages) {
    const fields = fieldsOf(message)
    const missing = declared.filter((field) => !Object.hasOwn(fields, field))
    assert.deepEqual(
      missing.filter((field) => !(optional as readonly string[]).includes(field)),
      [],
      'a field is missing'
    )
    for (const [field, value] of Object.entries(fields)) {
      assert.ok((declared as string[]).includes(field), `the field ${field} is not declared`)
      assert.ok(isOf(eventFields[field as keyof typeof eventFields].type, value), `${field}: ${value}`)
    }
    const reasons = 'reasons' in entry ? entry.reasons : known[name]
    if (reasons !== undefined) assert.ok(reasons.includes(fields.reason as never), String(fields.reason))
  }
  const produced = new Set(messages.flatMap((message) => Object.keys(fieldsOf(message))))
  assert.deepEqual([...produced].sort(), declared)
}

function checkLines(messages: readonly WsEvent[], lines: readonly LogLine[]): void {
  const levels = { info: 30, warn: 40, error: 50 }
  const said = lines.map(({ time: _time, pid: _pid, hostname: _hostname, reqId: _reqId, err, ...line }) => {
    const { level, msg, ...fields } = line
    const name = fields.event as WsEventName
    assert.ok(eventNames.includes(name), `${name} is not declared`)
    assert.equal(level, levels[eventTable[name].level])
    assert.equal(msg, name)
    assert.equal((err as { message: string } | undefined)?.message, errorOf(name))
    return fields
  })
  assert.deepEqual(said, messages.map(defined))
}

/** What was thrown is in the line of one event only, and never on a channel. */
function errorOf(name: WsEventName): string | undefined {
  return name === 'ws.handler_error' ? 'in the log only' : undefined
}
