/** Every way in which a handshake or a connection ends, and what the server says about it. */
import { frame, jsonFrame, opcodes } from '../support/frames.ts'
import { messages, type Opening, type Peer, timeoutMs } from './cycles-peer.ts'

export interface Way {
  readonly name: string
  /** `close <cause>` and `refused <reason>`, as they are counted. */
  readonly seen: readonly string[]
  readonly run: (peer: Peer) => Promise<void>
}

const nothing = { type: 'do', what: 'nothing' }
const deed = (what: string, ref?: number): Buffer => jsonFrame({ type: 'do', what, ...(ref !== undefined && { ref }) })

function way(name: string, seen: readonly string[], run: Way['run']): Way {
  return { name, seen, run }
}

/** Refused by HTTP. */
function refusal(reason: string, status: number, path: string, opening: Opening = {}): Way {
  const name = `refused: ${reason} at ${path}`
  return way(name, [`refused ${reason}`], (peer) => peer.refused(path, status, opening))
}

/** Closed by the server after what the client has sent with its handshake, if anything. */
function ended(path: string, cause: string, code: number, behind?: Buffer, opening: Opening = {}): Way {
  const name = `closed: ${cause} at ${path}${behind === undefined ? '' : ` after ${behind.length} bytes`}`
  return way(name, [`close ${cause}`], async (peer) => {
    const client = await peer.open(path, { ...opening, ...(behind !== undefined && { behind }) })
    await peer.closed(client, code)
  })
}

/** Closed by the server because of what its handler did. */
function deedEnds(what: string, cause: string, code: number, path = '/ws'): Way {
  return way(`handler: ${what}`, [`close ${cause}`], async (peer) => peer.closed(await peer.told(path, what), code))
}

/** A deed after which the connection lives on; then the client leaves. */
function deedGoesOn(what: string, type: string, path = '/ws'): Way {
  return way(`handler: ${what} at ${path}`, ['close client'], async (peer) => {
    const client = await peer.told(path, what)
    await peer.answered(client, type)
    await peer.leaves(client)
  })
}

/** The client leaves while a hook runs. */
function leftDuring(path: string): Way {
  return way(`reset during the handshake: ${path}`, ['close client'], async (peer) => {
    const watcher = await peer.watch(`asked ${peer.sub}`)
    const client = await peer.ask(path)
    await peer.answered(watcher, 'reply')
    await peer.reset(client)
    await peer.leaves(watcher)
  })
}

const auth = (token: string): Buffer => jsonFrame({ type: 'auth', token })
const none: Opening = { token: null }

const refusals: readonly Way[] = [
  refusal('malformed_request', 400, '/ws', { headers: { 'Sec-WebSocket-Key': 'short' } }),
  refusal('malformed_request', 400, '/%'),
  refusal('body_on_upgrade', 400, '/ws', { headers: { 'Content-Length': '1' }, body: 'x' }),
  refusal('duplicate_header', 400, '/ws', { headers: { Origin: ['https://a.example', 'https://b.example'] } }),
  refusal('subprotocol', 400, '/ws', { headers: { 'Sec-WebSocket-Protocol': 'other' } }),
  refusal('not_a_websocket_route', 400, '/http'),
  refusal('ambiguous_credentials', 400, '/ws', { headers: { 'Sec-WebSocket-Protocol': 'ws-guard.v1, bearer.a' } }),
  refusal('invalid_parameters', 400, '/params/none'),
  refusal('no_credential', 401, '/ws', none),
  refusal('invalid_credential', 401, '/ws', { token: 'bad' }),
  refusal('tls_required', 403, '/tls'),
  refusal('origin_missing', 403, '/ws', { token: null, headers: { Origin: null } }),
  refusal('origin_forbidden', 403, '/ws', { headers: { Origin: 'https://evil.example' } }),
  refusal('forbidden', 403, '/forbidden'),
  refusal('not_found', 404, '/nope'),
  refusal('method', 405, '/ws', { method: 'POST' }),
  refusal('version', 426, '/ws', { headers: { 'Sec-WebSocket-Version': '12' } }),
  refusal('hook_failed', 500, '/hook'),
  refusal('unavailable', 503, '/verifier'),
  refusal('handshake_timeout', 503, '/stuck', { hasty: true }),
  refusal('handshake_timeout', 503, '/stuck/data', { hasty: true }),
  way('refused: no upgrade', ['refused no_upgrade'], async (peer) => {
    await peer.refused('/ws', 426, { headers: { Upgrade: null, Connection: 'close' } })
  }),
  way('refused: the store is down', ['refused unavailable'], async (peer) => {
    await peer.refused('/ws', 503, { token: peer.tokenFor(`down-${peer.number}`) })
  }),
  way('refused: attempts', ['refused attempts', 'close client'], async (peer) => {
    await peer.leaves(await peer.open('/attempts'))
    await peer.refused('/attempts', 429)
  }),
  way('refused: per IP', ['refused per_ip', 'close client'], async (peer) => {
    const localAddress = `127.1.${(peer.number >> 8) & 255}.${peer.number & 255}`
    const client = await peer.open('/ip', { localAddress })
    await peer.refused('/ip', 429, { localAddress })
    await peer.leaves(client)
  }),
  way('refused: per user', ['refused per_user', 'close lost'], async (peer) => {
    const client = await peer.open('/user')
    await peer.refused('/user', 429)
    await peer.reset(client)
  }),
  way('refused: by close frame', ['refused forbidden'], async (peer) => {
    await peer.closed(await peer.open('/close'), 4003, 'forbidden')
  }),
  way('refused: by close frame, and stays', ['refused forbidden'], async (peer) => {
    await peer.gone(await peer.open('/close'))
  }),
  way('nobody answers', [], async (peer) => peer.gone(await peer.ask('/nowhere', { hasty: true })))
]

const left: readonly Way[] = [
  way('reset before the handshake', [], async (peer) => peer.reset(await peer.connect())),
  way('reset in the middle of the head', [], async (peer) => {
    const client = await peer.connect()
    await client.write(peer.request('/ws').subarray(0, 60))
    await peer.reset(client)
  }),
  way('a FIN before the handshake', [], async (peer) => {
    const client = await peer.connect()
    client.halfClose()
    await client.closed
  }),
  ...['onRequest', 'preValidation', 'authorize', 'verify', 'signal'].map((step) => leftDuring(`/left/${step}`)),
  way('reset after the 101', ['close lost'], async (peer) => peer.reset(await peer.open('/ws'))),
  way('a FIN after the 101', ['close lost'], async (peer) => {
    const client = await peer.open('/ws')
    client.halfClose()
    await client.closed
  }),
  way('reset in the middle of a frame', ['close lost'], async (peer) => {
    const client = await peer.open('/ws', { behind: deed('nothing').subarray(0, 9) })
    await peer.reset(client)
  }),
  way('reset while a handler runs', ['close lost'], async (peer) => {
    const client = await peer.open('/ws', { behind: Buffer.concat([deed('nothing', 1), deed('wait')]) })
    await peer.answered(client, 'reply')
    await peer.reset(client)
  }),
  way('closed by the client', ['close client'], async (peer) => peer.leaves(await peer.open('/ws'))),
  way('closed by the client without a code', ['close client'], async (peer) => {
    const client = await peer.open('/ws')
    await client.sendFrame({ opcode: opcodes.close })
    await peer.gone(client)
  }),
  way('closed by the client, which stays', ['close client', 'close client'], async (peer) => {
    const watcher = await peer.watch(`closed ${peer.sub}`)
    await peer.open('/closing', { behind: frame({ opcode: opcodes.close }) })
    await peer.answered(watcher, 'reply')
    await peer.leaves(watcher)
  }),
  way('plain websocket route', [], async (peer) => peer.leaves(await peer.open('/plain'))),
  way('plain HTTP, then a handshake', ['close client'], async (peer) => {
    const client = await peer.connect()
    await client.write('GET /http HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await client.answer({ timeoutMs })
    await client.write(peer.request('/ws'))
    await client.answer({ timeoutMs })
    await peer.leaves(client)
  })
]

const byHandlers: readonly Way[] = [
  ...['throw', 'reject', 'answer wrongly', 'refuse a message'].map((what) => deedGoesOn(what, 'error')),
  ...['nothing', 'publish', 'ticket'].map((what) => deedGoesOn(what, 'reply')),
  ...['/rate/shared', '/closed/throws', '/closed/rejects', '/closed/slowly'].map((path) =>
    deedGoesOn('nothing', 'reply', path)
  ),
  deedEnds('close', 'server', 4100),
  deedEnds('close by error', 'server', 4100),
  deedEnds('disconnect', 'revoked', 4003),
  deedEnds('wait', 'handler_timeout', 1011, '/handler'),
  ...['revoke', 'block'].map((what) =>
    way(`handler: ${what}, and again`, ['close revoked', 'refused revoked'], async (peer) => {
      // The same: one that was issued in a later second would be let in.
      const token = peer.tokenFor(peer.sub)
      await peer.closed(await peer.told('/ws', what, { token }), 4003)
      await peer.refused('/ws', 401, { token })
    })
  ),
  way('a ticket', ['close client', 'close client'], async (peer) => {
    const client = await peer.told('/ws', 'ticket')
    const { data } = await peer.answered(client, 'reply')
    const { value } = data as { value: string }
    await peer.leaves(await peer.open(`/ticket?ticket=${value}`, none))
    await peer.leaves(client)
  }),
  way('handler: terminate', ['close lost'], async (peer) => peer.gone(await peer.told('/ws', 'terminate'))),
  way('handler: close past the connection, unanswered', ['close past'], async (peer) => {
    await peer.gone(await peer.told('/past', 'close past the connection'))
  }),
  way('a close that is never answered', ['close close_timeout'], async (peer) => {
    await peer.gone(await peer.told('/closing', 'close'))
  }),
  ended('/open/throws', 'internal', 1011),
  ended('/open/rejects', 'internal', 1011),
  ended('/open/waits', 'handler_timeout', 1011),
  ended('/raw/throws', 'internal', 1011),
  ended('/raw', 'server', 4100, frame({ payload: 'x' })),
  way('the store falls', ['close unavailable'], async (peer) => {
    await peer.closed(await peer.open('/ws', { token: peer.tokenFor(`falls-${peer.number}`) }), 1013)
  })
]

const byLimits: readonly Way[] = [
  ended('/idle', 'idle', 4008),
  ended('/lifetime', 'session_expired', 4001),
  ended('/expiry', 'session_expired', 4001),
  ended('/again', 'forbidden', 4003),
  way('no pong', ['close heartbeat_timeout'], async (peer) => peer.gone(await peer.open('/heartbeat'))),
  ended('/rate/close', 'rate_limited', 1008, messages(10, nothing)),
  ended('/rate/error', 'rate_limited', 1008, messages(40, nothing)),
  ended('/rate/delay', 'rate_limited', 1008, messages(40, nothing)),
  ended(
    '/ws',
    'rate_limited',
    1008,
    many(30, () => frame({ opcode: opcodes.pong }))
  ),
  ended('/ws', 'rate_limited', 1008, many(70, part)),
  way('more pings than pongs may wait', ['close rate_limited'], async (peer) => {
    await peer.gone(await peer.open('/ws', { behind: many(30, () => frame({ opcode: opcodes.ping })) }))
  }),
  ended('/ws', 'invalid_messages', 1008, messages(6, { type: 'unknown' })),
  ended('/ws', 'invalid_json', 1007, frame({ payload: '{' })),
  ended('/ws', 'binary', 1003, frame({ payload: 'x', opcode: opcodes.binary })),
  ended('/ws', 'too_big', 1009, frame({ declaredLength: 70_000 })),
  ended('/ws', 'invalid_frame', 1002, frame({ rsv: 4 })),
  ended('/ws', 'invalid_frame', 1002, frame({ payload: 'not masked', masked: false })),
  ended('/ws', 'invalid_frame', 1007, frame({ payload: Buffer.from([0xff]) })),
  ended('/queue', 'overflow', 1008, Buffer.concat([deed('wait'), messages(8, nothing)])),
  way('reset within a spell', ['close lost'], async (peer) => {
    const client = await peer.open('/rate/spell', {
      behind: Buffer.concat([messages(99, nothing), deed('nothing', 1)])
    })
    await peer.answered(client, 'reply')
    // It is read again, and the spell goes on until the bucket is full.
    client.socket.write(deed('nothing', 2))
    await peer.answered(client, 'reply')
    await peer.reset(client)
  }),
  way('a peer that does not read', ['close slow_consumer', 'close client'], async (peer) => {
    const slow = `slow-${peer.number}`
    const watcher = await peer.watch(`closed ${slow}`)
    const client = await peer.open('/slow', { token: peer.tokenFor(slow) })
    client.pause()
    client.socket.write(deed('send much'))
    await peer.answered(watcher, 'reply')
    await peer.reset(client)
    await peer.leaves(watcher)
  })
]

function many(length: number, make: (at: number) => Buffer): Buffer {
  return Buffer.concat(Array.from({ length }, (_, at) => make(at)))
}

/** One of many fragments of a message. */
function part(at: number): Buffer {
  return frame({ fin: false, opcode: at === 0 ? opcodes.text : opcodes.continuation, payload: 'x' })
}

const byFirstMessages: readonly Way[] = [
  ended('/late/short', 'unauthorized', 4001, undefined, none),
  ended('/late', 'unauthorized', 4001, jsonFrame(nothing), none),
  ended('/late', 'unauthorized', 4001, auth('bad'), none),
  ended('/late/stuck', 'unavailable', 1013, auth('any'), none),
  ...[['/late/forbidden', 'forbidden', 4003] as const, ['/late/data', 'internal', 1011] as const].map(
    ([path, cause, code]) =>
      way(`first message: ${cause}`, [`close ${cause}`], async (peer) => {
        await peer.closed(await peer.open(path, { token: null, behind: auth(peer.tokenFor(peer.sub)) }), code)
      })
  ),
  way('first message: no room for the user', ['close client', 'close too_many_connections'], async (peer) => {
    const client = await peer.open('/late/user')
    const behind = auth(peer.tokenFor(peer.sub))
    await peer.closed(await peer.open('/late/user', { token: null, behind }), 1008)
    await peer.leaves(client)
  }),
  way('first message, and a new token', ['close client'], async (peer) => {
    const token = auth(peer.tokenFor(peer.sub))
    const client = await peer.open('/late', { token: null, behind: token })
    await peer.answered(client, 'auth_ok')
    client.socket.write(token)
    await peer.answered(client, 'auth_ok')
    await peer.leaves(client)
  }),
  way('a new token of somebody else', ['close forbidden'], async (peer) => {
    const client = await peer.open('/late', { behind: auth(peer.tokenFor('somebody else')) })
    await peer.closed(client, 4003)
  })
]

export const ways: readonly Way[] = [...refusals, ...left, ...byHandlers, ...byLimits, ...byFirstMessages]
