import type { FastifyInstance } from 'fastify'
import { OptionError } from '../errors.ts'
import { type CredentialSource, ticketParam } from '../handshake/credentials.ts'
import { checkAlgorithms } from '../handshake/jwt-keys.ts'
import type { HandshakeSettings } from '../handshake/settings.ts'
import { takesTickets } from '../handshake/tickets.ts'
import { isObject } from '../messages/is-object.ts'
import type { OptionValues } from './resolve-options.ts'

/** What is right by itself and wrong together. Each error names both options and the fix. */
export function checkTogether(values: OptionValues, where: string): void {
  const number = (path: string): number => values.get<number>(path)
  const atLeast = (larger: string, smaller: string): void => {
    if (number(larger) < number(smaller)) {
      throw new OptionError(
        `${where}: option "${larger}" (${number(larger)}) must be at least "${smaller}" (${number(smaller)})`
      )
    }
  }
  atLeast('limits.bytes.burst', 'limits.maxPayloadBytes')
  atLeast('limits.queue.bytes', 'limits.maxPayloadBytes')
  atLeast('limits.sendBuffer.hardBytes', 'limits.sendBuffer.softBytes')
  atLeast('shutdown.timeoutMs', 'shutdown.spreadMs')
}

/** Decisions nobody may forget (threats A1, H1, L4), and credentials that need something else to be safe. */
export function checkDecisions(values: OptionValues, where: string, isRaw: boolean): void {
  if (values.get('reauthorizeMs') !== false && values.get('authorize') === undefined) {
    throw new OptionError(`${where}: option "reauthorizeMs" needs "authorize"`)
  }
  if (values.get('origins') === undefined) {
    throw new OptionError(
      `${where}: option "origins" is required: list the exact origins of your pages, such as ['https://app.example.com'], or say false`
    )
  }
  const auth = values.get<unknown>('auth')
  if (auth === undefined) {
    throw new OptionError(`${where}: option "auth" is required: {} for tokens of @fastify/jwt, or say false`)
  }
  if (auth === false) return
  const from = values.get<readonly CredentialSource[]>('auth.from')
  if (from.includes('cookie') && values.get('origins') === false) {
    throw new OptionError(
      `${where}: option "auth.from" has 'cookie': a cookie comes with every page's handshake, so "origins" cannot be false`
    )
  }
  if (from.includes('message') && isRaw) {
    throw new OptionError(
      `${where}: option "auth.from" has 'message': only a route with a contract has a first message`
    )
  }
  const hasOwnIdentity = values.get('auth.identity') !== undefined || values.get('auth.verify') !== undefined
  if (!hasOwnIdentity && !values.get<readonly string[]>('auth.requiredClaims').includes('sub')) {
    throw new OptionError(
      `${where}: option "auth.requiredClaims" must have 'sub', which limits and kicks go by, or set "auth.identity"`
    )
  }
  const algorithms = values.get<readonly string[] | undefined>('auth.algorithms')
  if (algorithms !== undefined) checkAlgorithms(algorithms, 'auth.algorithms')
}

/** Options of @fastify/jwt beside a verifier of one's own would look as if they held. */
export function checkOwnVerifier(auth: unknown, values: OptionValues, where: string): void {
  // The verifier may be the plugin's: what the route says beside it would not hold either.
  if (!isObject(auth) || values.get('auth.verify') === undefined) return
  for (const name of ['namespace', 'algorithms', 'requiredClaims', 'audience', 'issuer', 'maxTokenAgeMs']) {
    if (auth[name] !== undefined) {
      throw new OptionError(
        `${where}: option "auth.${name}" is for @fastify/jwt; with "auth.verify" your own function checks it`
      )
    }
  }
}

/** The query parameters of all routes: those that carry a credential, and those that the routes' schemas declare. */
export interface QueryNames {
  /** Taken out of the URL of every upgrade. */
  readonly secret: Set<string>
  /** Those of them that some route reads a credential from. */
  readonly used: Set<string>
  readonly declared: Set<string>
}

/**
 * The guard takes the secret parameters out of the URL of every upgrade: no route can use them for something else.
 * Asked after each route, so that it does not matter which one was declared first.
 */
export function checkQueryNames({ secret, declared }: QueryNames, where: string): void {
  for (const name of declared) {
    if (!secret.has(name)) continue
    const own = name === ticketParam ? '' : ', or set "auth.queryParam"'
    throw new OptionError(
      `${where}: schema.querystring has "${name}", which is taken out of the URL as a credential: rename it${own}`
    )
  }
}

/** The properties that a route's `schema.querystring` declares. */
export function queryNamesOf(schema: unknown): readonly string[] {
  const querystring = isObject(schema) ? schema.querystring : undefined
  return isObject(querystring) && isObject(querystring.properties) ? Object.keys(querystring.properties) : []
}

/** Behind a `;` nobody would look for a credential, and the log would show it (threat P1). */
export function checkDelimiter(app: FastifyInstance, from: readonly CredentialSource[], where: string): void {
  const { useSemicolonDelimiter, routerOptions } = app.initialConfig as Delimiting
  const source = from.find((name) => name === 'query' || name === 'ticket')
  if (source !== undefined && (useSemicolonDelimiter || routerOptions?.useSemicolonDelimiter)) {
    throw new OptionError(
      `${where}: option "auth.from" has '${source}': Fastify's useSemicolonDelimiter has to be false, or a URL could carry it behind ";"`
    )
  }
}

/** Fastify's option, under its old name and under its new one. */
interface Delimiting {
  readonly useSemicolonDelimiter?: boolean
  readonly routerOptions?: { readonly useSemicolonDelimiter?: boolean }
}

/** A ticket is bound to the path of its route. Two routes of one path have different constraints, and users. */
export function checkTickets(routes: readonly HandshakeSettings[], settings: HandshakeSettings, where: string): void {
  if (takesTickets(settings) && routes.some((other) => other.path === settings.path && takesTickets(other))) {
    throw new OptionError(
      `${where}: option "auth.from" has 'ticket', and so has another route of this path: a ticket would open both; only one can take them`
    )
  }
}
