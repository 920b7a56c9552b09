import {
  anything,
  boolean,
  closeCodeMap,
  constantHeaders,
  credentialFrom,
  duration,
  either,
  func,
  integer,
  listOf,
  no,
  type OptionCheck,
  oneOf,
  optionalDuration,
  positive,
  shape,
  store,
  subprotocols,
  text,
  texts,
  timeWindow
} from './option-checks.ts'

/** One option. `default: undefined` means that there is none; `pluginOnly` ones are no route's business. */
export interface OptionEntry {
  readonly path: string
  readonly check: OptionCheck
  readonly default: unknown
  readonly pluginOnly: boolean
  readonly meaning: string
}

function option(path: string, check: OptionCheck, fallback: unknown, meaning: string): OptionEntry {
  return { path, check, default: fallback, pluginOnly: false, meaning }
}

function pluginOption(path: string, check: OptionCheck, fallback: unknown, meaning: string): OptionEntry {
  return { path, check, default: fallback, pluginOnly: true, meaning }
}

const rate = { perSecond: positive(), burst: integer(1) }

/** Every option of the plugin and of a route: the one table that the checks, the defaults and the README come from. */
export const optionTable: readonly OptionEntry[] = [
  // compileOrigins says what is allowed, entry by entry.
  option('origins', anything, undefined, "required: the exact origins admitted, `'same-origin'`, or `false`"),
  option('hosts', listOf(text), undefined, "with `'same-origin'`: the hosts this server is reached by"),
  option('missingOrigin', oneOf('bearer-only', 'refuse'), 'bearer-only', 'a client without an Origin header'),
  option('auth.from', credentialFrom, ['header', 'subprotocol'], 'where a credential may come from'),
  option('auth.verify', func, undefined, '`request.jwtVerify` of @fastify/jwt, or your own `(token, request) => user`'),
  option('auth.namespace', text, undefined, 'a namespace of @fastify/jwt'),
  option('auth.algorithms', listOf(text), undefined, 'of one family; needed where @fastify/jwt does not tell'),
  option('auth.requiredClaims', listOf(text, 0), ['exp', 'sub'], 'claims without which a token is refused'),
  option('auth.audience', texts, undefined, 'accepted `aud`'),
  option('auth.issuer', texts, undefined, 'accepted `iss`'),
  option('auth.maxTokenAgeMs', duration, undefined, 'by `iat`'),
  option('auth.identity', func, undefined, 'what limits, kicks and expiry go by; from sub, sid, jti, iat, exp'),
  option('auth.queryParam', text, 'token', "for `'query'`; taken out of the URL before anything logs it"),
  option('auth.cookieName', text, 'token', "for `'cookie'`; needs @fastify/cookie"),
  option('auth.messageTimeoutMs', duration, 5_000, "for `'message'`: how long the first message may take"),
  option('auth.refresh', either(shape({ perMinute: integer(1) }), no), { perMinute: 6 }, 'a new token in place'),
  option('authorize', func, undefined, '`(user, request) => boolean`; false is 403'),
  option('reauthorizeMs', optionalDuration, false, '`authorize` again on the live connection; false is 4003'),
  option('requireTls', boolean, undefined, 'plain ws:// is 403; true with `NODE_ENV=production`'),
  pluginOption('allowUnsafeTrustProxy', boolean, false, 'lets `trustProxy: true` or a number boot'),
  option('protocols', subprotocols, ['ws-guard.v1'], "the route's real subprotocols"),
  option('refuse', oneOf('http', 'close'), 'http', "`'close'`: accept, then close with a code a browser can read"),
  option('limits.maxPayloadBytes', integer(1), 65_536, 'a message, before buffering; 1009'),
  option('limits.attempts.max', integer(1), 120, 'handshakes per IP (IPv6 by /64, ×8 by /48); 429'),
  option('limits.attempts.timeWindow', timeWindow, '1 minute', 'ms, or a time in words'),
  option('limits.attempts.allowList', either(listOf(text, 0), func), undefined, 'addresses not counted'),
  option('limits.attempts.keyGenerator', func, undefined, 'what counts as one client'),
  option('limits.attempts.ipv6Subnet', integer(32, 128), 64, 'the IPv6 prefix that counts as one client'),
  option('limits.attempts.globalMax', integer(1), undefined, 'handshakes of everybody together'),
  pluginOption('limits.connections.total', integer(1), 10_000, 'concurrent, per node; 503'),
  option('limits.connections.perIp', integer(1), 50, 'concurrent; 429'),
  option('limits.connections.perUser', integer(1), 10, 'concurrent; 429'),
  option('limits.connections.unauthenticated', integer(1), 100, 'waiting for their first message; 503'),
  option('limits.messages.perSecond', positive(), 20, 'token bucket per connection'),
  option('limits.messages.burst', integer(1), 40, 'its size'),
  option('limits.messages.onExceeded', oneOf('error', 'delay', 'close'), 'error', 'dropped, kept, or 1008'),
  option('limits.userMessages', either(shape(rate), no), false, 'shared by all connections of a user'),
  option('limits.bytes.perSecond', positive(), 65_536, 'token bucket per connection'),
  option('limits.bytes.burst', integer(1), 262_144, 'its size; at least `limits.maxPayloadBytes`'),
  option('limits.fragments.perMessage', integer(1), 64, 'frames of one message; 1008'),
  option('limits.fragments.bufferedChunks', integer(1), 1_024, 'TCP chunks of one message; 1008'),
  option('limits.controlFrames.perSecond', positive(), 5, 'pings and pongs received; 1008'),
  option('limits.controlFrames.burst', integer(1), 20, 'the size of that bucket'),
  option('limits.controlFrames.pendingPongs', integer(1), 16, 'pongs waiting to be written'),
  option('limits.json.depth', integer(1, 1_000), 32, 'nesting; 1007'),
  option('limits.json.keys', integer(1), 1_000, 'properties of a message; 1007'),
  option('limits.strikes.max', integer(0), 5, 'violations tolerated in the window; then 1008'),
  option('limits.strikes.windowMs', duration, 60_000, 'the window; it starts with the first violation'),
  option('limits.queue.messages', integer(1), 64, 'waiting for serial handlers; 1008'),
  option('limits.queue.bytes', integer(1), 262_144, 'the same in bytes'),
  option('limits.sendBuffer.softBytes', integer(1), 262_144, 'above it `send()` drops and returns false'),
  option('limits.sendBuffer.hardBytes', integer(1), 1_048_576, 'above it the peer is terminated'),
  pluginOption('limits.totalBufferedBytes', integer(1, Number.MAX_SAFE_INTEGER), 268_435_456, 'of all connections'),
  option('limits.topics', integer(0), 50, 'subscriptions of a connection'),
  option('heartbeat.intervalMs', duration, 30_000, 'of silence before a ping'),
  option('heartbeat.timeoutMs', duration, 10_000, 'for its answer; then the peer is terminated'),
  option('handshakeTimeoutMs', duration, 5_000, 'for the whole handshake; 503'),
  option('handlerTimeoutMs', duration, 10_000, 'for a handler or `onOpen`; 1011'),
  option('closeTimeoutMs', integer(1, 30_000), 5_000, 'for the answer to a close frame'),
  option('idleTimeoutMs', optionalDuration, false, 'without a message; 4008'),
  option('maxLifetimeMs', optionalDuration, 43_200_000, '± 10 %; 4001'),
  option('upgradeHeaders', constantHeaders, undefined, 'on the 101 and on refusals; nosniff, and HSTS over TLS'),
  pluginOption('shutdown.timeoutMs', duration, 10_000, 'until the last socket is destroyed'),
  pluginOption('shutdown.spreadMs', integer(0), 0, 'over which the 1012 closes are spread'),
  pluginOption('closeCodes', closeCodeMap, undefined, "the table below, `'iana'`, or a partial map"),
  pluginOption('logSamplePerSecond', integer(1), 10, 'log lines per event and reason under flood'),
  pluginOption('store', store, undefined, 'memory, or a store shared by several nodes'),
  pluginOption('websocket.errorHandler', func, undefined, 'of plain @fastify/websocket routes')
]
