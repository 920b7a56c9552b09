/**
 * One row for each piece that runs per message or per handshake, and beside it the plain way to do the same, or the
 * part of it that nobody can do without. Files of the build are imported by their paths: a regression shows in one row.
 */
import { createHmac, createSecretKey, randomUUID } from 'node:crypto'
import secureJsonParse from 'secure-json-parse'
import { maxText, messageOf, origin, secret } from './servers/messages.mjs'
import { ownFile } from './servers/own-package.mjs'

const { Connection } = await ownFile('connection/connection')
const { hear } = await ownFile('connection/inbound')
const { frameText } = await ownFile('connection/text-frame')
const { readCredential } = await ownFile('handshake/credentials')
const { checkHandshake, checkUpgrade, chooseProtocol, readOffers } = await ownFile('handshake/request-shape')
const { TokenBucket } = await ownFile('limits/token-bucket')
const { decode, parseJson } = await ownFile('messages/decode')

const sizes = [
  ['120 B', 120],
  ['2 KiB', 2_048]
]

/** Frames that leave together: what a connection is sent in one turn under load. */
const framesPerTurn = 32

/**
 * @param others the packages of the plain ways, `{ jsonwebtoken, z }`: they are installed only for the benchmark, and a
 * row whose package is not given has no plain way
 * @returns rows `{ piece, run, plain?: { name, run } }`; `run` does it once and returns something that came of it
 */
export function piecesOf(setting, others = {}) {
  return [
    ...sizes.flatMap(([size, bytes]) => messageRows(setting, others, size, messageOf(bytes))),
    ...limitRows(),
    ...handshakeRows(setting),
    ...tokenRows(setting, others)
  ]
}

function messageRows({ connection }, { z }, size, message) {
  const { contract, limits } = connection.settings
  const text = JSON.stringify(message)
  const bytes = Buffer.from(text)
  const outgoing = contract.outgoing.get('chat')
  const wide = JSON.stringify({ ...message, text: `ü${message.text.slice(2)}` })
  return [
    row(
      `in: a whole frame, ${size}`,
      () => hear(connection, 'message', [bytes, false]),
      'toString, JSON.parse',
      () => JSON.parse(bytes.toString())
    ),
    row(
      `decode (parse and check), ${size}`,
      () => decode(text, contract, limits.json),
      'JSON.parse',
      () => JSON.parse(text)
    ),
    row(
      `parseJson, ${size}`,
      () => parseJson(text, limits.json),
      'secure-json-parse',
      () => secureJsonParse(text)
    ),
    checkRow(size, contract.incoming.get('chat'), message, z),
    row(`out: send to the end of the turn, ${size}`, sendTo(connection, message), 'JSON.stringify, Buffer.from', () =>
      Buffer.from(JSON.stringify(message))
    ),
    row(
      `encode, ${size}`,
      () => outgoing.encode(message),
      'JSON.stringify',
      () => JSON.stringify(message)
    ),
    row(
      `frame, ${size}`,
      () => frameText(text),
      'Buffer.from',
      () => Buffer.from(text)
    ),
    row(
      `frame, not ASCII, ${size}`,
      () => frameText(wide),
      'Buffer.from',
      () => Buffer.from(wide)
    )
  ]
}

function checkRow(size, incoming, message, z) {
  const schema = z?.strictObject({
    type: z.literal('chat'),
    room: z.uuid(),
    seq: z.int().min(0),
    text: z.string().max(maxText)
  })
  return row(`check, ${size}`, () => incoming.check(message), 'zod', schema && (() => schema.safeParse(message)))
}

function sendTo(connection, message) {
  const { socket } = connection
  let sent = 0
  return () => {
    const isSent = connection.send('chat', message)
    if (++sent % framesPerTurn === 0) socket.flush()
    return isSent
  }
}

function limitRows() {
  const bucket = new TokenBucket({ perSecond: 1e9, burst: 1e9 }, performance.now())
  let now = 0
  return [
    row('token bucket, the time given', () => bucket.take(1, now++)),
    row(
      'token bucket and clock',
      () => bucket.take(1, performance.now()),
      'the clock alone',
      () => performance.now()
    )
  ]
}

function handshakeRows({ connection, request }) {
  const { socket, rawSocket, settings, runtime } = connection
  const { raw, headers } = request
  const { auth, origins, protocols, attempts } = settings
  const query = { origin, protocol: 'http', host: headers.host }
  const secrets = new Map()
  const offers = readOffers(headers['sec-websocket-protocol'])
  const makeConnection = () => new Connection(socket, rawSocket, settings, runtime, connection)
  return [
    row('shape of the request', () => checkUpgrade(raw) ?? checkHandshake(raw)),
    row('subprotocols', () => chooseProtocol(readOffers(headers['sec-websocket-protocol']), protocols)),
    row('Origin', () => origins.admits(query)),
    row('where the credential is', () => readCredential(request, offers, secrets, auth)),
    row(
      'attempts of the address',
      () => attempts(request),
      'await nothing',
      async () => undefined
    ),
    row('a connection (without its socket)', makeConnection, 'its id alone', () => randomUUID())
  ]
}

function tokenRows({ app, connection, request, token }, { jsonwebtoken }) {
  const { authenticator } = connection.settings.auth
  const key = createSecretKey(Buffer.from(secret))
  const signed = token.slice(0, token.lastIndexOf('.'))
  const algorithms = ['HS256']
  const elsewhere = requestWithout(request, 'authorization')
  return [
    row(
      'JWT in its header, as a route verifies it',
      () => authenticator.verify(token, request),
      'HMAC alone',
      () => createHmac('sha256', key).update(signed).digest('base64url')
    ),
    row('JWT from elsewhere, as a route verifies it', () => authenticator.verify(token, elsewhere)),
    row(
      'JWT, app.jwt.verify',
      () => app.jwt.verify(token),
      'jsonwebtoken, KeyObject',
      jsonwebtoken && (() => jsonwebtoken.verify(token, key, { algorithms }))
    ),
    row(
      'JWT, app.jwt.decode',
      () => app.jwt.decode(token),
      'jsonwebtoken, string',
      jsonwebtoken && (() => jsonwebtoken.verify(token, secret, { algorithms }))
    )
  ]
}

/** The same request, whose token came in a cookie or a subprotocol. */
function requestWithout(request, name) {
  const { [name]: _left, ...headers } = request.headers
  return Object.create(request, { headers: { value: headers } })
}

function row(piece, run, name, plain) {
  return { piece, run, plain: plain && { name, run: plain } }
}
