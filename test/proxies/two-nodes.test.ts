/** The example as two nodes behind nginx, started by its own command and killed in earnest. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { poll } from '../support/redis-ask.ts'
import { RedisServer } from '../support/redis-server.ts'
import { once } from '../support/wait.ts'
import { skipWithout } from './processes.ts'
import { type EnterOptions, isAlive, signIn, startTwoNodes, type TwoNodes, Visitor } from './two-nodes.ts'

const perUser = 10
// A node vouches for its people for 6 s, and another one looks every 2 s.
const vouchMs = 8_000
const slackMs = 7_000

describe('the example as two nodes', { skip: skipWithout('nginx', 'redis-server'), timeout: 150_000 }, () => {
  let command: TwoNodes
  let redis: RedisServer
  let tokens: Record<'Ada' | 'Grace' | 'Joan', string>
  let ada: Visitor
  let grace: Visitor
  const visitors: Visitor[] = []

  const enter = async (token: string, more: EnterOptions = {}): Promise<Visitor> => {
    const visitor = await Visitor.enter(command.port, token, more)
    visitors.push(visitor)
    return visitor
  }
  const killNode = (node: string) => process.kill(command.pids.get(`node ${node}`) as number, 'SIGKILL')

  before(async () => {
    redis = await RedisServer.start()
    command = await startTwoNodes({ REDIS_URL: redis.url })
    const [one, two, three] = await Promise.all(['Ada', 'Grace', 'Joan'].map((name) => signIn(command.port, name)))
    tokens = { Ada: one as string, Grace: two as string, Joan: three as string }
  })
  after(async () => {
    for (const visitor of visitors) visitor.leave()
    await command?.stop()
    await redis?.stop()
  })

  test('two people who come one after the other are on two nodes, and see each other', async () => {
    ada = await enter(tokens.Ada)
    grace = await enter(tokens.Grace)
    assert.deepEqual([ada.answer.statusCode, grace.answer.statusCode], [101, 101])
    assert.deepEqual([ada.node, grace.node].sort(), ['1', '2'])
    await Promise.all([ada.sees(['Ada', 'Grace']), grace.sees(['Ada', 'Grace'])])
  })

  test('what is said on one node is heard on the other, both ways, and ids increase', async () => {
    const ids: unknown[] = []
    for (const [from, to, text] of [
      [ada, grace, 'from one node'],
      [grace, ada, 'from the other'],
      [ada, grace, 'and back']
    ] as const) {
      const { id } = (await from.asks('chat', { text })) as { id: number }
      const heard = await to.hears(({ type }) => type === 'chat')
      assert.deepEqual([heard.id, heard.text], [id, text])
      ids.push(id)
    }
    assert.deepEqual(ids, [...ids].sort())
    assert.equal(new Set(ids).size, 3)
  })

  test('the history is the same on both nodes', async () => {
    const histories = [await ada.asks('history', { limit: 50 }), await grace.asks('history', { limit: 50 })]
    assert.deepEqual(histories[0], histories[1])
    const { items } = histories[0] as { items: { text: string }[] }
    assert.deepEqual(
      items.map(({ text }) => text),
      ['from one node', 'from the other', 'and back']
    )
    assert.deepEqual(await grace.asks('history', { limit: 1 }), { items: items.slice(-1) })
  })

  test('one person on both nodes is one person, until the last window is closed', async () => {
    const windows = [await enter(tokens.Joan), await enter(tokens.Joan)]
    assert.notEqual(windows[0]?.node, windows[1]?.node)
    const { online } = await ada.hears(({ people }) => (people as string[] | undefined)?.includes('Joan') ?? false)
    assert.equal(online, 3)
    windows[0]?.leave()
    const still = await windows[1]?.hears(({ type }) => type === 'presence')
    assert.equal(still?.online, 3)
    windows[1]?.leave()
    await Promise.all([ada.sees(['Ada', 'Grace']), grace.sees(['Ada', 'Grace'])])
  })

  test('N1: the limit of connections per user is one for both nodes', async () => {
    const token = await signIn(command.port, 'Everywhere')
    const opened = await Promise.all(Array.from({ length: perUser + 4 }, () => enter(token, { room: 'garden' })))
    const statuses = opened.map(({ answer }) => answer.statusCode).sort()
    assert.deepEqual(statuses, [...Array(perUser).fill(101), ...Array(4).fill(429)])
    for (const visitor of opened) visitor.leave()
  })

  test('T4: the nodes see the address that nginx saw, whatever the client claims', async () => {
    await enter(tokens.Joan, { room: 'backstage', from: '127.0.1.5' })
    const line = /^node [12] \| .*"remoteAddress":"127\.0\.1\.5"/m
    await poll('a line with the address', 10_000, async () => line.test(command.output()))
    assert.doesNotMatch(command.output(), /203\.0\.113/)
  })

  test('the attack console learns of a refusal whichever node it asks', async () => {
    const refused = await enter(tokens.Joan, { room: 'backstage' })
    assert.equal(refused.answer.statusCode, 403)
    const asked = new Set<string | null>()
    for (let n = 0; n < 4; n++) {
      const headers = { authorization: `Bearer ${tokens.Joan}` }
      const answer = await fetch(`http://127.0.0.1:${command.port}/demo/last-refusal`, { headers })
      asked.add(answer.headers.get('x-node'))
      assert.deepEqual(await answer.json(), { status: 403, reason: 'forbidden' })
    }
    assert.equal(asked.size, 2)
  })

  test('N5: every key has a TTL, and none names an address or a user', async () => {
    const keys = await redis.keys()
    assert.ok(keys.includes('chat:lobby:people') && keys.includes('chat:lobby:lines'), String(keys))
    assert.doesNotMatch(keys.join(), /127\.0|Ada|Grace/)
    for (const key of keys) assert.ok(Number(await redis.ask('PTTL', key)) > 0, key)
  })

  test('N2: while Redis does not answer nobody comes in and nothing hangs; then all goes on', async (t) => {
    t.after(() => redis.thaw())
    redis.freeze()
    const refused = await enter(tokens.Joan, { patient: false })
    assert.equal(refused.answer.statusCode, 503)
    const { type, code } = await ada.tells('chat', { text: 'into the void' })
    assert.deepEqual([type, code], ['error', 'internal'])
    redis.thaw()
    const joan = await enter(tokens.Joan, { room: 'garden' })
    assert.equal(joan.answer.statusCode, 101)
    joan.leave()
    await ada.asks('chat', { text: 'and again' })
    assert.equal((await grace.hears(({ text }) => text === 'and again')).from, 'Ada')
  })

  test('kill -9 of a node: its people vanish, the other goes on, and they come back through nginx', async () => {
    killNode(grace.node)
    await grace.lost()
    await ada.sees(['Ada'], vouchMs + slackMs)

    const again = await enter(tokens.Grace)
    assert.deepEqual([again.answer.statusCode, again.node], [101, ada.node])
    await ada.sees(['Ada', 'Grace'])
    await again.asks('chat', { text: 'back again' })
    await ada.hears(({ text }) => text === 'back again')
    const { items } = (await again.asks('history', { limit: 50 })) as { items: unknown[] }
    assert.ok(items.length >= 5)
    assert.ok(command.output().includes(`node ${grace.node} has ended; node ${ada.node} goes on\n`))
  })

  test('when the last node has ended, the rest is stopped, but not the Redis that was there before', async () => {
    killNode(ada.node)
    await poll('the end of the command', 20_000, async () => [...command.pids.values()].every((pid) => !isAlive(pid)))
    assert.deepEqual([...command.pids.keys()].sort(), ['nginx', 'node 1', 'node 2'])
    assert.equal(await redis.ask('PING'), 'PONG')
  })
})

describe('the command that starts two nodes', { timeout: 150_000 }, () => {
  test('Ctrl-C closes with 1012, and leaves no process', { skip: skipWithout('nginx', 'redis-server') }, async (t) => {
    const command = await startTwoNodes()
    t.after(() => command.stop())
    const { pids, port } = command
    assert.deepEqual([...pids.keys()].sort(), ['nginx', 'node 1', 'node 2', 'redis'])
    assert.ok([...pids.values()].every(isAlive))
    const token = await signIn(port, 'Ada')
    const windows = [await Visitor.enter(port, token), await Visitor.enter(port, token)]
    const codes = Promise.all(
      windows.map(async (window) => {
        const code = await window.closeCode()
        window.leave()
        return code
      })
    )
    await command.stop('SIGINT')
    assert.deepEqual(await codes, [1012, 1012])
    for (const [name, pid] of pids) assert.equal(isAlive(pid), false, name)
  })

  test('it stops when nobody reads what it prints', { skip: skipWithout('nginx', 'redis-server') }, async () => {
    const { child, port, pids } = await startTwoNodes()
    child.stdout.destroy()
    const ended = once(child, 'exit', { timeoutMs: 20_000 })
    await fetch(`http://127.0.0.1:${port}/`).catch(() => {}) // the nodes log it
    await ended
    for (const [name, pid] of pids) assert.equal(isAlive(pid), false, name)
  })

  test('it says that the port is taken', { skip: skipWithout('nginx', 'redis-server') }, async (t) => {
    const taken = await RedisServer.startFor(t)
    await assert.rejects(startTwoNodes({}, taken.port), /EADDRINUSE: address already in use 127\.0\.0\.1:/)
  })

  test('it says what is missing', { skip: skipWithout('nginx') }, async () => {
    const failed = startTwoNodes({ PATH: '/nowhere' })
    await assert.rejects(failed, /needs redis-server: sudo apt-get install redis-server/)
  })
})
