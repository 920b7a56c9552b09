/** JSON Web Tokens signed by hand, so that a test can also make the ones that no library would. */
import {
  constants,
  createHmac,
  generateKeyPairSync,
  type KeyLike,
  type KeyPairKeyObjectResult,
  sign
} from 'node:crypto'

export type JwtAlgorithm = 'none' | `${'HS' | 'RS' | 'PS' | 'ES'}${256 | 384 | 512}` | 'EdDSA'

export interface SignOptions {
  /** How it is signed. Default HS256. */
  readonly alg?: JwtAlgorithm
  /** Beside `alg` and `typ`, or instead of them: what the header claims. */
  readonly header?: Record<string, unknown>
}

export type Claims = Record<string, unknown>

/** `secret`: a string or Buffer for HS*, a private key (PEM or KeyObject) for the others, ignored for none. */
export function signJwt(payload: Claims | string, secret: KeyLike, options: SignOptions = {}): string {
  const alg = options.alg ?? 'HS256'
  const header = { alg, typ: 'JWT', ...options.header }
  const body = typeof payload === 'string' ? payload : JSON.stringify(payload)
  const input = `${base64url(JSON.stringify(header))}.${base64url(body)}`
  return `${input}.${signatureOf(alg, input, secret)}`
}

/** Claims that any route accepts: a subject, issued now, for an hour. Overwrite, or remove with `undefined`. */
export function claims(overrides: Claims = {}): Claims {
  const now = Math.floor(Date.now() / 1000)
  return { sub: 'user-1', iat: now, exp: now + 3600, ...overrides }
}

/** The token with its payload exchanged and the signature kept. */
export function tamper(token: string, payload: Claims): string {
  const [header, , signature] = token.split('.')
  return `${header}.${base64url(JSON.stringify(payload))}.${signature}`
}

/** A key pair as PEM, for RS*, PS*, ES256 and EdDSA. */
export function keyPair(kind: 'rsa' | 'ec' | 'ed25519'): { privateKey: string; publicKey: string } {
  const { privateKey, publicKey } = keyObjects(kind)
  return {
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString()
  }
}

function keyObjects(kind: 'rsa' | 'ec' | 'ed25519'): KeyPairKeyObjectResult {
  if (kind === 'rsa') return generateKeyPairSync('rsa', { modulusLength: 2048 })
  if (kind === 'ec') return generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return generateKeyPairSync('ed25519')
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url')
}

function signatureOf(alg: JwtAlgorithm, input: string, key: KeyLike): string {
  if (alg === 'none') return ''
  const data = Buffer.from(input)
  if (alg === 'EdDSA') return sign(null, data, key).toString('base64url')
  const hash = `sha${alg.slice(2)}`
  if (alg.startsWith('HS')) return createHmac(hash, key).update(data).digest('base64url')
  if (alg.startsWith('ES'))
    return sign(hash, data, { key: key as string, dsaEncoding: 'ieee-p1363' }).toString('base64url')
  const padding = alg.startsWith('PS') ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING
  return sign(hash, data, { key: key as string, padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }).toString(
    'base64url'
  )
}
