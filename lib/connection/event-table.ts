import type { Checked, CloseCause } from '../close-codes.ts'

/** The types of fields, as the tables name them. */
interface FieldTypes {
  readonly string: string
  readonly number: number
  readonly 'string[]': readonly string[]
  readonly CloseCause: CloseCause
}

interface FieldEntry {
  readonly type: keyof FieldTypes
  readonly meaning: string
}

/** What the fields of events hold. Only identifiers, counts and machine tokens (threat P1). */
export const eventFields = {
  route: { type: 'string', meaning: "the route's pattern; none where no route was found or looked for" },
  protocol: { type: 'string', meaning: "the subprotocol agreed on, or `''`" },
  cause: { type: 'CloseCause', meaning: 'why the connection ended, see [Causes](#causes)' },
  status: { type: 'number', meaning: 'the HTTP status that says no' },
  reason: {
    type: 'string',
    meaning: 'why: a token of the guard; of `ws.close` the reason that was sent, a token or your own'
  },
  header: { type: 'string', meaning: 'the header that came more than once' },
  type: { type: 'string', meaning: 'the type of the message, as the contract declares it' },
  connectionId: { type: 'string', meaning: '`connection.id`; none before there is a connection' },
  ip: { type: 'string', meaning: "`request.ip`; the socket's own peer where a request never reached Fastify" },
  sub: { type: 'string', meaning: 'the subject of the user; none while nobody has said who it is' },
  expiresAt: { type: 'number', meaning: 'when the credential expires, in ms since the epoch' },
  code: { type: 'number', meaning: "the close code, which may be the peer's; 1006 where there was none" },
  ms: { type: 'number', meaning: 'how long the connection lived' },
  received: { type: 'number', meaning: 'messages received, also those that were dropped' },
  sent: { type: 'number', meaning: 'messages sent' },
  dropped: { type: 'number', meaning: 'messages dropped, in either direction' },
  receivedBytes: { type: 'number', meaning: 'bytes read from the socket, handshake and frame headers included' },
  sentBytes: { type: 'number', meaning: 'bytes written to the socket, likewise' },
  bufferedBytes: { type: 'number', meaning: 'what waits to be read by the peer' },
  origin: { type: 'string', meaning: 'the Origin that was refused, cut and without control characters' },
  expected: { type: 'string[]', meaning: 'the origins that the route admits' },
  errorCode: { type: 'string', meaning: "the verifier's, the store's or the guard's word for what failed" },
  paths: { type: 'string[]', meaning: 'JSON pointers to what did not match; they may name a key of the peer' },
  connections: { type: 'number', meaning: 'connections open on this node' }
} as const

export type EventField = keyof Checked<Record<string, FieldEntry>, typeof eventFields>

/** What a log line may have beside the fields of its event. */
export const logOnlyFields = {
  suppressed: { type: 'number', meaning: 'in the log only: lines of this event and reason left out before this one' },
  err: { type: 'object', meaning: 'in the log only: what your own code threw, of `ws.handler_error`' }
} as const

interface EventEntry {
  readonly level: 'info' | 'warn' | 'error'
  /** Whether a flood of it is sampled in the log. Handshakes are limited before the others are reached (threat P2). */
  readonly isSampled: boolean
  readonly meaning: string
  /** Fields with few values, all of them ours or declared by the developer: fit for the labels of a metric (threat P4). */
  readonly labels: readonly EventField[]
  /** Identifiers, numbers, and what a peer or the developer chose. */
  readonly details: readonly EventField[]
  /** Those of both kinds that may be missing. */
  readonly optional: readonly EventField[]
  /** What `reason` may be. */
  readonly reasons?: readonly string[]
}

/** What operators see: the one table that the types, the log, the channels and the README come from. */
export const eventTable = {
  'ws.open': {
    level: 'info',
    isSampled: false,
    meaning: 'a connection was opened',
    labels: ['route', 'protocol'],
    details: ['connectionId', 'ip', 'sub', 'expiresAt'],
    optional: ['sub', 'expiresAt']
  },
  'ws.authenticated': {
    level: 'info',
    isSampled: false,
    meaning: 'the first message of an open connection said who it is',
    labels: ['route'],
    details: ['connectionId', 'ip', 'sub', 'expiresAt'],
    optional: ['sub', 'expiresAt']
  },
  'ws.close': {
    level: 'info',
    isSampled: false,
    meaning: 'a connection ended',
    labels: ['route', 'cause'],
    details: [
      'connectionId',
      'ip',
      'sub',
      'code',
      'reason',
      'ms',
      'received',
      'sent',
      'dropped',
      'receivedBytes',
      'sentBytes'
    ],
    optional: ['sub', 'receivedBytes', 'sentBytes']
  },
  'ws.refused': {
    level: 'info',
    isSampled: true,
    meaning: 'a handshake was refused, or a plain GET came; the reasons are in [Refusals](#refusals)',
    labels: ['route', 'status', 'reason', 'header'],
    details: ['ip', 'sub', 'origin', 'expected', 'errorCode'],
    optional: ['route', 'header', 'ip', 'sub', 'origin', 'expected', 'errorCode']
  },
  'ws.auth_failed': {
    level: 'warn',
    isSampled: true,
    meaning: 'a credential was missing, bad or revoked, in the handshake (beside `ws.refused`) or in a message',
    labels: ['route', 'reason'],
    details: ['connectionId', 'ip', 'sub', 'errorCode'],
    optional: ['route', 'connectionId', 'sub', 'errorCode']
  },
  'ws.forbidden': {
    level: 'warn',
    isSampled: true,
    meaning: '`authorize` said no, in the handshake or later, or a new token was of another subject',
    labels: ['route', 'reason', 'type'],
    details: ['connectionId', 'ip', 'sub'],
    optional: ['route', 'type', 'connectionId', 'sub'],
    reasons: ['forbidden', 'reauthorize', 'refresh', 'handler', 'refresh_subject']
  },
  'ws.invalid': {
    level: 'info',
    isSampled: true,
    meaning: 'a message was not JSON or did not match',
    labels: ['route', 'reason'],
    details: ['connectionId', 'ip', 'sub', 'paths'],
    optional: ['sub', 'paths'],
    reasons: ['invalid_json', 'unknown_type', 'invalid_message']
  },
  'ws.rate_limited': {
    level: 'info',
    isSampled: true,
    meaning: 'a spell began in which messages are dropped, or a flood was closed',
    labels: ['route', 'reason'],
    details: ['connectionId', 'ip', 'sub'],
    optional: ['sub'],
    reasons: ['dropped', 'closed']
  },
  'ws.slow_consumer': {
    level: 'warn',
    isSampled: true,
    meaning: 'a message was dropped, or the peer terminated, because it does not read',
    labels: ['route', 'reason'],
    details: ['connectionId', 'ip', 'sub', 'bufferedBytes'],
    optional: ['sub'],
    reasons: ['dropped', 'terminated']
  },
  'ws.heartbeat_timeout': {
    level: 'info',
    isSampled: true,
    meaning: 'no answer to a ping',
    labels: ['route', 'reason'],
    details: ['connectionId', 'ip', 'sub'],
    optional: ['sub'],
    reasons: ['no_pong']
  },
  'ws.handler_error': {
    level: 'error',
    isSampled: true,
    meaning: 'your own code threw',
    labels: ['route', 'reason'],
    details: ['connectionId', 'ip', 'sub'],
    optional: ['sub'],
    reasons: ['onOpen', 'handler', 'authorize', 'data', 'topics', 'onClose', 'onError']
  },
  'ws.refreshed': {
    level: 'info',
    isSampled: false,
    meaning: 'a new token took the place of the old one',
    labels: ['route', 'reason'],
    details: ['connectionId', 'ip', 'sub', 'expiresAt'],
    optional: ['sub', 'expiresAt'],
    reasons: ['auth']
  },
  'ws.store': {
    level: 'warn',
    isSampled: true,
    meaning: 'the store does not answer, or answers again',
    labels: ['reason'],
    details: ['errorCode'],
    optional: ['errorCode'],
    reasons: ['down', 'up']
  },
  'ws.bus_ignored': {
    level: 'warn',
    isSampled: true,
    meaning: 'a message that came over the bus does not match the contract of this node',
    labels: ['reason'],
    details: [],
    optional: [],
    reasons: ['malformed', 'contract', 'type', 'schema']
  },
  'ws.drain': {
    level: 'info',
    isSampled: false,
    meaning: 'the shutdown began',
    labels: [],
    details: ['connections'],
    optional: []
  }
} as const

export type WsEventName = keyof Checked<Record<string, EventEntry>, typeof eventTable>

type Entry<N extends WsEventName> = (typeof eventTable)[N]
type Declared<N extends WsEventName> = Entry<N>['labels' | 'details'][number]
type Optional<N extends WsEventName> = Entry<N>['optional'][number]

type ValueOf<N extends WsEventName, F extends EventField> = F extends 'reason'
  ? Entry<N> extends { readonly reasons: readonly (infer Reason)[] }
    ? Reason
    : string
  : FieldTypes[(typeof eventFields)[F]['type']]

/** One object type, as an editor should show it. */
type Flat<T> = { [K in keyof T]: T[K] }

/** What the table declares for an event. */
export type EventPayload<N extends WsEventName> = Flat<
  { readonly [F in Exclude<Declared<N>, Optional<N>>]: ValueOf<N, F> } & {
    readonly [F in Optional<N>]?: ValueOf<N, F> | undefined
  }
>

/** A message on the channel `fastify-ws-guard:<name>`; without a name any of them, told apart by `event`. */
export type WsEvent<N extends WsEventName = WsEventName> = {
  [Name in N]: Flat<{ readonly event: Name } & EventPayload<Name>>
}[N]

/** Events about a connection. */
export type ConnectionEventName = {
  [N in WsEventName]: 'connectionId' extends Declared<N> ? N : never
}[WsEventName]

/** What an event says besides which connection it is about; `sub` of a user that the connection does not have yet. */
export type OwnFields<N extends ConnectionEventName> = Omit<
  EventPayload<N>,
  'connectionId' | 'route' | 'ip' | 'sub'
> & {
  readonly sub?: string | undefined
}
