/** A test for each way to fail at each place. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { LogLine } from '../support/log-capture.ts'
import { until } from '../support/wait.ts'
import { assertNoSecret, type Child, child, patience, stopChild, type Witness } from './child.ts'
import type { Visit } from './drives.ts'
import { failures } from './failures.ts'
import { failuresOf, type Outcome, outcomeOf, type Place } from './outcomes.ts'

/** @param ids the threats, as titles begin with them */
export function testPlaces(ids: string, places: Readonly<Record<string, Place>>): void {
  after(stopChild)
  for (const [name, place] of Object.entries(places)) {
    for (const failure of failuresOf(place)) {
      test(`${ids}: ${name} that ${failure} ends no process, and nothing is left`, () =>
        onOwnServer(() => tryOut(name, place, failure)))
    }
  }
}

/** What has failed once leaves no trace in the tests behind it. */
export async function onOwnServer(run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    stopChild()
    throw error
  }
}

async function tryOut(name: string, place: Place, failure: string): Promise<void> {
  const server = await child()
  const witness = await server.dial()
  const [expected, line] = outcomeOf(place, failure)
  await server.call('begin')
  const visit: Visit = {
    child: server,
    client: witness.client,
    prefix: ['hangs', 'left'].includes(String(failures[failure]?.effect)) || line?.endsWith('timeout') ? '/hasty' : '',
    arm: () => server.call('arm', placeOf(name), failure, place.skip ?? 0),
    expected
  }
  if (expected === 'left') await leave(visit, place)
  else assert.equal(startOf(await server.alive(place.drive(visit)), expected), expected)
  await assertReached(server, place)
  await server.call('disarm')
  witness.client.destroy()
  await server.call('rejectLate')
  await assertLine(server, line)
  await assertAfter(server, witness)
}

/** `auth.verify (refresh)` is `auth.verify`, come to in another way. */
function placeOf(name: string): string {
  return name.replace(/ \(.*\)$/, '')
}

/** Of an answer with a body only its kind is compared. */
function startOf(seen: string, expected: string): string {
  return expected === 'reply' ? seen.slice(0, expected.length) : seen
}

/** The client goes while it is waited for what will fail. */
async function leave(visit: Visit, { drive }: Place): Promise<void> {
  const { child: server, client } = visit
  const driven = drive(visit).catch(() => {})
  await until(async () => (await server.call<number>('timesReached')) > 0, patience)
  client.reset()
  await driven
  await client.closed
  await server.eventually(async () => {
    const { connections, handshakes } = await server.call<Record<string, number>>('held')
    assert.deepEqual({ connections, handshakes }, { connections: 1, handshakes: 0 })
  })
  assert.ok((await server.call<number>('rejectLate')) > 0)
}

async function assertReached(server: Child, { isNeverReached }: Place): Promise<void> {
  await server.eventually(async () => {
    const times = await server.call<number>('timesReached')
    assert.equal(times === 0, isNeverReached === true, `the place was come to ${times} times`)
  })
}

/** The log says why, and of whom. */
async function assertLine(server: Child, expected: Outcome[1]): Promise<void> {
  if (expected === undefined) return
  const [event, reason] = expected.split(' ')
  await server.eventually(async () => {
    const lines = await server.lines()
    const found = lines.find((line) => line.event === event && line.reason === reason)
    assert.ok(found, `${expected} is not among ${JSON.stringify(lines.map(shown))}`)
    if (event === 'ws.handler_error' || event === 'ws.close') assert.equal(typeof found.connectionId, 'string')
  })
}

function shown({ event, reason, msg }: LogLine): string {
  return `${event ?? msg} ${reason ?? ''}`
}

async function assertAfter(server: Child, witness: Witness): Promise<void> {
  await server.assertServes()
  await server.assertNothingLeft()
  assertNoSecret(witness)
  await assertOnce(server)
}

/** `onClose` is owed to every connection that got as far as `onOpen`, once. */
export async function assertOnce(server: Child): Promise<void> {
  const closes = await server.call<number[]>('closes')
  assert.ok(
    closes.every((times) => times === 1),
    `onClose ran ${closes} times`
  )
}
