/** Tokens that nobody honest sends, and every way in which a client can send one. */
import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { origin, secret } from '../support/app.ts'
import { closeOf, opcodes } from '../support/frames.ts'
import type { HttpAnswer } from '../support/http-message.ts'
import type { RawClient } from '../support/raw-client.ts'
import { type Claims, claims, keyPair, type SignOptions, signJwt, tamper } from '../support/tokens.ts'

type Tokens = Readonly<Record<string, () => string>>

export const rsa: { readonly privateKey: string; readonly publicKey: string } = keyPair('rsa')

const seconds = (): number => Math.floor(Date.now() / 1000)
/** Signed with the app's own secret: nothing but its content is wrong with it. */
const signed = (payload: Claims | string, options?: SignOptions): string => signJwt(payload, secret, options)
const header = (fields: Claims): string => signed(claims(), { header: fields })
/** A payload in which the text says what `JSON.stringify` would not. */
const text = (fields: string): string => signed(`{"sub":"alice","exp":${seconds() + 3600},${fields}}`)
const forger = 'another secret that is long enough, too'

/** Refused by a route that takes HS256 with the app's secret. */
export const hostileTokens: Tokens = {
  'A2 alg none': () => signJwt(claims(), '', { alg: 'none' }),
  'A2 alg None': () => signJwt(claims(), '', { alg: 'none', header: { alg: 'None' } }),
  'A2 alg NONE': () => signJwt(claims(), '', { alg: 'none', header: { alg: 'NONE' } }),
  'A2 alg nOnE': () => signJwt(claims(), '', { alg: 'none', header: { alg: 'nOnE' } }),
  'A2 alg none with a signature': () => `${signJwt(claims(), '', { alg: 'none' })}c2ln`,
  'A2 alg none, signed all the same': () => header({ alg: 'none' }),
  'A2 alg None, signed all the same': () => header({ alg: 'None' }),
  'A2 HS256 without a signature': () => `${signed(claims()).split('.').slice(0, 2).join('.')}.`,
  'A2 HS384 of the same family': () => signed(claims(), { alg: 'HS384' }),
  'A2 HS512 of the same family': () => signed(claims(), { alg: 'HS512' }),
  'A2 RS256 with a key of its own': () => signJwt(claims(), rsa.privateKey, { alg: 'RS256' }),
  'A2 ES256 with a key of its own': () => signJwt(claims(), keyPair('ec').privateKey, { alg: 'ES256' }),
  'A2 EdDSA with a key of its own': () => signJwt(claims(), keyPair('ed25519').privateKey, { alg: 'EdDSA' }),
  'A2 hs256 in small letters': () => header({ alg: 'hs256' }),
  'A2 alg missing': () => header({ alg: undefined }),
  'A2 alg null': () => header({ alg: null }),
  'A2 alg is a list': () => header({ alg: ['HS256'] }),
  'A2 another secret': () => signJwt(claims(), forger),
  'A2 empty secret': () => signJwt(claims(), ''),
  'A2 another payload': () => tamper(signed(claims()), claims({ sub: 'root' })),
  'A2 unknown crit': () => header({ crit: ['exp2'], exp2: 1 }),
  'A2 empty crit': () => header({ crit: [] }),
  'A2 crit is a text': () => header({ crit: 'b64' }),
  'A2 crit is an empty text': () => header({ crit: '' }),
  'A2 crit is 0': () => header({ crit: 0 }),
  'A2 crit is false': () => header({ crit: false }),
  'A2 crit null': () => header({ crit: null }),
  'A2 crit b64': () => header({ crit: ['b64'], b64: false }),
  'A2 crit of itself': () => header({ crit: ['crit'] }),
  'A2 kid __proto__': () => header({ kid: '__proto__' }),
  'A2 kid constructor': () => header({ kid: 'constructor' }),
  'A2 kid is a list': () => header({ kid: ['one'] }),
  'A2 kid is an object': () => header({ kid: { toString: 'one' } }),
  'A2 a path as kid, with what is in that file': () => signJwt(claims(), '', { header: { kid: '../../../dev/null' } }),
  'A2 a statement as kid': () => signJwt(claims(), 'x', { header: { kid: "' UNION SELECT 'x" } }),
  'A3 no exp': () => signed(claims({ exp: undefined })),
  'A3 exp in the far past': () => signed(claims({ exp: 1 })),
  'A3 negative exp': () => signed(claims({ exp: -1 })),
  'A3 exp before all time': () => signed(claims({ exp: -1e300 })),
  'A3 exp after all time': () => signed(claims({ exp: 1e300 })),
  'A3 exp that is infinite in ms': () => signed(claims({ exp: 1e306 })),
  'A3 exp 1e999': () => signed('{"sub":"alice","exp":1e999}'),
  'A3 exp now': () => signed(claims({ exp: seconds() })),
  'A3 exp now, with a fraction': () => signed(claims({ exp: Date.now() / 1000 })),
  'A3 exp as a text': () => signed(claims({ exp: String(seconds() + 3600) })),
  'A3 exp as a date': () => signed(claims({ exp: '2999-01-01T00:00:00Z' })),
  'A3 exp null': () => signed(claims({ exp: null })),
  'A3 exp true': () => signed(claims({ exp: true })),
  'A3 exp is a list': () => signed(claims({ exp: [seconds() + 3600] })),
  'A3 exp is an object': () => signed(claims({ exp: { valueOf: 1 } })),
  'A3 exp twice, the last one over': () => text('"exp":1'),
  'A3 nbf in the future': () => signed(claims({ nbf: seconds() + 3600 })),
  'A3 nbf after all time': () => signed(claims({ nbf: 1e300 })),
  'A3 nbf as a text': () => signed(claims({ nbf: 'soon' })),
  'A3 nbf null': () => signed(claims({ nbf: null })),
  'A3 iat after all time': () => signed(claims({ iat: 1e300 })),
  'A3 payload is a list': () => signed(JSON.stringify([claims()])),
  'A3 payload is a text': () => signed('"alice"'),
  'A3 payload is a number': () => signed('1'),
  'A3 payload null': () => signed('null'),
  'A3 payload is empty': () => signed(''),
  'A3 payload is no JSON': () => signed('{'),
  'A3 payload with a mark in front': () => signed(`\ufeff${JSON.stringify(claims())}`),
  'A3 no sub': () => signed(claims({ sub: undefined })),
  'A3 sub null': () => signed(claims({ sub: null })),
  'A3 sub is a number': () => signed(claims({ sub: 1 })),
  'A3 sub is empty': () => signed(claims({ sub: '' })),
  'A3 sub is a list': () => signed(claims({ sub: ['alice'] })),
  'A3 sub is an object': () => signed(claims({ sub: { toString: 'alice' } })),
  'A3 sub twice, the last one empty': () => text('"sub":""'),
  'A5 not a token': () => 'nonsense',
  'A5 two parts': () => signed(claims()).split('.').slice(0, 2).join('.'),
  'A5 four parts': () => `${signed(claims())}.e30`,
  'A5 five parts, as if encrypted': () => `${signed(claims())}.e30.e30`,
  'A5 dots': () => '..',
  'A5 padded base64': () => `${signed(claims())}=`,
  'A5 padded header': () => signed(claims()).replace('.', '==.'),
  'A5 no base64url': () => signed(claims()).replace('.', '~.'),
  'A5 base64 with its own alphabet': () => signed(claims()).replace('.', '+/.'),
  'A5 a space in front': () => ` ${signed(claims())}`,
  'A5 a space inside': () => signed(claims()).replace('.', ' .'),
  'A5 a line break inside': () => signed(claims()).replace('.', '\n.'),
  'A5 header is a list': () => `${Buffer.from('[]').toString('base64url')}.e30.e30`,
  'A5 header null': () => `${Buffer.from('null').toString('base64url')}.e30.e30`,
  'A5 deep, unsigned': () => `e30.${Buffer.from('['.repeat(4_000)).toString('base64url')}.e30`,
  'A9 above 8 KiB': () => signed(claims({ filler: 'x'.repeat(6_200) })),
  'A10 __proto__': () => text('"__proto__":{"admin":true}'),
  'A10 __proto__ of nothing': () => text('"__proto__":null'),
  'A10 __proto__, escaped': () => text('"\\u005f_proto__":{"admin":true}'),
  'A10 nested __proto__': () => text('"a":[{"b":{"__proto__":{}}}]'),
  'A10 constructor.prototype': () => text('"constructor":{"prototype":{"admin":true}}'),
  'A10 nested constructor.prototype': () => text('"a":{"constructor":{"prototype":null}}')
}

/** Headers that name a key of the forger's own, which nobody may fetch or believe (RFC 8725 section 3.10). */
export function tokensWithKeysOfTheirOwn(port: number): Tokens {
  const url = `http://127.0.0.1:${port}/keys.json`
  const jwk = createPublicKey(rsa.publicKey).export({ format: 'jwk' })
  const forged = (fields: Claims): string => signJwt(claims(), rsa.privateKey, { alg: 'RS256', header: fields })
  return {
    'A2 jku': () => forged({ jku: url, kid: 'one' }),
    'A2 x5u': () => forged({ x5u: url }),
    'A2 jwk': () => forged({ jwk }),
    'A2 x5c': () => forged({ x5c: [Buffer.from('certificate').toString('base64')] }),
    'A2 jwk of a symmetric key': () =>
      signJwt(claims(), forger, { header: { jwk: { kty: 'oct', k: Buffer.from(forger).toString('base64url') } } }),
    'A2 a URL as kid': () => signJwt(claims(), forger, { header: { kid: url } }),
    'A3 iss with a URL': () => signJwt(claims({ iss: url }), forger)
  }
}

/** Refused by a route that takes RS256 with the public key of `rsa`: it is known to all, and no HMAC secret. */
export const confusedTokens: Tokens = (() => {
  const { publicKey } = rsa
  const key = createPublicKey(publicKey)
  const secrets: Readonly<Record<string, string | Buffer>> = {
    'the PEM': publicKey,
    'the PEM without its last line break': publicKey.trimEnd(),
    'the PEM after a line break': `\n${publicKey}`,
    'the PEM with CRLF': publicKey.replaceAll('\n', '\r\n'),
    'the PEM in one line': publicKey.replaceAll('\n', ''),
    'the base64 of the PEM': publicKey.replaceAll(/-----[^-]+-----|\n/g, ''),
    'the PKCS#1 PEM': key.export({ type: 'pkcs1', format: 'pem' }),
    'the DER': key.export({ type: 'spki', format: 'der' }),
    'the JWK': JSON.stringify(key.export({ format: 'jwk' })),
    nothing: ''
  }
  const confused = Object.entries(secrets).map(([name, value]) => {
    return [`A2 HS256 with ${name}`, () => signJwt(claims(), value)] as const
  })
  return {
    ...Object.fromEntries(confused),
    'A2 HS256 signed, RS256 said': () => signJwt(claims(), publicKey, { header: { alg: 'RS256' } }),
    'A2 PS256 of the same family': () => signJwt(claims(), rsa.privateKey, { alg: 'PS256' }),
    'A2 RS512 of the same family': () => signJwt(claims(), rsa.privateKey, { alg: 'RS512' }),
    'A2 RS256 with another key': () => signJwt(claims(), keyPair('rsa').privateKey, { alg: 'RS256' }),
    'A2 ES256': () => signJwt(claims(), keyPair('ec').privateKey, { alg: 'ES256' }),
    'A2 none': () => signJwt(claims(), '', { alg: 'none' })
  }
})()

export type Way = (token: string) => { readonly path: string; readonly headers: Readonly<Record<string, string>> }

const base64url = (token: string): string => Buffer.from(token).toString('base64url')

/** Each way of a handshake to carry a token, whatever characters it has. */
export const ways: Readonly<Record<string, Way>> = {
  header: (token) => ({
    path: '/ws',
    headers: { Origin: origin, Authorization: `Bearer ${token.replaceAll('\n', '\t')}` }
  }),
  subprotocol: (token) => ({
    path: '/ws',
    headers: { Origin: origin, 'Sec-WebSocket-Protocol': `ws-guard.v1, base64url.bearer.${base64url(token)}` }
  }),
  query: (token) => ({ path: `/ws?token=${encodeURIComponent(token)}`, headers: { Origin: origin } }),
  cookie: (token) => ({ path: '/ws', headers: { Origin: origin, Cookie: `token=${encodeURIComponent(token)}` } })
}

/** Everything of an answer but the time it was given: two of them are the same bytes. */
export function bytesOf({ statusCode, statusMessage, rawHeaders, body }: HttpAnswer): string {
  return JSON.stringify([statusCode, statusMessage, rawHeaders.filter(([name]) => name.toLowerCase() !== 'date'), body])
}

/** Sends a token in the first message. @returns the frames that came back, whole */
export async function firstMessage(client: RawClient, token: string): Promise<string> {
  const { statusCode } = await client.handshake({ path: '/ws', headers: { Origin: origin } })
  assert.equal(statusCode, 101)
  await client.sendJson({ type: 'auth', token })
  const close = await client.nextFrame({ opcode: opcodes.close })
  assert.equal(client.frames.length, 1, 'nothing but the close frame')
  return JSON.stringify(closeOf(close))
}

/** Parts of a token that are long enough to be told from chance. */
export function partsOf(token: string): string[] {
  return token.split('.').filter((part) => part.length > 12)
}
