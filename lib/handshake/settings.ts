import type { FastifyRequest } from 'fastify'
import type { ConnectionSettings } from '../connection/types.ts'
import type { Attempts } from './attempts.ts'
import type { Authenticator, AuthSettings } from './authenticate.ts'
import type { CompiledOrigins, OriginPolicy } from './origin.ts'

/** What a handshake needs of its route, besides what its connections need: resolved, frozen. */
export interface HandshakeSettings extends ConnectionSettings {
  readonly origins: CompiledOrigins
  readonly originPolicy: OriginPolicy
  readonly hosts: readonly string[] | undefined
  readonly missingOrigin: 'bearer-only' | 'refuse'
  readonly requireTls: boolean
  readonly auth: (AuthSettings & { readonly authenticator: Authenticator }) | false
  readonly authorize: ((user: unknown, request: FastifyRequest) => boolean | Promise<boolean>) | undefined
  readonly makeData: ((request: FastifyRequest) => unknown) | undefined
  readonly protocols: readonly string[]
  readonly refuse: 'http' | 'close'
  readonly handshakeTimeoutMs: number
  /** The developer's own constants in place of the default ones. */
  readonly upgradeHeaders: Readonly<Record<string, string>> | undefined
  readonly attempts: Attempts
}
