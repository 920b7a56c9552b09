import type { FastifyInstance, FastifyRequest } from 'fastify'
import { catchLate } from '../connection/promises.ts'
import type { VerifyOutcome } from '../connection/session.ts'
import { errorCodeOf, OptionError, readText } from '../errors.ts'
import type { Identity } from '../limits/store.ts'
import { checkClaims, checkDecoded, type DecodedToken, isSeconds, isSubject, maxClockSkewMs } from './claims.ts'
import { type CredentialOptions, maxTokenBytes } from './credentials.ts'

/** Signature algorithms by family; a route pins one of them (threat A2). */
export const algorithmFamilies: Readonly<Record<string, readonly string[]>> = {
  HMAC: ['HS256', 'HS384', 'HS512'],
  RSA: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ECDSA: ['ES256', 'ES384', 'ES512'],
  EdDSA: ['EdDSA']
}

/** The resolved `auth` of a route. */
export interface AuthSettings extends CredentialOptions {
  readonly verify: ((token: string, request: FastifyRequest) => unknown) | undefined
  readonly namespace: string | undefined
  readonly algorithms: readonly string[] | undefined
  readonly requiredClaims: readonly string[]
  readonly audience: string | readonly string[] | undefined
  readonly issuer: string | readonly string[] | undefined
  readonly maxTokenAgeMs: number | undefined
  readonly identity: ((user: unknown) => Identity) | undefined
  readonly messageTimeoutMs: number
  readonly refresh: { readonly perMinute: number } | false
}

/** Verifies tokens for one route. */
export interface Authenticator {
  /** Once all plugins are there. @throws OptionError when @fastify/jwt is missing or its algorithm cannot be told */
  readonly prepare: () => void
  readonly verify: (token: string, request: FastifyRequest) => Promise<VerifyOutcome>
  readonly identify: (user: unknown, claims: unknown) => Identity | undefined
}

/** What @fastify/jwt decorates an instance with, as far as it is used here. */
interface JwtDecorator {
  readonly options: { readonly verify?: { readonly algorithms?: readonly string[] } }
  sign(payload: object): unknown
  decode(token: string, options: object): unknown
}

/** A user whom nobody has looked at yet, or why the token itself is refused. */
type Verdict = { readonly user: unknown; readonly claims: unknown } | { readonly flaw: string }
type Verify = (token: string, request: FastifyRequest) => Promise<Verdict>

export function createAuthenticator(auth: AuthSettings, app: FastifyInstance, clock: () => number): Authenticator {
  let verify: Verify
  if (auth.verify !== undefined) {
    const own = auth.verify
    verify = async (token, request) => {
      const user = await own(token, request)
      return { user, claims: user }
    }
  }
  const identify = (user: unknown, claims: unknown): Identity | undefined => {
    const identity = auth.identity === undefined ? identityOf(claims) : auth.identity(user)
    // No promise is an identity.
    catchLate(identity)
    return checkIdentity(identity, clock())
  }
  return {
    prepare: () => {
      verify ??= jwtVerify(auth, app, clock)
    },
    identify,
    verify: async (token, request) => {
      if (token === '' || token.length > maxTokenBytes) return refused('TOKEN_LENGTH')
      try {
        const verdict = await verify(token, request)
        if ('flaw' in verdict) return refused(verdict.flaw)
        const { user, claims } = verdict
        if (user === undefined || user === null || user === false) return refused('NO_USER')
        const identity = identify(user, claims)
        // Limits, kicks and expiry go by it: who has none could not be limited, ended or told apart.
        if (identity === undefined) return refused('NO_SUBJECT')
        if (identity.expiresAt !== undefined && identity.expiresAt <= clock()) return refused('EXPIRED')
        return { ok: true, user, identity }
      } catch (error) {
        return isTokenError(error) ? refused(errorCodeOf(error)) : unavailable(errorCodeOf(error))
      }
    }
  }
}

function refused(errorCode: string): VerifyOutcome {
  return { ok: false, cause: 'unauthorized', errorCode }
}

function unavailable(errorCode: string): VerifyOutcome {
  return { ok: false, cause: 'unavailable', errorCode }
}

/** `request.jwtVerify` with our token and our demands, so that its secret function, `trusted` and `formatUser` hold. */
function jwtVerify(auth: AuthSettings, app: FastifyInstance, clock: () => number): Verify {
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
  return async (token, request) => {
    const verifier = request as unknown as Record<string, (options: object) => Promise<unknown>>
    const decoded = jwt.decode(token, { complete: true }) as DecodedToken
    const unread = checkDecoded(decoded)
    if (unread !== undefined) return { flaw: unread }
    try {
      const user = await verifier[method]?.({ verify: { ...demands, extractToken: () => token } })
      const flaw = checkClaims(decoded.payload as object, auth, clock())
      return flaw === undefined ? { user, claims: decoded.payload } : { flaw }
    } catch (error) {
      // A secret function that knows no key for this token: @fastify/jwt then asks fast-jwt, which has none either.
      if (readText(error, 'code') === noKey) return { flaw: 'NO_KEY' }
      throw error
    }
  }
}

/** What the verifier shall check, beside what the app told @fastify/jwt. */
function demandsOf(auth: AuthSettings, jwt: JwtDecorator): object {
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
  const { algorithms } = jwt.options.verify ?? {}
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

/** The registered claims of RFC 7519, as an identity; none without a subject. */
function identityOf(claims: unknown): Identity | undefined {
  const { sub, sid, jti, iat, exp } = claims as Record<string, unknown>
  if (sub === undefined || sub === null) return undefined
  return {
    subject: sub as string,
    sessionId: sid as string,
    tokenId: jti as string,
    ...(isSeconds(iat) && { issuedAt: iat * 1000 }),
    // An end that cannot be read, such as the date of a PASETO, is not none at all.
    ...(exp !== undefined && exp !== null && { expiresAt: isSeconds(exp) ? exp * 1000 : Number.NaN })
  }
}

/** RFC 7519 wants strings; a number is found by its digits, what is empty is none. */
function named(name: 'sessionId' | 'tokenId', id: unknown): Partial<Identity> {
  if (id === undefined || id === null || id === '') return {}
  return { [name]: Number.isFinite(id) ? String(id) : (id as string) }
}

/** @throws OptionError for an identity that limits, kicks and expiry could not go by */
function checkIdentity(identity: Identity | undefined, wallMs: number): Identity | undefined {
  if (identity === undefined) return undefined
  const { subject, sessionId, tokenId, issuedAt = 0, expiresAt = 0 } = identity
  const ids = { ...named('sessionId', sessionId), ...named('tokenId', tokenId) }
  // NaN is before nothing: such a credential would never expire.
  const isTimed = !Number.isNaN(Number(issuedAt)) && !Number.isNaN(Number(expiresAt))
  if (!isSubject(subject) || !Object.values(ids).every(isSubject) || !isTimed) {
    throw new OptionError(
      'a user needs a "sub" that is a string, a "sid" and a "jti" that are strings and an "exp" in seconds, if any, or auth.identity that returns { subject: string, … }'
    )
  }
  return Object.freeze({
    subject,
    ...ids,
    // Far ahead of our clock it would outlive any revocation: better not to know it (threat Z4).
    ...(identity.issuedAt !== undefined && issuedAt <= wallMs + maxClockSkewMs && { issuedAt }),
    // No end is said by saying none: neither the wire nor the log could write this one.
    ...(identity.expiresAt !== undefined && expiresAt !== Number.POSITIVE_INFINITY && { expiresAt })
  })
}

// jsonwebtoken, jose, fast-jwt and what fetches keys for them, whichever `auth.verify` may use.
const tokenErrorCodes =
  /^(FST_JWT_|FAST_JWT_|ERR_JW[TSE]_|ERR_JWKS_(NO|MULTIPLE)_MATCHING_KEYS?$|ERR_JOSE_ALG_NOT_ALLOWED|ERR_JOSE_NOT_SUPPORTED|JWK_NOT_FOUND$|DOMAIN_NOT_ALLOWED$)/
const tokenErrorNames = new Set(['JsonWebTokenError', 'TokenExpiredError', 'NotBeforeError', 'SigningKeyNotFoundError'])
const noKey = 'FAST_JWT_KEY_FETCHING_ERROR'
// fast-jwt's codes for what is wrong on this side.
const ownFaults = new Set([noKey, 'FAST_JWT_INVALID_OPTION'])
// jsonwebtoken gives a key that could not be fetched the name of a bad token; jwks-rsa says when the token named none.
const keyNotFetched = /^error in secret or public key callback: (?!Unable to find a signing key|No KID specified)/

/** Whether the token is at fault, and not the verifier (threats A5, A12). */
function isTokenError(error: unknown): boolean {
  const code = readText(error, 'code')
  if (ownFaults.has(code) || keyNotFetched.test(readText(error, 'message'))) return false
  const isUnauthorized = readText(error, 'statusCode') === '401'
  return isUnauthorized || tokenErrorCodes.test(code) || tokenErrorNames.has(readText(error, 'name'))
}
