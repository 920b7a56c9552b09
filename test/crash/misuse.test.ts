/** Bad arguments to every public method, at every moment of a connection's life. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { child, stopChild } from './child.ts'
import { assertOnce, onOwnServer } from './matrix.ts'
import { type Moment, misuses, momentsOf } from './misuse.ts'

after(stopChild)

for (const [method, cases] of Object.entries(misuses)) {
  for (const [what, [, open, closed = open]] of Object.entries(cases)) {
    for (const when of momentsOf(method)) {
      const expected = when === 'onOpen' || when === 'handler' ? open : closed
      test(`O4, L2: ${method}, ${what}, ${when}: ${expected}, and nobody else feels it`, () =>
        onOwnServer(async () => {
          assert.equal(await comesOf(method, what, when), expected)
        }))
    }
  }
}

async function comesOf(method: string, what: string, when: Moment): Promise<string> {
  const server = await child()
  await server.call('begin')
  await server.call('misuse', method, what, when)
  const client = await server.open('/act', 'mallory')
  await client.sendJson({ type: 'act', what: 'handler' })
  await client.sendClose(1000)
  await server.alive(client.closed)
  const outcome = await server.eventually(async () => {
    const told = await server.call(when === 'after' ? 'misuseAfter' : 'outcome', method, what)
    assert.ok(told, 'it was not done')
    return told as string
  })
  await server.assertServes()
  await server.assertNothingLeft()
  await assertOnce(server)
  return outcome
}
