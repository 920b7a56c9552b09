/** The rooms of the example: in memory and on Redis they are the same to who uses them. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, before, describe, type TestContext, test } from 'node:test'
import { Redis } from 'ioredis'
import { RedisRooms } from '../../example-app/redis-rooms.ts'
import { openRooms, type Room, type Rooms } from '../../example-app/rooms.ts'
import { RedisServer } from '../support/redis-server.ts'
import { within } from '../support/wait.ts'
import { skipWithout } from './processes.ts'

const lobbyOf = (rooms: Rooms): Room => rooms.get('lobby') as Room
const names = async (room: Room): Promise<string[]> => (await room.presence()).people.sort()
const texts = async (room: Room, limit = 50): Promise<string[]> => (await room.last(limit)).map(({ text }) => text)

/** What holds in memory and on Redis. */
function sameFor(lobby: () => Room): void {
  test('the last 50 lines are kept, oldest first', async () => {
    for (let n = 1; n <= 52; n++) await lobby().say('Ada', `line ${n}`)
    const kept = await lobby().last(50)
    assert.equal(kept.length, 50)
    assert.deepEqual([kept[0]?.text, kept.at(-1)?.text], ['line 3', 'line 52'])
    assert.deepEqual(await texts(lobby(), 2), ['line 51', 'line 52'])
    const ids = kept.map(({ id }) => id)
    assert.ok(ids.every((id, n) => n === 0 || id > (ids[n - 1] as number)))
  })

  test('two windows are one person', async () => {
    for (const name of ['Ada', 'Grace', 'Ada']) await lobby().enter(name)
    assert.deepEqual(await names(lobby()), ['Ada', 'Grace'])
    await lobby().leave('Ada')
    assert.deepEqual(await names(lobby()), ['Ada', 'Grace'])
    await lobby().leave('Ada')
    const { people, online, version } = await lobby().presence()
    assert.deepEqual([people, online], [['Grace'], 1])
    await lobby().leave('Grace')
    const empty = await lobby().presence()
    assert.deepEqual([empty.people, empty.online], [[], 0])
    assert.ok(empty.version > version)
  })

  test('at most 100 names are told, and how many there are', async () => {
    for (let n = 0; n < 101; n++) await lobby().enter(`guest ${n}`)
    const { people, online } = await lobby().presence()
    assert.deepEqual([people.length, online], [100, 101])
    for (let n = 0; n < 101; n++) await lobby().leave(`guest ${n}`)
  })
}

describe('rooms in memory', () => {
  const rooms = openRooms()
  sameFor(() => lobbyOf(rooms))
})

describe('rooms on Redis', { skip: skipWithout('redis-server'), timeout: 60_000 }, () => {
  let redis: RedisServer

  /** A node of its own, which dies when its connection is cut: nothing more of it is heard. */
  const openNode = (t?: TestContext) => {
    const client = new Redis(redis.url, { maxRetriesPerRequest: 1 })
    client.on('error', () => {})
    const rooms = new RedisRooms(client)
    const die = () => {
      rooms.close()
      client.disconnect()
    }
    t?.after(die)
    return { rooms, lobby: lobbyOf(rooms), die }
  }

  before(async () => {
    redis = await RedisServer.start()
  })
  after(() => redis?.stop())

  let first: ReturnType<typeof openNode>
  sameFor(() => {
    first ??= openNode()
    return first.lobby
  })
  after(() => first?.die())

  test('what one node writes the other reads; ids and versions increase over both', async (t) => {
    await redis.ask('FLUSHALL')
    const [one, two] = [openNode(t), openNode(t)]
    await Promise.all([one.lobby.enter('Ada'), two.lobby.enter('Grace'), two.lobby.enter('Ada')])
    assert.deepEqual(await names(one.lobby), ['Ada', 'Grace'])
    const versions = [await one.lobby.presence(), await two.lobby.presence()].map(({ version }) => version)
    assert.ok((versions[0] as number) < (versions[1] as number))
    await two.lobby.leave('Ada')
    assert.deepEqual(await names(two.lobby), ['Ada', 'Grace'], 'she is still on the first')
    const said = await Promise.all(
      Array.from({ length: 20 }, (_, n) => (n % 2 ? one : two).lobby.say('Ada', `line ${n}`))
    )
    assert.equal(new Set(said.map(({ id }) => id)).size, 20)
    const ids = (await one.lobby.last(50)).map(({ id }) => id)
    assert.deepEqual(
      ids,
      [...ids].sort((a, b) => a - b)
    )
    assert.deepEqual(await one.lobby.last(50), await two.lobby.last(50))
  })

  test('the people of a node that died are gone, and one of the others is told', async (t) => {
    await redis.ask('FLUSHALL')
    const [one, two] = [openNode(t), openNode(t)]
    const told = new Promise<string>((resolve) => one.rooms.watch?.(async (id) => resolve(id)))
    await one.lobby.enter('Ada')
    await two.lobby.enter('Grace')
    two.die()
    assert.deepEqual(await names(one.lobby), ['Ada', 'Grace'], 'not before its time is over')
    assert.equal(await within(told, { timeoutMs: 20_000, what: 'word of the dead node' }), 'lobby')
    assert.deepEqual(await names(one.lobby), ['Ada'])
  })

  test('a Redis that forgot everything is told again who is here, and ids go on', async (t) => {
    const { rooms, lobby } = openNode(t)
    await lobby.enter('Ada')
    const { id } = await lobby.say('Ada', 'before')
    await redis.ask('FLUSHALL')
    const told = new Promise<string>((resolve) => rooms.watch?.(async (room) => resolve(room)))
    assert.equal(await within(told, { timeoutMs: 20_000, what: 'word of the return' }), 'lobby')
    assert.deepEqual(await names(lobby), ['Ada'])
    assert.ok((await lobby.say('Ada', 'after')).id > id)
    assert.deepEqual(await texts(lobby), ['after'])
  })

  test('everything has a TTL, and nothing hangs while Redis does not answer', async (t) => {
    const { lobby } = openNode(t)
    await lobby.enter('Ada')
    await lobby.say('Ada', 'hello')
    for (const key of await redis.keys()) assert.ok(Number(await redis.ask('PTTL', key)) > 0, key)
    await redis.kill()
    await assert.rejects(within(Promise.resolve(lobby.say('Ada', 'into the void')), { timeoutMs: 10_000 }), {
      name: 'MaxRetriesPerRequestError'
    })
    await redis.restart()
  })
})

test('without REDIS_URL the example loads nothing of Redis', () => {
  const script = `
    import { createRequire } from 'node:module'
    const loaded = () => Object.keys(createRequire(import.meta.url).cache).some((path) => path.includes('/ioredis/'))
    const { buildApp } = await import(${JSON.stringify(new URL('../../example-app/server.ts', import.meta.url))})
    const options = { origins: ['http://127.0.0.1:3000'], secret: 'x'.repeat(32) }
    const app = await buildApp(options)
    await app.ready()
    await app.close()
    const without = loaded()
    await import('ioredis')
    console.log(JSON.stringify({ without, with: loaded() }))`
  const args = ['--import', 'tsx', '--input-type=module', '--eval', script]
  const output = execFileSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 })
  assert.deepEqual(JSON.parse(output), { without: false, with: true })
})
