/** Anything at all as an argument: nothing throws that may not, what the client sees may be sent, and the process lives. */
import assert from 'node:assert/strict'
import { Type } from '@sinclair/typebox'
import fc from 'fast-check'
import type { WsConnection } from '../../lib/connection/types.ts'
import { CloseError, defineContract, MessageError } from '../../lib/index.ts'
import { closeOf, opcodes } from '../support/frames.ts'
import { until, within } from '../support/wait.ts'
import { type Campaign, campaign, part } from './campaign.ts'
import { isCodeOnTheWire, isUtf8 } from './frame-model.ts'
import { type Grounds, listen, open, patienceMs, unlimited } from './ground.ts'

const contract = defineContract({
  name: 'arguments',
  clientToServer: { act: Type.Object({}) },
  serverToClient: { said: Type.Object({ text: Type.String({ maxLength: 9 }), more: Type.Optional(Type.Unknown()) }) }
})

const throwing = (name: string): object =>
  Object.defineProperty({}, name, {
    enumerable: true,
    configurable: true,
    get: () => {
      throw new RangeError('the getter throws')
    }
  })
const angry = {
  toString: () => {
    throw new RangeError('toString throws')
  }
}
const circle: Record<string, unknown> = {}
circle.circle = circle

const anything: fc.Arbitrary<unknown> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom<unknown>(
      undefined,
      null,
      Number.NaN,
      -1,
      0,
      1.5,
      2 ** 31,
      10n,
      '',
      true,
      Symbol('s'),
      () => {},
      [],
      {},
      circle,
      angry,
      new Date(Number.NaN),
      new Float32Array(200),
      Buffer.alloc(200, 0x61),
      new Proxy({}, {}),
      Object.create(null),
      new Map([[1, 2]])
    )
  },
  { weight: 2, arbitrary: fc.constantFrom('code', 'reason', 'text', 'sub', 'then', 'message', 'toJSON').map(throwing) },
  {
    weight: 2,
    arbitrary: fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withTypedArray: true,
      withNullPrototype: true,
      withUnicodeString: true
    })
  },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 400, size: 'medium' }) }
)

const edge = fc
  .tuple(
    fc.integer({ min: 112, max: 124 }),
    fc.constantFrom('😀', 'é', '한', '\ud800', '\udc00', '👨‍👩‍👧', 'x'),
    fc.nat(9)
  )
  .map(([length, character, more]) => 'a'.repeat(length) + character.repeat(more + 1))
const reason = fc.oneof(fc.string({ unit: 'binary', maxLength: 150, size: 'large' }), edge, anything)
const code = fc.oneof(
  fc.constantFrom(
    ...[
      999, 1000, 1003, 1004, 1005, 1006, 1007, 1010, 1011, 1012, 1014, 1015, 1016, 2999, 3000, 4999, 5000, 65_536,
      1000.5
    ]
  ),
  fc.integer({ min: 900, max: 5_100 }),
  anything
)

/** RFC 6455 section 7.4.1 and the registry: what an endpoint says for itself. 1010 is a client's. */
function isSendable(value: unknown): value is number {
  return Number.isInteger(value) && isCodeOnTheWire(value as number) && value !== 1010
}

/** The most of a text that fits into a close frame, as whole characters; what is no character is U+FFFD. */
function fitting(text: unknown): string {
  if (typeof text !== 'string') return ''
  let fits = ''
  for (const character of Buffer.from(text).toString()) {
    if (Buffer.byteLength(fits + character) > 123) break
    fits += character
  }
  return fits
}

type Act = (connection: WsConnection) => unknown

export const argumentsCampaign: Campaign = campaign('arguments', 3, async () => {
  let act: Act = () => {}
  const closes: unknown[] = []
  const grounds = await listen((app) => {
    app.wsRoute('/act', {
      contract,
      limits: unlimited,
      onClose: () => void closes.push(1),
      handlers: { act: (_, connection) => act(connection as never) as never }
    })
  })
  /** Runs something in a handler; resolves with the close frame, or undefined when the connection answers a question. */
  const run = (what: Act): Promise<{ code: number; reason: string } | undefined> => {
    act = what
    closes.length = 0
    return actOnce(grounds, closes)
  }
  const parts = [
    part(
      'connection.close',
      20,
      fc.asyncProperty(code, reason, (one, two) => checkClose(run, one, two))
    ),
    part(
      'CloseError',
      20,
      fc.asyncProperty(code, reason, (one, two) => checkCloseError(run, one, two))
    ),
    part(
      'thrown',
      20,
      fc.asyncProperty(anything, anything, fc.boolean(), (one, two, isMessage) => checkThrown(run, one, two, isMessage))
    ),
    part(
      'the other methods',
      20,
      fc.asyncProperty(fc.nat(99), anything, anything, anything, (which, ...values) =>
        checkCall(grounds, run, which, values)
      )
    )
  ]
  return { parts, end: grounds.end }
})

type Run = (what: Act) => Promise<{ code: number; reason: string } | undefined>

async function checkClose(run: Run, one: unknown, two: unknown): Promise<void> {
  let thrown: unknown
  const closed = await run((connection) => {
    try {
      connection.close(one as never, two as never)
    } catch (error) {
      thrown = error ?? 'nothing'
    }
  })
  assert.equal(thrown, undefined, 'close never throws')
  assert.deepEqual(closed, closeFor(one, two))
}

function closeFor(one: unknown, two: unknown): { code: number; reason: string } {
  if (one === undefined) return { code: 1000, reason: fitting(two) }
  return isSendable(one) ? { code: one, reason: fitting(two) } : { code: 1011, reason: '' }
}

async function checkCloseError(run: Run, one: unknown, two: unknown): Promise<void> {
  let made: unknown
  try {
    made = new CloseError(one as never, two as never)
  } catch (error) {
    made = error
  }
  const closed = await run(() => {
    throw made
  })
  if (!(made instanceof CloseError)) return assert.equal(closed, undefined)
  assert.deepEqual(closed, closeFor(one, two === undefined ? '' : two))
}

/** Whatever a handler throws: the connection lives, and says no more than that. */
async function checkThrown(run: Run, one: unknown, two: unknown, isMessage: boolean): Promise<void> {
  let made: unknown = one
  try {
    if (isMessage) made = new MessageError('token', one as never, two)
  } catch (error) {
    made = error
  }
  const closed = await run(() => {
    throw made
  })
  assert.equal(closed, undefined)
}

const errors = ['WSG_ERR_OPTION', 'WSG_ERR_ENCODE']

/** What a wrong argument may be answered with: an error of ours, or a TypeError for what is no argument at all. */
function isDocumented(error: unknown): boolean {
  return error instanceof TypeError || errors.includes((error as { code?: string } | undefined)?.code as string)
}

async function checkCall({ app }: Grounds, run: Run, which: number, values: readonly unknown[]): Promise<void> {
  const guard = app.wsGuard as unknown as Record<string, (...all: unknown[]) => unknown>
  const [one, two, three] = values
  const calls: readonly ((connection: Record<string, (...all: unknown[]) => unknown>) => unknown)[] = [
    ({ send }) => send,
    (connection) => connection.send?.(one, two),
    (connection) => connection.send?.('said', one),
    (connection) => connection.send?.('said', { text: one, more: two }),
    (connection) => connection.subscribe?.(one),
    (connection) => connection.unsubscribe?.(one),
    () => guard.publish?.(contract, one, 'said', { text: two }),
    () => guard.publish?.(one, two, three, {}),
    () => guard.disconnect?.({ sub: one, sid: two }),
    () => guard.disconnect?.(withoutIp(one), two),
    () => guard.revoke?.({ jti: one }, { keepMs: two, issuedBefore: three }),
    () => guard.revoke?.(one, two),
    () => guard.block?.({ sub: one }, { untilMs: two }),
    () => guard.block?.(one, two),
    () => guard.unblock?.(one),
    () => guard.issueTicket?.(one),
    () => guard.issueTicket?.({ user: one, route: two, ttlMs: three })
  ]
  const call = calls[which % calls.length] as (typeof calls)[0]
  let wrong: unknown
  const closed = await run(async (connection) => {
    try {
      await call(connection as never)
    } catch (error) {
      // A getter of the caller's own may throw what it likes.
      if (!isDocumented(error) && !/throws$/.test(String((error as Error)?.message))) wrong = error ?? 'nothing'
    }
  })
  assert.equal(wrong, undefined, `${call}`)
  assert.equal(closed, undefined, 'the connection lives')
}

/** Everybody here has the same address. */
function withoutIp(query: unknown): unknown {
  if (typeof query !== 'object' || query === null || Array.isArray(query)) return query
  try {
    return 'ip' in query || 'route' in query ? {} : query
  } catch {
    return {}
  }
}

async function actOnce(grounds: Grounds, closes: unknown[]): Promise<{ code: number; reason: string } | undefined> {
  const client = await open(grounds.port, '/act')
  try {
    await client.sendJson({ type: 'act', ref: 'acted' })
    // A reply or an error with the ref, or the end.
    const last = await until(
      () =>
        client.frames.find(
          ({ opcode, payload }) =>
            opcode === opcodes.close || (opcode === opcodes.text && payload.includes('"ref":"acted"'))
        ),
      { timeoutMs: patienceMs, what: 'an answer or a close frame' }
    )
    for (const { opcode, payload } of client.frames) if (opcode === opcodes.text) JSON.parse(payload.toString())
    if (last.opcode !== opcodes.close) return undefined
    const { code: said } = closeOf(last)
    assert.ok(
      isCodeOnTheWire(said) && last.payload.length <= 125 && isUtf8(last.payload.subarray(2)),
      'a close frame that may be sent'
    )
    return closeOf(last)
  } finally {
    client.halfClose()
    client.destroy()
    await within(
      until(() => closes.length === 1, { timeoutMs: patienceMs, what: 'onClose' }),
      { timeoutMs: patienceMs + 1 }
    )
    await grounds.bystanderAnswers()
    await grounds.assertIdle()
  }
}
