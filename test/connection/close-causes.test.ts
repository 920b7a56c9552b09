/** Threat L2: every cause that a connection can end with, on a real app, and what its `onClose` is told of it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CloseCause, closeCauses, closeCodes } from '../../lib/close-codes.ts'
import type { WsConnection } from '../../lib/connection/types.ts'
import { Target, type TargetOptions, turns } from '../attack/harness.ts'
import { origin, tokenFor } from '../support/app.ts'
import { closeOf, jsonFrame, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'

const timeoutMs = 10_000
const shortMs = 50
/** As long as its connection. */
const work = (_: unknown, { signal }: WsConnection): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve()))
const say = { type: 'say', text: 'x' }
const auth = { type: 'auth', token: 'token' }

interface Stage {
  readonly target: Target
  readonly client: RawClient
  readonly connection: WsConnection
}

/** One way to come to a cause. */
interface Way {
  readonly guard?: TargetOptions['guard']
  readonly route?: TargetOptions['route']
  readonly run?: (stage: Stage) => unknown
  /** What `onClose` is told, where it is not what the table says, or 1006 where the table has no code. */
  readonly code?: number
  readonly reason?: string
  /** The client does not answer the close frame. */
  readonly isSilent?: boolean
}

/** A verifier that knows everybody by the token, and changes its mind about `auth` messages. */
const verifyOnce = (later: () => unknown): NonNullable<TargetOptions['guard']> => {
  let asked = 0
  return { auth: { verify: () => (asked++ === 0 ? { sub: 'alice' } : later()) as { sub: string } } }
}

const down = (): never => {
  throw new Error('down')
}

async function overfill({ connection, target }: Stage): Promise<void> {
  const text = 'x'.repeat(60_000)
  for (let round = 0; target.closes.length === 0; round++) {
    assert.ok(round < 500, 'it is never ended')
    for (let at = 0; at < 10; at++) connection.send('said', { text })
    await turns(20)
  }
}

/** `too_many_connections` is missing: it ends only who has not got as far as `onOpen`. */
const ways: Record<Exclude<CloseCause, 'too_many_connections'>, Way> = {
  client: { run: ({ client }) => client.sendClose(1000), code: 1000 },
  lost: { run: ({ client }) => client.reset() },
  server: { run: ({ connection }) => connection.close() },
  invalid_json: { run: ({ client }) => client.sendText('{bad') },
  invalid_frame: { run: ({ client }) => client.sendFrame({ opcode: 3 }), code: 1002 },
  binary: { run: ({ client }) => client.sendFrame({ opcode: opcodes.binary, payload: 'x' }) },
  too_big: {
    guard: { limits: { maxPayloadBytes: 100 } },
    run: ({ client }) => client.sendText('x'.repeat(101)),
    // ws answers it, before anything of ours can.
    reason: ''
  },
  invalid_messages: {
    run: ({ client }) => client.write(Buffer.concat(Array.from({ length: 6 }, () => jsonFrame({ type: 'no' }))))
  },
  rate_limited: {
    guard: { limits: { messages: { burst: 1, perSecond: 1, onExceeded: 'close' } } },
    run: ({ client }) => client.write(Buffer.concat([jsonFrame(say), jsonFrame(say)]))
  },
  overflow: {
    guard: { limits: { queue: { messages: 2 } } },
    route: { handlers: { say: work, ask: () => ({ items: [] }) } },
    run: ({ client }) => client.write(Buffer.concat(Array.from({ length: 8 }, () => jsonFrame(say))))
  },
  unauthorized: { guard: verifyOnce(() => null), run: ({ client }) => client.sendJson(auth) },
  session_expired: { guard: { maxLifetimeMs: shortMs } },
  revoked: { run: ({ target }) => target.app.wsGuard.revoke({ sub: 'alice' }) },
  forbidden: { guard: verifyOnce(() => ({ sub: 'bob' })), run: ({ client }) => client.sendJson(auth) },
  unavailable: { guard: verifyOnce(down), run: ({ client }) => client.sendJson(auth) },
  idle: { guard: { idleTimeoutMs: shortMs } },
  internal: { route: { onOpen: () => Promise.reject(new Error('a bug')) } },
  handler_timeout: {
    guard: { handlerTimeoutMs: shortMs },
    route: { handlers: { say: work, ask: () => ({ items: [] }) } },
    run: ({ client }) => client.sendJson(say)
  },
  restart: { run: ({ target }) => void target.app.close() },
  heartbeat_timeout: { guard: { heartbeat: { intervalMs: shortMs, timeoutMs: shortMs } }, isSilent: true },
  slow_consumer: {
    guard: { limits: { sendBuffer: { softBytes: 400_000, hardBytes: 400_000 } } },
    run: (stage) => {
      stage.client.pause()
      return overfill(stage)
    }
  },
  close_timeout: {
    guard: { closeTimeoutMs: shortMs },
    run: ({ connection }) => connection.close(),
    code: closeCodes.normal.code,
    isSilent: true
  }
}

test('L2: every cause has a way here', () => {
  assert.deepEqual([...Object.keys(ways), 'too_many_connections'].toSorted(), Object.keys(closeCauses).toSorted())
})

/** Nothing is left of a connection, and nothing more is told of it. */
async function assertOver(target: Target): Promise<void> {
  const isEmpty = (): boolean => {
    const { connections, closing, slots, topics, handshakes, bufferedBytes } = target.app.wsGuard.stats()
    return [connections, closing, slots, topics, handshakes, bufferedBytes].every((count) => count === 0)
  }
  await until(isEmpty, { timeoutMs, what: 'an end that leaves nothing' })
  await turns()
}

for (const [cause, way] of Object.entries(ways) as [CloseCause, Way][]) {
  test(`L2: ${cause}: onClose is called once, with this cause, and nothing is left`, async (t) => {
    const { guard, route, run, isSilent = false } = way
    const { code, reason } = closeCauses[cause]
    let connection: WsConnection | undefined
    const target = await Target.start(t, {
      guard: { ...guard },
      route: {
        ...route,
        onOpen: async (opened, request) => {
          connection = opened
          await opened.subscribe('room')
          await route?.onOpen?.(opened, request)
        }
      }
    })
    const client = await target.open()
    const opened = await until(() => connection, { timeoutMs, what: 'onOpen' })
    await run?.({ target, client, connection: opened })
    const told = { code: way.code ?? (code === null ? 1006 : closeCodes[code].code), reason: way.reason ?? reason }
    // The peer reads in its close frame what onClose is told; there is none where the table has no code.
    if (code !== null) assert.deepEqual(closeOf(await client.nextFrame({ opcode: opcodes.close, timeoutMs })), told)
    if (!isSilent) client.halfClose()
    await until(() => target.closes.length > 0, { timeoutMs, what: 'onClose' })
    client.destroy()
    await assertOver(target)
    assert.deepEqual(target.closes, [{ ...told, cause }])
    assert.equal(opened.state, 'closed')
    assert.deepEqual(
      target.logs.filter('ws.close').map((line) => line.cause),
      [cause]
    )
  })
}

test('L2: too_many_connections: who was never opened has no onClose, but its line in the log', async (t) => {
  const guard = { auth: { from: ['message'] as const }, limits: { connections: { perUser: 1 } } }
  const target = await Target.start(t, { guard })
  const token = tokenFor(target.app)
  const clients: RawClient[] = []
  for (let n = 0; n < 2; n++) {
    const client = await target.open('/echo', { Origin: origin })
    await client.sendJson({ type: 'auth', token })
    clients.push(client)
    if (n === 0) await client.nextJson({ timeoutMs })
  }
  const [first, second] = clients as [RawClient, RawClient]
  const { code, reason } = closeCauses.too_many_connections
  const told = { code: closeCodes[code].code, reason }
  assert.deepEqual(closeOf(await second.nextFrame({ opcode: opcodes.close, timeoutMs })), told)
  second.halfClose()
  await until(() => target.logs.find('ws.close'), { timeoutMs })
  assert.deepEqual(target.closes, [])
  first.reset()
  await assertOver(target)
  assert.deepEqual(
    target.logs.filter('ws.close').map(({ cause }) => cause),
    ['too_many_connections', 'lost']
  )
  assert.equal(target.closes.length, 1)
})
