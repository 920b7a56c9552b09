/** What bad frames write into the log: nothing of their own, beside the lines that every connection has. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Target } from '../attack/harness.ts'
import { frame, opcodes, textFrame } from '../support/frames.ts'
import { until } from '../support/wait.ts'

const connections = 100
const framesEach = 10
/** Of 1 000 bad frames. */
const mostLines = 20
/** What a connection writes, whatever it does: its request, that it opened, and that it closed. */
const ofEach = ['incoming request', 'ws.open', 'ws.close']

const badFrames = [
  frame({ payload: 'x', masked: false }),
  frame({ rsv: 4, payload: 'x' }),
  frame({ opcode: 3 }),
  frame({ opcode: opcodes.continuation, payload: 'x' }),
  frame({ opcode: opcodes.ping, fin: false }),
  frame({ payload: Buffer.from([0xff]) }),
  frame({ declaredLength: 2n ** 63n, lengthBits: 64 }),
  frame({ opcode: opcodes.close, payload: 'x' }),
  textFrame('{bad'),
  frame({ opcode: opcodes.binary, payload: 'x' })
]

test(`M10, P2: ${connections * framesEach} bad frames write at most ${mostLines} lines, and none of them is a warning`, async (t) => {
  const limits = { attempts: { max: 10_000 }, connections: { perUser: 10_000, perIp: 10_000 } }
  const target = await Target.start(t, { guard: { limits } })
  for (let at = 0; at < connections; at++) {
    const client = await target.open()
    const mine = Array.from({ length: framesEach }, (_, more) => badFrames[(at + more) % badFrames.length] as Buffer)
    await client.write(Buffer.concat(mine))
    await client.serverEnd({ timeoutMs: 10_000 })
    client.destroy()
  }
  await until(() => target.logs.filter('ws.close').length === connections, { timeoutMs: 10_000 })
  const own = target.logs.lines.filter(({ msg }) => !ofEach.includes(String(msg)))
  const names = own.map(({ msg }) => msg)
  assert.ok(own.length <= mostLines, `${own.length} lines: ${[...new Set(names)]}`)
  assert.deepEqual(
    target.logs.lines.filter(({ level }) => level > 30),
    []
  )
  // Three lines each, and none of a kilobyte.
  for (const name of ofEach) assert.equal(target.logs.filter(name).length, connections, name)
  const longest = Math.max(
    ...target.logs
      .text()
      .split('\n')
      .map(({ length }) => length)
  )
  assert.ok(longest < 600, `a line of ${longest} characters`)
})
