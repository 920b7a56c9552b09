/** How a token is verified by @fastify/jwt: with the app's own secret, and with what the route demands besides. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { OptionError, readText } from '../errors.ts'
import { isObject } from '../messages/is-object.ts'
import { type ClaimRules, checkClaims, checkDecoded, type DecodedToken } from './claims.ts'
import { type AlgorithmChoice, algorithmsOf, isHmac, type JwtDecorator, readKeys } from './jwt-keys.ts'

/** What of `auth` is about JSON Web Tokens. */
export interface JwtOptions extends ClaimRules, AlgorithmChoice {
  readonly namespace: string | undefined
  readonly requiredClaims: readonly string[]
  readonly audience: string | readonly string[] | undefined
  readonly issuer: string | readonly string[] | undefined
}

/** A user whom nobody has looked at yet, or why the token itself is refused. */
type Verdict = { readonly user: unknown; readonly claims: unknown } | { readonly flaw: string }
export type Verify = (token: string, request: FastifyRequest) => Promise<Verdict>

/** fast-jwt's code for a function that gave it no key, or failed. */
export const noKey = 'FAST_JWT_KEY_FETCHING_ERROR'

/** `request.jwtVerify` with our token and our demands, so that its secret function, `trusted` and `formatUser` hold. */
export function jwtVerify(auth: JwtOptions, app: FastifyInstance, clock: () => number): Verify {
  const jwt = decoratorOf(auth, app)
  const method = auth.namespace === undefined ? 'jwtVerify' : `${auth.namespace}JwtVerify`
  if (!app.hasRequestDecorator(method)) {
    throw new OptionError(
      `option "auth.namespace": there is no request.${method}; leave @fastify/jwt its own name for it`
    )
  }
  const keys = readKeys(jwt)
  const algorithms = algorithmsOf(auth, jwt, keys)
  const demands = demandsOf(auth, algorithms, keys === undefined && !jwt.options.verify?.key)
  // A secret that is a function is asked for each token, and @fastify/jwt would keep what it has prepared for each key.
  const isPrepared = keys !== undefined && !hasOwnDemands(auth, jwt)
  return async (token, request) => {
    const decoded = jwt.decode(token, { complete: true }) as DecodedToken
    const unread = checkDecoded(decoded)
    if (unread !== undefined) return { flaw: unread }
    if (!algorithms.includes(decoded.header.alg as string)) return { flaw: 'ALGORITHM' }
    try {
      // Without options of ours @fastify/jwt verifies with what it has prepared, its key among it, which takes a
      // fraction of the time; it then looks for the token in this header.
      const isBearer = request.headers.authorization === `Bearer ${token}`
      const user = await (isPrepared && isBearer && meets(decoded, demands)
        ? verifierOf(request, method)()
        : verifierOf(request, method)({ verify: { ...demands, extractToken: () => token } }))
      const flaw = checkClaims(decoded.payload as object, auth, clock())
      return flaw === undefined ? { user, claims: withStringsOf(user, decoded.payload as object) } : { flaw }
    } catch (error) {
      // `verify.key` is a function and knows no key for this token; what it fails with would be the original error.
      if (readText(error, 'code') !== noKey || Reflect.get(error as object, 'originalError')) throw error
      return { flaw: 'NO_KEY' }
    }
  }
}

/**
 * The token is decoded twice, here and by the verifier. The user is kept for as long as the connection is open, and so
 * is the identity that is made of these claims: where both say the same, they share it.
 */
function withStringsOf(user: unknown, claims: object): unknown {
  const shared: Record<string, unknown> = { ...claims }
  for (const name of idClaims) {
    // What a function of the developer's has made of the claims is not asked for anything.
    const value = isObject(user) ? Object.getOwnPropertyDescriptor(user, name)?.value : undefined
    if (typeof value === 'string' && value === shared[name]) shared[name] = value
  }
  return shared
}

const idClaims = ['sub', 'sid', 'jti']

function decoratorOf(auth: JwtOptions, app: FastifyInstance): JwtDecorator {
  const root = (app as unknown as { jwt?: JwtDecorator & Record<string, JwtDecorator> }).jwt
  const jwt = auth.namespace === undefined ? root : root?.[auth.namespace]
  if (jwt?.options === undefined) {
    throw new OptionError(
      auth.namespace === undefined
        ? 'option "auth" needs @fastify/jwt: register it, or set auth.verify, or say auth: false'
        : `option "auth.namespace": @fastify/jwt has no namespace "${auth.namespace}"`
    )
  }
  return jwt
}

type JwtVerify = (options?: object) => Promise<unknown>

function verifierOf(request: FastifyRequest, method: string): JwtVerify {
  return (options) => (request as unknown as Record<string, JwtVerify>)[method]?.(options) as Promise<unknown>
}

/** What of the app's own options ours would take the place of, or where they look for the token elsewhere. */
const ownDemands = [
  ...['requiredClaims', 'allowedAud', 'allowedIss', 'extractToken', 'onlyCookie'],
  ...['cache', 'complete', 'key']
]

function hasOwnDemands({ algorithms }: JwtOptions, { options }: JwtDecorator): boolean {
  const verify = options.verify ?? {}
  return ownDemands.some((name) => verify[name]) || (algorithms !== undefined && verify.algorithms !== undefined)
}

/** One that does not is left to the verifier with all demands, which refuses it in its words. */
function meets({ payload }: DecodedToken, demands: Demands): boolean {
  const { requiredClaims, allowedAud, allowedIss } = demands
  const { aud, iss } = payload as Readonly<Record<string, unknown>>
  return (
    requiredClaims.every((claim) => claim in (payload as object)) &&
    (allowedAud === undefined || isOneOf(allowedAud, aud)) &&
    (allowedIss === undefined || isOneOf(allowedIss, iss))
  )
}

function isOneOf(allowed: string | readonly string[], claim: unknown): boolean {
  return typeof claim === 'string' && (typeof allowed === 'string' ? allowed === claim : allowed.includes(claim))
}

interface Demands {
  readonly algorithms: readonly string[]
  readonly requiredClaims: readonly string[]
  readonly allowedAud?: string | readonly string[]
  readonly allowedIss?: string | readonly string[]
  readonly cache: false
  readonly key?: null
}

/** What the verifier shall check, beside what the app told @fastify/jwt. */
function demandsOf(auth: JwtOptions, algorithms: readonly string[], isSecretAsked: boolean): Demands {
  const { audience, issuer } = auth
  return {
    // Told nothing but HMAC, fast-jwt takes any key for a secret, also the public one that a function gives (threat A2).
    algorithms: algorithms.every(isHmac) ? [] : algorithms,
    // fast-jwt checks the audience and the issuer of a token that names one (threat A4).
    requiredClaims: [
      ...auth.requiredClaims,
      ...(audience === undefined ? [] : ['aud']),
      ...(issuer === undefined ? [] : ['iss'])
    ],
    ...(audience !== undefined && { allowedAud: audience }),
    ...(issuer !== undefined && { allowedIss: issuer }),
    // A cache would go on admitting what has been revoked since (threat A11).
    cache: false,
    // A secret function that knows no key would be asked again, by fast-jwt and in its way: without the callback that
    // it may call later, which would end the process.
    ...(isSecretAsked && { key: null })
  }
}
