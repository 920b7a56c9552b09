/** limits.userMessages of a store that takes its time: nothing is read, lost, served twice or out of order meanwhile. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inflowOf } from '../../lib/connection/inflow.ts'
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import { frame, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { closeFrameOf, deferred, frames, Guard, type GuardOptions, say, settled, texts } from './harness.ts'

type Question = ReturnType<typeof deferred<boolean>>

/** Asks whoever tests it, as long as there is no `answer`. */
class AskedStore extends MemoryStore {
  readonly questions: Question[] = []
  answer: boolean | undefined

  override takeUserBudget(): never {
    if (this.answer !== undefined) return this.answer as never
    const question = deferred<boolean>()
    this.questions.push(question)
    return question.promise as never
  }
}

const userMessages = { perSecond: 100, burst: 100 }

async function start(t: Parameters<typeof Guard.start>[0], options: GuardOptions = {}) {
  const store = new AskedStore()
  const limits = { userMessages, ...options.limits }
  const guard = await Guard.start(t, { ...options, store, limits })
  const { client, connection } = await guard.connect()
  const question = (at: number): Promise<Question> => until(() => store.questions[at], { what: `question ${at}` })
  return { store, guard, client, connection, question }
}

function said(client: RawClient): unknown[] {
  return texts(client)
    .filter(({ type }) => type === 'said')
    .map(({ text }) => text)
}

const numbered = (count: number): Buffer =>
  frames(...Array.from({ length: count }, (_, at) => say(String(at), `ref ${at}`)))

test('R3: while the store is asked nothing is read; then everything runs in the order in which it came', async (t) => {
  const { store, client, connection, question } = await start(t)
  await client.write(numbered(5))
  const first = await question(0)
  await until(() => inflowOf(connection).waiting?.frames.length === 4)
  assert.equal(connection.socket.isPaused, true)
  assert.equal(store.questions.length, 1, 'one at a time')
  assert.deepEqual(said(client), [])
  first.resolve(true)
  const second = await question(1)
  assert.equal(connection.socket.isPaused, true)
  store.answer = true
  second.resolve(true)
  await settled(client)
  assert.deepEqual(said(client), ['0', '1', '2', '3', '4'])
  assert.equal(connection.socket.isPaused, false)
  assert.equal(inflowOf(connection).waiting, undefined)
})

test('R3: what the store refuses is dropped and answered, as with an empty bucket', async (t) => {
  const { store, guard, client, connection, question } = await start(t)
  await client.write(numbered(3))
  ;(await question(0)).resolve(true)
  const second = await question(1)
  store.answer = false
  second.resolve(false)
  const answer = await until(() => texts(client).find(({ code }) => code === 'rate_limited'))
  assert.equal(answer.ref, 'ref 1')
  assert.equal(inflowOf(connection).spell?.dropped, 2)
  store.answer = true
  guard.clock.ms += 10_000
  const end = await until(() => texts(client).find(({ dropped }) => dropped !== undefined))
  assert.deepEqual(end.refs, ['ref 2'])
  await settled(client)
  assert.deepEqual(said(client), ['0'])
})

test('R3: a message that the connection itself may not send costs the user nothing', async (t) => {
  const { store, client, connection } = await start(t, { limits: { messages: { perSecond: 0.001, burst: 1 } } })
  store.answer = true
  await client.write(numbered(1))
  await until(() => connection.isPausedBy(1))
  store.answer = undefined
  connection.resume(1)
  await client.write(numbered(1))
  await until(() => inflowOf(connection).spell?.dropped === 1)
  assert.equal(store.questions.length, 0)
})

test('N2: a store that fails ends the connection with 1013, and so does one that never answers', async (t) => {
  const failing = await start(t)
  await failing.client.sendJson(say('a'))
  ;(await failing.question(0)).reject(new Error('gone'))
  assert.deepEqual(await closeFrameOf(failing.client), { code: 1013, reason: 'unavailable' })

  const silent = await start(t, { handlerTimeoutMs: 1_000 })
  await silent.client.sendJson(say('a'))
  const question = await silent.question(0)
  silent.guard.tick(999)
  assert.equal(silent.connection.state, 'open')
  silent.guard.tick(1)
  assert.deepEqual(await closeFrameOf(silent.client), { code: 1013, reason: 'unavailable' })
  question.resolve(true)
  await question.promise
  assert.deepEqual(said(silent.client), [])
})

test('R7: what waits for the store is bounded by the bytes of a burst', async (t) => {
  const bytes = { perSecond: 100_000, burst: 5_000 }
  const { client } = await start(t, { limits: { bytes, maxPayloadBytes: 5_000 } })
  await client.write(numbered(60))
  assert.deepEqual(await closeFrameOf(client), { code: 1008, reason: 'rate_limited' })
})

test('L1: an end while the store is asked leaves nothing, and nothing runs afterwards', async (t) => {
  const { client, connection, guard, question } = await start(t)
  await client.write(numbered(3))
  const first = await question(0)
  connection.close()
  assert.equal(inflowOf(connection).waiting, undefined)
  first.resolve(true)
  await closeFrameOf(client)
  client.destroy()
  await until(() => guard.closes.length === 1)
  assert.deepEqual(said(client), [])
  assert.deepEqual(
    Object.values(guard.held()).filter((count) => count > 1),
    []
  )
})

test('R3: delayed messages keep their order when the store refuses the first of them', async (t) => {
  const messages = { perSecond: 1_000, burst: 1, onExceeded: 'delay' as const }
  const { store, guard, client, connection, question } = await start(t, { limits: { messages } })
  store.answer = true
  await client.write(numbered(4))
  await until(() => inflowOf(connection).spell?.delayed.length === 3)
  store.answer = undefined
  const clock = setInterval(() => {
    guard.clock.ms += 10
  }, 1)
  t.after(() => clearInterval(clock))
  const asked = await question(0)
  assert.equal(inflowOf(connection).spell?.delayed.length, 2)
  asked.resolve(false)
  const again = await question(1)
  store.answer = true
  again.resolve(true)
  await until(() => said(client).length === 4)
  assert.deepEqual(said(client), ['0', '1', '2', '3'])
})

test('R3: listeners of a raw route see a frame at once; what the store refuses is a debt', async (t) => {
  const seen: string[] = []
  const { guard, client, connection, question } = await start(t, {
    raw: true,
    onOpen: ({ socket }) => {
      socket.binaryType = 'arraybuffer'
      socket.on('message', (data: Buffer) => seen.push(String(data)))
    }
  })
  await client.write(numbered(2))
  const first = await question(0)
  assert.equal(seen.length, 2)
  assert.equal(connection.socket.isPaused, true)
  const before = inflowOf(connection).messages.available(0)
  first.resolve(false)
  const second = await question(1)
  assert.equal(inflowOf(connection).messages.available(0), before - 1)
  second.resolve(true)
  await until(() => inflowOf(connection).waiting === undefined)
  assert.equal(inflowOf(connection).messages.available(0), before - 2)
  guard.clock.ms += 10_000
  await until(() => !connection.socket.isPaused)
  await client.write(frame({ opcode: opcodes.binary, payload: Buffer.from('x') }))
  ;(await question(2)).resolve(true)
  await until(() => inflowOf(connection).waiting === undefined)
  assert.deepEqual(seen.slice(2), ['[object ArrayBuffer]'])
})
