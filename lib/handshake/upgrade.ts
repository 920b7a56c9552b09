import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import type { Verified } from '../connection/session.ts'
import type { Held } from './held.ts'
import type { HandshakeSettings } from './settings.ts'
import type { UrlSecrets } from './url-secrets.ts'

/** What one handshake has come to know, kept on its raw request until the 101. */
export interface Upgrade {
  readonly socket: Duplex
  readonly head: Buffer
  /** The URL as it came, and the credentials that were taken out of it. */
  readonly url: string
  readonly secrets: UrlSecrets['taken']
  /** When it began, in ms on the clock that never jumps. */
  readonly askedAt: number
  readonly held: Held
  settings: HandshakeSettings | undefined
  /** Constants put on the 101 and on a refusal. */
  headers: Readonly<Record<string, string>>
  /** The subprotocol answered in the 101. */
  protocol: string
  /** Set once authenticated; a handshake that will send its token as the first message has none yet. */
  verified: Verified | undefined
  data: unknown
  /** Gives back the slot of a socket that will authenticate by its first message. */
  releaseUnauthenticated: (() => void) | undefined
}

const kUpgrade: unique symbol = Symbol('fastify-ws-guard.upgrade')
const kSettings: unique symbol = Symbol('fastify-ws-guard.settings')
const kPlain: unique symbol = Symbol('fastify-ws-guard.plain')

type Marked = IncomingMessage & { [kUpgrade]?: Upgrade | undefined }

/** What routes carry in their `config` for us: the settings of a guarded one, or the mark of a plain websocket route. */
export interface RouteMarks {
  [kSettings]?: HandshakeSettings
  [kPlain]?: true
}

export function setUpgrade(request: IncomingMessage, upgrade: Upgrade): void {
  ;(request as Marked)[kUpgrade] = upgrade
}

export function upgradeOf(request: IncomingMessage): Upgrade | undefined {
  return (request as Marked)[kUpgrade]
}

/** Lets the handshake go: an open connection does not need it. */
export function forgetUpgrade(request: IncomingMessage): void {
  ;(request as Marked)[kUpgrade] = undefined
}

export function guardedConfig(config: object | undefined, settings: HandshakeSettings): object & RouteMarks {
  return { ...config, [kSettings]: settings }
}

export function plainConfig(config: object | undefined): object & RouteMarks {
  return { ...config, [kPlain]: true }
}

/** The settings of the guarded route that a request matched. */
export function settingsOf(request: FastifyRequest): HandshakeSettings | undefined {
  return (request.routeOptions.config as RouteMarks | undefined)?.[kSettings]
}

/** True for the websocket routes that the app declares without us. */
export function isPlainRoute(request: FastifyRequest): boolean {
  return (request.routeOptions.config as RouteMarks | undefined)?.[kPlain] === true
}
