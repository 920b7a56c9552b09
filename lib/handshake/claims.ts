import { scan } from 'secure-json-parse'
import { isObject } from '../messages/is-object.ts'

/** What a JSON Web Token says, signed or not. */
export interface DecodedToken {
  readonly header: Readonly<Record<string, unknown>>
  readonly payload: unknown
}

/** What a route demands of claims besides the verifier. */
export interface ClaimRules {
  readonly identity: unknown
  readonly maxTokenAgeMs: number | undefined
}

/** How far an issuer's clock may be ahead of ours. */
export const maxClockSkewMs = 60_000

/** The last second that a Date can say (ECMA-262): a time beyond it is none. */
const maxSeconds = 8.64e12

/**
 * What fast-jwt fails over, lets pass or hands on to the app's secret function; looked at before that, and so before
 * the signature: it can only refuse (threats A2, A3). @returns why the token is refused
 */
export function checkDecoded({ header, payload }: DecodedToken): string | undefined {
  const { crit, kid } = header
  // RFC 7515 section 4.1.11: a list; any falsy value would count as none.
  if (crit !== undefined && !Array.isArray(crit)) return 'CRIT'
  // A secret function that looks keys up in an object would find what every object inherits.
  if (kid !== undefined && (typeof kid === 'object' || String(kid) in Object.prototype)) return 'KID'
  if (!isObject(payload)) return 'CLAIMS'
  // Its message about one that is wrong would have to say the date, which throws.
  const times = [payload.exp, payload.nbf, payload.iat]
  return times.some((time) => typeof time === 'number' && !isSeconds(time)) ? 'TIME' : undefined
}

/** What fast-jwt leaves open (threats A3, A10). @returns why the token is refused */
export function checkClaims(claims: object, rules: ClaimRules, wallMs: number): string | undefined {
  try {
    scan(claims, { protoAction: 'error', constructorAction: 'error' })
  } catch {
    return 'POISONED_CLAIM'
  }
  const { sub, sid, jti, exp, iat } = claims as Readonly<Record<string, unknown>>
  // Limits, kicks and expiry go by them.
  if (rules.identity === undefined && ((sub !== undefined && !isSubject(sub)) || !isId(sid) || !isId(jti))) {
    return 'SUBJECT'
  }
  // RFC 7519 section 4.1.4: not accepted on or after.
  if (exp !== undefined && (!isSeconds(exp) || exp * 1000 <= wallMs)) return 'EXPIRED'
  const { maxTokenAgeMs } = rules
  if (maxTokenAgeMs === undefined) return undefined
  const ageMs = isSeconds(iat) ? wallMs - iat * 1000 : Number.POSITIVE_INFINITY
  // One from the future would have longer than it is meant to.
  return ageMs > maxTokenAgeMs || ageMs < -maxClockSkewMs ? 'TOO_OLD' : undefined
}

function isId(value: unknown): boolean {
  return value === undefined || value === null || typeof value === 'string' || Number.isFinite(value)
}

/** RFC 7519 section 2, NumericDate. */
export function isSeconds(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= maxSeconds
}

export function isSubject(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
