/** How a token is verified by @fastify/jwt: with the app's own secret, and with what the route demands besides. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { catchLate } from '../connection/promises.ts'
import { OptionError, readText } from '../errors.ts'
import { isObject } from '../messages/is-object.ts'
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
  verify(token: string, options: object): unknown
  decode(token: string, options: object): unknown
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

/** What @fastify/jwt does with its keys, which it shows nobody. */
interface Keys {
  /** What it signs with; nothing when it only verifies, or a function gives the private key. */
  readonly signs: string | undefined
  /** What it can verify: by a public key or by a plain secret, and nothing by what is neither. */
  readonly verifies: readonly string[]
}

/** @returns nothing when a function gives the key to verify with: it is asked for tokens, and not for this */
function readKeys(jwt: JwtDecorator): Keys | undefined {
  // It is no token: that is said at once, or by a promise where a function would be asked for the key next.
  if (!flawOf(jwt, '.').startsWith('FAST_JWT_')) return undefined
  const signs = signedAlgorithm(jwt)
  const forged = (alg: string): string => `${Buffer.from(JSON.stringify({ alg })).toString('base64url')}.e30.AA`
  const verifies = Object.values(algorithmFamilies)
    .flat()
    .filter((name) => !unfit.has(flawOf(jwt, forged(name))))
  // A public key without the lines that say so passes for a plain secret; a private one shows what it is.
  return { signs, verifies: signs === undefined || isHmac(signs) ? verifies : verifies.filter((name) => !isHmac(name)) }
}

/** What fast-jwt says about a token of an algorithm that the key is not for, and about a key that is for none. */
const unfit = new Set(['FAST_JWT_INVALID_ALGORITHM', 'FAST_JWT_INVALID_KEY'])

/** What is wrong with a token, going by the key: with no algorithms named fast-jwt looks what the key is for. */
function flawOf(jwt: JwtDecorator, token: string): string {
  try {
    catchLate(jwt.verify(token, { algorithms: [], cache: false }))
    return ''
  } catch (error) {
    return readText(error, 'code')
  }
}

function signedAlgorithm(jwt: JwtDecorator): string | undefined {
  try {
    const token = jwt.sign({ sub: 'fastify-ws-guard' })
    // A private key that a function gives makes it a promise.
    catchLate(token)
    return (jwt.decode(String(token), { complete: true }) as { header: { alg: string } }).header.alg
  } catch {
    return undefined
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

/** The route's choice, the app's own, or that of a plain secret with which the app signs. @throws OptionError */
function algorithmsOf(auth: JwtOptions, jwt: JwtDecorator, keys: Keys | undefined): readonly string[] {
  const own = (jwt.options.verify as { readonly algorithms?: readonly string[] } | null | undefined)?.algorithms
  const option = auth.algorithms === undefined ? '@fastify/jwt verify.algorithms' : 'auth.algorithms'
  const algorithms = auth.algorithms ?? own ?? []
  if (algorithms.length > 0) {
    checkAlgorithms(algorithms, option)
    if (keys !== undefined) checkKeys(algorithms, option, keys)
    return algorithms
  }
  const signs = keys?.signs
  if (signs !== undefined && isHmac(signs) && keys?.verifies.includes(signs)) return [signs]
  throw new OptionError(
    `option "auth.algorithms" is needed: @fastify/jwt does not sign with a plain symmetric secret; set it, such as ${exampleOf(keys)}`
  )
}

/** @throws OptionError for algorithms that the key is not for (threat A2: key confusion) */
function checkKeys(algorithms: readonly string[], option: string, keys: Keys): void {
  if (algorithms.some((name) => keys.verifies.includes(name))) return
  const listed = `option "${option}" lists ${algorithms.join(', ')}`
  throw new OptionError(
    algorithms.every(isHmac)
      ? `${listed}, but @fastify/jwt has no plain secret: whoever has its public key could sign such tokens; set it to what that key is for, such as ${exampleOf(keys)}`
      : `${listed}, but the key of @fastify/jwt is not for that: every token would be refused; register @fastify/jwt with the PEM of such a public key, or set it to what its key is for, such as ${exampleOf(keys)}`
  )
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

function isHmac(algorithm: string): boolean {
  return familyOf(algorithm) === 'HMAC'
}

/** For the message of an error. */
function exampleOf(keys: Keys | undefined): string {
  return `['${keys?.verifies[0] ?? keys?.signs ?? 'RS256'}']`
}
