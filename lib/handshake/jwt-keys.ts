/** Which algorithms a token may be signed with, and whether the key of @fastify/jwt is for them: decided at boot. */
import { catchLate } from '../connection/promises.ts'
import { OptionError, readText } from '../errors.ts'

/** Signature algorithms by family; a route pins one of them (threat A2). */
export const algorithmFamilies: Readonly<Record<string, readonly string[]>> = {
  HMAC: ['HS256', 'HS384', 'HS512'],
  RSA: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ECDSA: ['ES256', 'ES384', 'ES512'],
  EdDSA: ['EdDSA']
}

/** What @fastify/jwt decorates an instance with, as far as it is used here. */
export interface JwtDecorator {
  readonly options: { readonly verify?: Readonly<Record<string, unknown>> | null }
  sign(payload: object): unknown
  verify(token: string, options: object): unknown
  decode(token: string, options: object): unknown
}

/** What a route says of it. */
export interface AlgorithmChoice {
  readonly algorithms: readonly string[] | undefined
}

/** What @fastify/jwt does with its keys, which it shows nobody. */
export interface Keys {
  /** What it signs with; nothing when it only verifies, or a function gives the private key. */
  readonly signs: string | undefined
  /** What it can verify: by a public key or by a plain secret, and nothing by what is neither. */
  readonly verifies: readonly string[]
}

/** @returns nothing when a function gives the key to verify with: it is asked for tokens, and not for this */
export function readKeys(jwt: JwtDecorator): Keys | undefined {
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

/** The route's choice, the app's own, or that of a plain secret with which the app signs. @throws OptionError */
export function algorithmsOf(auth: AlgorithmChoice, jwt: JwtDecorator, keys: Keys | undefined): readonly string[] {
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

export function isHmac(algorithm: string): boolean {
  return familyOf(algorithm) === 'HMAC'
}

/** For the message of an error. */
function exampleOf(keys: Keys | undefined): string {
  return `['${keys?.verifies[0] ?? keys?.signs ?? 'RS256'}']`
}
