/** The bytes of a handshake, changed anyhow: nobody gets a 101 whose request was not one for it, Origin and token included. */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { handshakeRequest } from '../support/http-message.ts'
import { connect, type RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { type Campaign, campaign, part } from './campaign.ts'
import { type ByteEdit, byteEdit, segmentsOf, splice } from './frame-bytes.ts'
import { type Grounds, listen, patienceMs, unlimited } from './ground.ts'
import { isListed } from './origin-model.ts'
import { acceptFor, readRequest, type Told } from './request-model.ts'

const listed = ['https://app.example.com', 'https://*.example.org:8443']
const token = 'aGVsbG8gdGhlcmUsIHN0cmFuZ2Vy'

interface Case {
  readonly bytes: Buffer
  readonly cuts: readonly number[]
}

const origin = fc.constantFrom(
  'https://app.example.com',
  'https://a.b.example.org:8443',
  'https://evil.example',
  'null'
)
const request = fc
  .tuple(origin, fc.constantFrom('/guarded', '/guarded', '/guarded?a=b', '/bystander'))
  .map(([from, path]) =>
    handshakeRequest({
      path,
      headers: { Origin: from, Authorization: `Bearer ${token}`, 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' }
    })
  )

const line = fc.constantFrom(
  ...[
    'Origin: https://app.example.com',
    'Origin: null',
    'Origin:',
    'Host: evil.example',
    'Content-Length: 0',
    'Content-Length: 5'
  ],
  ...[
    'Transfer-Encoding: chunked',
    'Sec-WebSocket-Version: 12',
    'Upgrade: h2c',
    'Connection: close',
    'Authorization: Bearer x'
  ],
  ...[
    'Sec-WebSocket-Extensions: permessage-deflate',
    'Sec-WebSocket-Key: x',
    'X: \u00ff',
    'X : y',
    ' folded',
    '',
    'Expect: 100-continue'
  ]
)
const piece = fc.oneof(
  fc
    .constantFrom(
      '\r',
      '\n',
      '\r\n',
      '\0',
      ' ',
      '\t',
      ':',
      ',',
      '%',
      '%00',
      '#',
      '?',
      '\x80',
      '\xff',
      'HTTP/1.0',
      '//',
      '\\'
    )
    .map((all) => Buffer.from(all, 'latin1')),
  line.map((all) => Buffer.from(`\r\n${all}`, 'latin1')),
  fc.uint8Array({ maxLength: 4 })
)

/** A line more, behind one of those that are there. */
const addLine = fc.tuple(fc.nat(8), line).map(
  ([nth, added]): ByteEdit =>
    (bytes) => {
      const text = bytes.toString('latin1')
      const places = [...text.matchAll(/\r\n/g)].map(({ index }) => index)
      return splice(bytes, places[nth % Math.max(places.length, 1)] ?? 0, 0, Buffer.from(`\r\n${added}`, 'latin1'))
    }
)
const edits = fc.array(fc.oneof({ weight: 3, arbitrary: byteEdit(piece) }, { weight: 1, arbitrary: addLine }), {
  maxLength: 3
})

const handshakeCase: fc.Arbitrary<Case> = fc.record({
  bytes: fc.tuple(request, edits).map(([bytes, all]) => all.reduce<Buffer>((changed, edit) => edit(changed), bytes)),
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 })
})

/** What the routes ask for beyond a request that is one. */
function isAdmitted({ path, origin: from, token: given }: Told): boolean {
  // The bystander's route lets everybody in.
  if (/^\/bystander(?:\?|$)/.test(path)) return true
  if (!/^\/guarded(?:\?|$)/.test(decodeURIComponent(path))) return false
  return given === token && (from === undefined || isListed(from, listed))
}

export const handshakes: Campaign = campaign('handshakes', 2, async () => {
  const opened: unknown[] = []
  const grounds = await listen((app) => {
    app.wsRoute('/guarded', {
      origins: listed,
      auth: {
        verify: async (given: string) => (given === token ? { sub: 'a' } : Promise.reject(new Error('bad')))
      } as never,
      limits: unlimited,
      handler: (connection) => void opened.push(connection.user)
    })
  })
  const property = fc.asyncProperty(handshakeCase, async (one) => {
    opened.length = 0
    await knock(grounds, one, opened)
    await grounds.bystanderAnswers()
  })
  return { parts: [part('changed requests', 40, property)], end: grounds.end }
})

async function knock({ port, assertIdle }: Grounds, { bytes, cuts }: Case, opened: unknown[]): Promise<void> {
  const client = await connect(port)
  try {
    for (const segment of segmentsOf(bytes, cuts)) await client.write(segment)
    const statusCode = await statusOf(client, bytes)
    const told = readRequest(bytes)
    if (statusCode !== 101) {
      assert.equal(opened.length, 0, 'nothing opens without a 101')
      return
    }
    assert.ok(told !== undefined && isAdmitted(told), `101 to ${JSON.stringify(bytes.toString('latin1'))}`)
    assert.ok(client.unparsed.includes(`\r\nSec-WebSocket-Accept: ${acceptFor(told)}\r\n`), 'the right accept')
  } finally {
    client.destroy()
    await assertIdle()
  }
}

/** 0 for a request that has no end yet, or whose connection ends without an answer. A client that says no more is not waited for. */
async function statusOf(client: RawClient, bytes: Buffer): Promise<number> {
  const read = (): number => Number(/^HTTP\/1\.1 (\d{3}) /.exec(client.unparsed.toString('latin1', 0, 20))?.[1] ?? 0)
  const isWhole = (): boolean => client.unparsed.includes('\r\n\r\n')
  // A head that is not finished is not answered, unless what there is of it is wrong already.
  if (!/\r?\n\r?\n/.test(bytes.toString('latin1'))) client.halfClose()
  let isGone = false
  void client.closed.then(() => (isGone = true))
  await until(() => isWhole() || client.serverEnded || isGone, { timeoutMs: patienceMs, what: 'an answer' })
  return read()
}
