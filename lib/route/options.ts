import type { UserType } from '@fastify/jwt'
import type { Static, TSchema } from '@sinclair/typebox'
import type {
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  FastifySchema,
  RawServerDefault,
  RouteGenericInterface,
  RouteShorthandOptions
} from 'fastify'
import type { WebSocket } from 'ws'
import type { CloseCodes, closeCodePresets } from '../close-codes.ts'
import type { CloseInfo, Identity, WsConnection } from '../connection/types.ts'
import type { ClientType, Contract, MessageOf, ReplyOf } from '../contract.ts'
import type { AttemptsOptions } from '../handshake/attempts.ts'
import type { CredentialSource } from '../handshake/credentials.ts'
import type { OriginPolicy } from '../handshake/origin.ts'
import type { OnExceeded } from '../limits/limits.ts'
import type { Store } from '../limits/store.ts'
import type { Rate } from '../limits/token-bucket.ts'

/**
 * Types that an app declares once: `declare module 'fastify-ws-guard' { interface WsGuardTypes { user: MyUser } }`
 * when the plugin's own `auth.verify` is not @fastify/jwt's.
 */
// biome-ignore lint/suspicious/noEmptyInterface: it is there to be augmented
export interface WsGuardTypes {}

/** The user of a route whose `auth.verify` does not say: @fastify/jwt's `FastifyJWT['user']`, or `WsGuardTypes.user`. */
export type DefaultUser = WsGuardTypes extends { user: infer U } ? U : UserType

/** Defaults, units and allowed values of all options are in `option-table.ts` and in the README. */
export interface AuthOptions<User = unknown> {
  /** Where a credential may come from. A bad one of one kind never falls through to another. */
  readonly from?: readonly CredentialSource[]
  /** Your own verifier; null or undefined is 401, a token error of a JWT library is 401, any other rejection is 503. */
  readonly verify?: (token: string, request: FastifyRequest) => User
  readonly namespace?: string
  readonly algorithms?: readonly string[]
  readonly requiredClaims?: readonly string[]
  readonly audience?: string | readonly string[]
  readonly issuer?: string | readonly string[]
  readonly maxTokenAgeMs?: number
  /** What limits, kicks and expiry go by. */
  readonly identity?: (user: NonNullable<Awaited<NoInfer<User>>>) => Identity
  readonly queryParam?: string
  readonly cookieName?: string
  readonly messageTimeoutMs?: number
  readonly refresh?: { readonly perMinute: number } | false
}

export interface LimitsOptions {
  /** Bytes of one message. */
  readonly maxPayloadBytes?: number
  readonly attempts?: Partial<AttemptsOptions>
  readonly connections?: { readonly perIp?: number; readonly perUser?: number; readonly unauthenticated?: number }
  readonly messages?: Partial<Rate> & { readonly onExceeded?: OnExceeded }
  readonly userMessages?: Rate | false
  readonly bytes?: Partial<Rate>
  readonly fragments?: { readonly perMessage?: number; readonly bufferedChunks?: number }
  readonly controlFrames?: Partial<Rate> & { readonly pendingPongs?: number }
  readonly json?: { readonly depth?: number; readonly keys?: number }
  readonly strikes?: { readonly max?: number; readonly windowMs?: number }
  readonly queue?: { readonly messages?: number; readonly bytes?: number }
  readonly sendBuffer?: { readonly softBytes?: number; readonly hardBytes?: number }
  readonly topics?: number
}

/** What the plugin sets for all routes and a route may set for itself. */
export interface SharedOptions {
  readonly origins?: OriginPolicy
  readonly hosts?: readonly string[]
  readonly missingOrigin?: 'bearer-only' | 'refuse'
  readonly reauthorizeMs?: number | false
  readonly requireTls?: boolean
  readonly protocols?: readonly string[]
  readonly refuse?: 'http' | 'close'
  readonly limits?: LimitsOptions
  readonly heartbeat?: { readonly intervalMs?: number; readonly timeoutMs?: number }
  readonly handshakeTimeoutMs?: number
  readonly handlerTimeoutMs?: number
  readonly closeTimeoutMs?: number
  readonly idleTimeoutMs?: number | false
  readonly maxLifetimeMs?: number | false
  readonly upgradeHeaders?: Readonly<Record<string, string>>
}

export interface WsGuardOptions extends SharedOptions {
  readonly auth?: AuthOptions | false
  readonly authorize?: (user: DefaultUser, request: FastifyRequest) => boolean | Promise<boolean>
  readonly allowUnsafeTrustProxy?: boolean
  readonly limits?: LimitsOptions & {
    readonly connections?: { readonly total?: number }
    readonly totalBufferedBytes?: number
  }
  readonly shutdown?: { readonly timeoutMs?: number; readonly spreadMs?: number }
  readonly closeCodes?: keyof typeof closeCodePresets | Partial<CloseCodes>
  readonly logSamplePerSecond?: number
  readonly store?: Store
  readonly websocket?: {
    readonly errorHandler?: (
      this: FastifyInstance,
      error: Error,
      socket: WebSocket,
      request: FastifyRequest,
      reply: FastifyReply
    ) => void
  }
}

/** The schemas of the handshake that Fastify checks. */
export interface WsRouteSchema {
  readonly params?: TSchema
  readonly querystring?: TSchema
  readonly headers?: TSchema
}

type StaticOr<S, Fallback> = S extends TSchema ? Static<S> : Fallback
export type ParamsOf<S extends WsRouteSchema> = StaticOr<S['params'], Record<string, string>>
export type QueryOf<S extends WsRouteSchema> = StaticOr<S['querystring'], Record<string, unknown>>

/** The handshake's request, typed by the route's schema. */
export type WsRequest<S extends WsRouteSchema> = FastifyRequest<
  RouteGenericInterface & { Params: ParamsOf<S>; Querystring: QueryOf<S>; Headers: StaticOr<S['headers'], object> }
>

/** `undefined` with `auth: false` (`F` is `false`); what a route's own `auth.verify` returns; else the default. */
export type UserOf<U, F> = [F] extends [false] ? undefined : NonNullable<Awaited<U>>

export type WsHandlerFunction<C extends Contract, K extends ClientType<C>, Conn> = (
  this: FastifyInstance,
  message: MessageOf<C, K>,
  connection: Conn
) => ReplyOf<C, K> | Promise<ReplyOf<C, K>>

/** One handler for each clientToServer type. */
export type WsHandlers<C extends Contract, Conn> = {
  readonly [K in ClientType<C>]:
    | WsHandlerFunction<C, K, Conn>
    | {
        /** Tokens of `limits.messages` that a message costs; 1 by default. */
        readonly cost?: number
        /** Anything but true: error `forbidden`, and a strike. */
        readonly authorize?: (connection: Conn) => boolean | Promise<boolean>
        readonly handler: WsHandlerFunction<C, K, Conn>
      }
}

type RouteHooks = Pick<
  RouteShorthandOptions<RawServerDefault>,
  | 'onRequest'
  | 'preParsing'
  | 'preValidation'
  | 'preHandler'
  | 'config'
  | 'constraints'
  | 'logLevel'
  | 'prefixTrailingSlash'
>

/** What every route has, whatever crosses it. */
export interface WsRouteBase<C extends Contract, S extends WsRouteSchema, D, U, F> extends SharedOptions, RouteHooks {
  readonly schema?: S & FastifySchema
  readonly auth?: AuthOptions<U> | F
  /** Anything but true: 403. */
  readonly authorize?: (user: UserOf<U, F>, request: WsRequest<S>) => boolean | Promise<boolean>
  /** Makes `connection.data` from the handshake's request. */
  readonly data?: (request: WsRequest<S>) => D
  /** Called once, whatever ended the connection. */
  readonly onClose?: (connection: ConnectionOf<C, S, D, U, F>, info: CloseInfo) => void | Promise<void>
  /** Sees every error that your own code threw on a connection. */
  readonly onError?: (error: unknown, connection: ConnectionOf<C, S, D, U, F>) => void | Promise<void>
}

export type ConnectionOf<C extends Contract, S extends WsRouteSchema, D, U, F> = WsConnection<
  C,
  UserOf<U, F>,
  ParamsOf<S>,
  QueryOf<S>,
  Awaited<D>
>

/** A route whose messages a contract declares. */
export interface WsContractRoute<C extends Contract, S extends WsRouteSchema, D, U, F>
  extends WsRouteBase<C, S, D, U, F> {
  readonly contract: C
  readonly handlers: WsHandlers<C, ConnectionOf<C, S, D, U, F>>
  /** Whether a connection may subscribe to a topic; all of them without it. */
  readonly topics?: (connection: ConnectionOf<C, S, D, U, F>, topic: string) => boolean
  /** Messages wait, within `limits.queue`, until it has settled. */
  readonly onOpen?: (connection: ConnectionOf<C, S, D, U, F>, request: WsRequest<S>) => void | Promise<void>
  readonly handler?: never
}

/** A route with a protocol of its own: the same handshake, session, frame, byte and size limits, and heartbeat. */
export interface WsRawRoute<S extends WsRouteSchema, D, U, F> extends WsRouteBase<Contract, S, D, U, F> {
  /** Attach your listeners to `connection.socket` before the first await. */
  readonly handler: (
    this: FastifyInstance,
    connection: ConnectionOf<Contract, S, D, U, F>,
    request: WsRequest<S>
  ) => void | Promise<void>
  readonly contract?: never
  readonly handlers?: never
}

/** `app.wsRoute()`: declares a guarded websocket route. @throws OptionError for anything that could not be guarded */
export interface WsRoute {
  <
    C extends Contract,
    const S extends WsRouteSchema = Record<never, never>,
    D = undefined,
    U = DefaultUser,
    F extends false | undefined = undefined
  >(
    path: string,
    options: WsContractRoute<C, S, D, U, F>
  ): FastifyInstance
  <
    const S extends WsRouteSchema = Record<never, never>,
    D = undefined,
    U = DefaultUser,
    F extends false | undefined = undefined
  >(
    path: string,
    options: WsRawRoute<S, D, U, F>
  ): FastifyInstance
}
