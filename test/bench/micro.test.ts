/** Every piece of the micro-benchmark runs, on the sources, and does what its row says: nothing types its modules. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { sourcesEnv } from './for-tests.ts'

interface Connection {
  readonly state: string
  readonly received: number
  readonly sent: number
  readonly dropped: number
}

interface Setting {
  readonly connection: Connection
  readonly close: () => Promise<void>
}

interface Row {
  readonly piece: string
  readonly run: () => unknown
  readonly plain?: { readonly name: string; readonly run: () => unknown }
}

type Open = () => Promise<Setting>
type PiecesOf = (setting: Setting, others: object) => Row[]

/** More than are joined into one write. */
const times = 40
/** Beside the text of a frame. */
const headOf: Readonly<Record<string, number>> = { '120 B': 2, '2 KiB': 4 }
const bytesOf: Readonly<Record<string, number>> = { '120 B': 120, '2 KiB': 2_048 }

type Expect = (result: never, size: string) => void

const isDone: Expect = (result: unknown) => assert.equal(result, true)
const isNothing: Expect = (result: unknown) => assert.equal(result, undefined)
const isUser: Expect = ({ sub }: { sub: string }) => assert.equal(sub, 'user-1')
const isAdmitted: Expect = ({ ok, user }: { ok: boolean; user: { sub: string } }) =>
  assert.deepEqual([ok, user.sub], [true, 'user-1'])
/** No character of it is more than a byte. */
const isFrame: Expect = (frame: string, size) =>
  assert.equal(Buffer.byteLength(frame, 'latin1'), (bytesOf[size] as number) + (headOf[size] as number))

/** What a piece answers where it does its whole work, by its name up to its size. */
const expected: Readonly<Record<string, Expect>> = {
  // Of a contract route nobody else hears the frame.
  'in: a whole frame': (result: unknown) => assert.equal(result, false),
  'decode (parse and check)': ({ kind }: { kind: string }) => assert.equal(kind, 'message'),
  parseJson: ({ type }: { type: string }) => assert.equal(type, 'chat'),
  check: isDone,
  'out: send to the end of the turn': isDone,
  encode: (text: string, size) => assert.equal(text.length, bytesOf[size]),
  frame: isFrame,
  'frame, not ASCII': isFrame,
  'token bucket, the time given': isDone,
  'token bucket and clock': isDone,
  'shape of the request': isNothing,
  subprotocols: ({ protocol }: { protocol: string }) => assert.equal(protocol, 'ws-guard.v1'),
  Origin: isDone,
  'where the credential is': ({ kind, value }: { kind: string; value: string }) => {
    assert.equal(kind, 'token')
    assert.equal(value.split('.').length, 3)
  },
  'attempts of the address': isNothing,
  'a connection (without its socket)': ({ id }: { id: string }) => assert.equal(id.length, 36),
  'JWT in its header, as a route verifies it': isAdmitted,
  'JWT from elsewhere, as a route verifies it': isAdmitted,
  'JWT, app.jwt.verify': isUser,
  'JWT, app.jwt.decode': isUser
}

describe('the micro-benchmark', { timeout: 60_000 }, () => {
  let setting: Setting
  let rows: readonly Row[]

  before(async () => {
    Object.assign(process.env, await sourcesEnv())
    const { openSetting } = await load<{ openSetting: Open }>('micro-setting.mjs')
    const { piecesOf } = await load<{ piecesOf: PiecesOf }>('micro-pieces.mjs')
    setting = await openSetting()
    rows = piecesOf(setting, {})
  })
  after(() => setting?.close())

  it('has a row for each piece, and none besides', () => {
    const names = rows.map(({ piece }) => nameOf(piece))
    assert.deepEqual([...new Set(names)].sort(), Object.keys(expected).sort())
  })

  for (const [name, expect] of Object.entries(expected)) {
    it(`${name}: runs as often as it is asked to, and does its work`, async () => {
      for (const { piece, run, plain } of rows.filter((row) => nameOf(row.piece) === name)) {
        for (let time = 0; time < times; time++) expect((await run()) as never, sizeOf(piece))
        await plain?.run()
      }
    })
  }

  it('frames came in and went out, and the connection is as it was', () => {
    const { state, received, sent, dropped } = setting.connection
    assert.deepEqual(
      { state, received, sent, dropped },
      { state: 'open', received: 2 * times, sent: 2 * times, dropped: 0 }
    )
  })
})

/** `frame, not ASCII, 2 KiB` → `frame, not ASCII` */
function nameOf(piece: string): string {
  return sizeOf(piece) === '' ? piece : piece.slice(0, piece.lastIndexOf(','))
}

function sizeOf(piece: string): string {
  return Object.keys(bytesOf).find((size) => piece.endsWith(`, ${size}`)) ?? ''
}

async function load<T>(file: string): Promise<T> {
  return (await import(new URL(file, import.meta.url).href)) as T
}
