/** How a token is verified by @fastify/jwt: with the app's own secret, and with what the route demands besides. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { catchLate, isPromise } from '../connection/promises.ts'
import { OptionError, readText } from '../errors.ts'
import { type ClaimRules, checkClaims, checkDecoded, type DecodedToken } from './claims.ts'

/** Signature algorithms by family; a route pins one of them (threat A2). */
export const algorithmFamilies: Readonly<Record<string, readonly string[]>> = {
  HMAC: ['HS256', 'HS384', 'HS512'],
  RSA: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ECDSA: ['ES256', 'ES384', 'ES512'],
  EdDSA: ['EdDSA']
}

/** What of `auth` is about JSON Web Tokens. */
export interface JwtOptions extends ClaimRules {
  readonly namespace: string | undefined
  readonly algorithms: readonly string[] | undefined
  readonly requiredClaims: readonly string[]
  readonly audience: string | readonly string[] | undefined
  readonly issuer: string | readonly string[] | undefined
}

/** What @fastify/jwt decorates an instance with, as far as it is used here. */
interface JwtDecorator {
  readonly options: { readonly verify?: Readonly<Record<string, unknown>> | null }
  sign(payload: object): unknown
  verify(token: string): unknown
  decode(token: string, options: object): unknown
}

/** A user whom nobody has looked at yet, or why the token itself is refused. */
type Verdict = { readonly user: unknown; readonly claims: unknown } | { readonly flaw: string }
export type Verify = (token: string, request: FastifyRequest) => Promise<Verdict>

/** fast-jwt's code for a secret function that knows no key. */
export const noKey = 'FAST_JWT_KEY_FETCHING_ERROR'

/** `request.jwtVerify` with our token and our demands, so that its secret function, `trusted` and `formatUser` hold. */
export function jwtVerify(auth: JwtOptions, app: FastifyInstance, clock: () => number): Verify {
  const root = (app as unknown as { jwt?: JwtDecorator & Record<string, JwtDecorator> }).jwt
  const jwt = auth.namespace === undefined ? root : root?.[auth.namespace]
  if (jwt?.options === undefined) {
    throw new OptionError(
      auth.namespace === undefined
        ? 'option "auth" needs @fastify/jwt: register it, or set auth.verify, or say auth: false'
        : `option "auth.namespace": @fastify/jwt has no namespace "${auth.namespace}"`
    )
  }
  const method = auth.namespace === undefined ? 'jwtVerify' : `${auth.namespace}JwtVerify`
  if (!app.hasRequestDecorator(method)) {
    throw new OptionError(
      `option "auth.namespace": there is no request.${method}; leave @fastify/jwt its own name for it`
    )
  }
  const demands = demandsOf(auth, jwt)
  const isPrepared = !hasOwnDemands(auth, jwt) && hasStaticKeys(jwt)
  return async (token, request) => {
    const decoded = jwt.decode(token, { complete: true }) as DecodedToken
    const unread = checkDecoded(decoded)
    if (unread !== undefined) return { flaw: unread }
    try {
      // Without options of ours @fastify/jwt verifies with what it has prepared, its key among it, which takes a
      // fraction of the time; it then looks for the token in this header.
      const isBearer = request.headers.authorization === `Bearer ${token}`
      const user = await (isPrepared && isBearer && meets(decoded, demands)
        ? verifierOf(request, method)()
        : verifierOf(request, method)({ verify: { ...demands, extractToken: () => token } }))
      const flaw = checkClaims(decoded.payload as object, auth, clock())
      return flaw === undefined ? { user, claims: decoded.payload } : { flaw }
    } catch (error) {
      // A secret function that knows no key for this token: @fastify/jwt then asks fast-jwt, which has none either.
      if (readText(error, 'code') === noKey) return { flaw: 'NO_KEY' }
      throw error
    }
  }
}

type JwtVerify = (options?: object) => Promise<unknown>

function verifierOf(request: FastifyRequest, method: string): JwtVerify {
  return (options) => (request as unknown as Record<string, JwtVerify>)[method]?.(options) as Promise<unknown>
}

/** A secret that is a function is asked for each token, and @fastify/jwt would keep what it has prepared for each key. */
function hasStaticKeys(jwt: JwtDecorator): boolean {
  try {
    const token = jwt.sign({ sub: 'fastify-ws-guard' })
    catchLate(token)
    if (typeof token !== 'string') return false
    const claims = jwt.verify(token)
    catchLate(claims)
    return !isPromise(claims)
  } catch {
    return false
  }
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
function meets({ header, payload }: DecodedToken, demands: Demands): boolean {
  const { algorithms, requiredClaims, allowedAud, allowedIss } = demands
  const { aud, iss } = payload as Readonly<Record<string, unknown>>
  return (
    algorithms.includes(header.alg as string) &&
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
}

/** What the verifier shall check, beside what the app told @fastify/jwt. */
function demandsOf(auth: JwtOptions, jwt: JwtDecorator): Demands {
  const { audience, issuer } = auth
  return {
    algorithms: auth.algorithms ?? defaultAlgorithms(jwt),
    // fast-jwt checks the audience and the issuer of a token that names one (threat A4).
    requiredClaims: [
      ...auth.requiredClaims,
      ...(audience === undefined ? [] : ['aud']),
      ...(issuer === undefined ? [] : ['iss'])
    ],
    ...(audience !== undefined && { allowedAud: audience }),
    ...(issuer !== undefined && { allowedIss: issuer }),
    // A cache would go on admitting what has been revoked since (threat A11).
    cache: false
  }
}

/** The app's own choice, or HS256 for a symmetric secret; which kind it is shows in what the app itself would sign. */
function defaultAlgorithms(jwt: JwtDecorator): readonly string[] {
  const { algorithms } = (jwt.options.verify ?? {}) as { readonly algorithms?: readonly string[] }
  if (algorithms !== undefined && algorithms.length > 0) {
    checkAlgorithms(algorithms, '@fastify/jwt verify.algorithms')
    return algorithms
  }
  const signed = signedAlgorithm(jwt)
  if (signed !== undefined && algorithmFamilies.HMAC?.includes(signed)) return [signed]
  const example = signed ?? 'RS256'
  throw new OptionError(
    `option "auth.algorithms" is needed: the secret of @fastify/jwt is not a plain symmetric one; set it, such as ['${example}']`
  )
}

function signedAlgorithm(jwt: JwtDecorator): string | undefined {
  try {
    const token = jwt.sign({ sub: 'fastify-ws-guard' })
    // A secret that is a function makes it a promise.
    catchLate(token)
    return (jwt.decode(String(token), { complete: true }) as { header: { alg: string } }).header.alg
  } catch {
    // Verify-only, or a secret that is a function: it cannot sign here, and the developer has to say.
    return undefined
  }
}

/** @throws OptionError for `none`, an unknown algorithm or two families (threat A2: key confusion) */
export function checkAlgorithms(algorithms: readonly string[], option: string): void {
  const families = new Set(algorithms.map((name) => familyOf(name)))
  if (algorithms.length === 0 || families.has(undefined) || families.size > 1) {
    throw new OptionError(
      `option "${option}" must list algorithms of one family: ${Object.values(algorithmFamilies)
        .map((names) => names.join(', '))
        .join(' | ')}`
    )
  }
}

function familyOf(algorithm: string): string | undefined {
  return Object.keys(algorithmFamilies).find((family) => algorithmFamilies[family]?.includes(algorithm))
}
