/** What the app publishes, to subscribers of its own node and of another one: every one of them has every message. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { RedisServer } from '../support/redis.ts'
import { type Contestant, guarded } from './contestants.ts'
import { contestantsFromSources, shortBench, skipUnlessLinux, sourcesEnv } from './for-tests.ts'
import { publish as publishTo } from './generator.ts'
import { Inputs } from './inputs.ts'
import { publish, publishLoad } from './loads/publish.ts'
import { ServerProcess } from './server-process.ts'

interface Counts {
  readonly handshakes: number
  readonly messages: number
}

const conns = 8
const places = ['one node', 'two nodes']
const windows = ['1 under way', '8 under way']

async function startNode(t: TestContext, redis?: RedisServer): Promise<ServerProcess> {
  const env = { ...(await sourcesEnv()), ...(redis !== undefined && { BENCH_REDIS: redis.url }) }
  const server = await ServerProcess.start({ file: 'publish.mjs', env })
  t.after(() => server.stop())
  return server
}

async function optionsFor(t: TestContext, subscribers: ServerProcess, publisher: ServerProcess) {
  const [contestant] = (await contestantsFromSources([guarded])) as [Contestant]
  const inputs = new Inputs()
  t.after(() => inputs.remove())
  const payload = inputs.payload(contestant, 120)
  return {
    ...inputs.connecting(contestant, conns),
    port: `${subscribers.port},${publisher.port}`,
    pid: String(subscribers.pid),
    path: '/subscribe',
    publishPath: '/publish',
    payload,
    prelude: payload,
    preludeReplies: 1,
    conns,
    window: 4,
    seconds: 0.1
  }
}

describe('publish', { skip: skipUnlessLinux, timeout: 120_000 }, () => {
  it('each publish of one node reaches each subscriber of the other one once, and nobody else', async (t) => {
    const redis = await RedisServer.startFor(t)
    const [here, there] = await Promise.all([startNode(t, redis), startNode(t, redis)])
    const { sent, received, messages, p50Us, p99Us, cpuUs } = await publishTo(await optionsFor(t, there, here))
    assert.ok(messages > 0 && received >= messages)
    assert.equal(received, sent * conns)
    assert.ok(p50Us > 0 && p99Us >= p50Us && cpuUs > 0)
    assert.deepEqual(await here.ask<Counts>('counts'), { handshakes: 0, messages: sent })
    assert.deepEqual(await there.ask<Counts>('counts'), { handshakes: conns, messages: 0 })
  })

  it('each publish reaches each subscriber of the same node once', async (t) => {
    const node = await startNode(t)
    const { sent, received } = await publishTo(await optionsFor(t, node, node))
    assert.ok(sent > 0)
    assert.equal(received, sent * conns)
    assert.deepEqual(await node.ask<Counts>('counts'), { handshakes: conns, messages: sent })
  })

  it('nodes that share no Redis are told from those that do', async (t) => {
    const [here, there] = await Promise.all([startNode(t), startNode(t)])
    await assert.rejects(publishTo(await optionsFor(t, there, here)), /nothing came back/)
  })

  it('a publisher that is a subscriber itself is told', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'ws-guard-publish-test-'))
    t.after(() => rm(folder, { recursive: true, force: true }))
    const [contestant] = (await contestantsFromSources(['c'])) as [Contestant]
    const server = await ServerProcess.start(contestant)
    t.after(() => server.stop())
    const payload = join(folder, 'payload')
    await writeFile(payload, 'anything')
    const { prelude: _prelude, preludeReplies: _replies, ...options } = await optionsFor(t, server, server)
    const toAll = { ...options, path: '/fan', publishPath: '/fan', payload }
    await assert.rejects(publishTo(toAll), /a delivery to the one that only publishes/)
  })

  it('the load has a row for each place and each number under way', async (t) => {
    const bench = await shortBench()
    t.after(() => bench.stop())
    const runs = await publish.measure(bench, await contestantsFromSources([guarded]))
    assert.deepEqual(
      runs.map(({ server }) => server),
      places.flatMap((place) => windows.map((window) => `guarded, ${place}, ${window}`))
    )
    for (const { server, values } of runs) {
      for (const { key } of publish.metrics) assert.ok((values[key] as number) > 0, `${server}: ${key} ${values[key]}`)
    }
    assert.deepEqual(bench.notes, [])
  })

  it('without a redis-server it says so, and measures one node', async (t) => {
    const bench = await shortBench()
    t.after(() => bench.stop())
    const runs = await publishLoad(() => false).measure(bench, await contestantsFromSources([guarded]))
    assert.deepEqual(
      runs.map(({ server }) => server),
      windows.map((window) => `guarded, one node, ${window}`)
    )
    assert.deepEqual(bench.notes, ['publish across two nodes did not run: there is no redis-server on the PATH'])
  })
})
