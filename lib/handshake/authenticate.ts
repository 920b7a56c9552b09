import type { FastifyInstance, FastifyRequest } from 'fastify'
import { catchLate } from '../connection/promises.ts'
import type { VerifyOutcome } from '../connection/session.ts'
import { errorCodeOf, OptionError, readText } from '../errors.ts'
import type { Identity } from '../limits/store.ts'
import { isSeconds, isSubject, maxClockSkewMs } from './claims.ts'
import { type CredentialOptions, maxTokenBytes } from './credentials.ts'
import { type JwtOptions, jwtVerify, noKey, type Verify } from './jwt-verifier.ts'

/** The resolved `auth` of a route. */
export interface AuthSettings extends CredentialOptions, JwtOptions {
  readonly verify: ((token: string, request: FastifyRequest) => unknown) | undefined
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

type Mutable<T> = { -readonly [Name in keyof T]: T[Name] }

/** The registered claims of RFC 7519, as an identity; none without a subject. */
function identityOf(claims: unknown): Identity | undefined {
  const { sub, sid, jti, iat, exp } = claims as Record<string, unknown>
  if (sub === undefined || sub === null) return undefined
  const identity: Mutable<Identity> = { subject: sub as string, sessionId: sid as string, tokenId: jti as string }
  if (isSeconds(iat)) identity.issuedAt = iat * 1000
  // An end that cannot be read, such as the date of a PASETO, is not none at all.
  if (exp !== undefined && exp !== null) identity.expiresAt = isSeconds(exp) ? exp * 1000 : Number.NaN
  return identity
}

/** RFC 7519 wants strings; a number is found by its digits, what is empty is none. */
function idOf(id: unknown): string | undefined {
  if (id === undefined || id === null || id === '') return undefined
  return Number.isFinite(id) ? String(id) : (id as string)
}

/** @throws OptionError for an identity that limits, kicks and expiry could not go by */
function checkIdentity(identity: Identity | undefined, wallMs: number): Identity | undefined {
  if (identity === undefined) return undefined
  const { subject, issuedAt = 0, expiresAt = 0 } = identity
  const sessionId = idOf(identity.sessionId)
  const tokenId = idOf(identity.tokenId)
  // NaN is before nothing: such a credential would never expire.
  const isTimed = !Number.isNaN(Number(issuedAt)) && !Number.isNaN(Number(expiresAt))
  if (!isSubject(subject) || !isSubject(sessionId ?? subject) || !isSubject(tokenId ?? subject) || !isTimed) {
    throw new OptionError(
      'a user needs a "sub" that is a string, a "sid" and a "jti" that are strings and an "exp" in seconds, if any, or auth.identity that returns { subject: string, … }'
    )
  }
  const checked: Mutable<Identity> = { subject }
  if (sessionId !== undefined) checked.sessionId = sessionId
  if (tokenId !== undefined) checked.tokenId = tokenId
  // Far ahead of our clock it would outlive any revocation: better not to know it (threat Z4).
  if (identity.issuedAt !== undefined && issuedAt <= wallMs + maxClockSkewMs) checked.issuedAt = issuedAt
  // No end is said by saying none: neither the wire nor the log could write this one.
  if (identity.expiresAt !== undefined && expiresAt !== Number.POSITIVE_INFINITY) checked.expiresAt = expiresAt
  return Object.freeze(checked)
}

// jsonwebtoken, jose, fast-jwt and what fetches keys for them, whichever `auth.verify` may use.
const tokenErrorCodes =
  /^(FST_JWT_|FAST_JWT_|ERR_JW[TSE]_|ERR_JWKS_(NO|MULTIPLE)_MATCHING_KEYS?$|ERR_JOSE_ALG_NOT_ALLOWED|ERR_JOSE_NOT_SUPPORTED|JWK_NOT_FOUND$|DOMAIN_NOT_ALLOWED$)/
const tokenErrorNames = new Set(['JsonWebTokenError', 'TokenExpiredError', 'NotBeforeError', 'SigningKeyNotFoundError'])
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
