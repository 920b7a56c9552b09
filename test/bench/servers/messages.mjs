/** What all servers of the benchmark and its load talk about. */

export const secret = 'a secret of more than 32 bytes, for the benchmark only'
export const origin = 'https://app.example.com'
/** The topic of `/fan`. */
export const topic = 'everybody'
/** Characters of `text` that a server that checks lets through. */
export const maxText = 4_096

const room = '3f2b8c1e-6d4a-4f7b-9e21-5a0c7d9b8e46'

/** The message, with as much `text` as makes it that long. */
export function messageOf(bytes) {
  const message = { type: 'chat', room, seq: 123_456, text: '' }
  const text = 'The quick brown fox jumps over the lazy dog. '
  const padding = bytes - JSON.stringify(message).length
  if (padding < 0) throw new RangeError(`a message has at least ${bytes - padding} bytes`)
  return { ...message, text: text.repeat(Math.ceil(padding / text.length)).slice(0, padding) }
}

/** About 300 bytes of JSON, as a login puts them into a token. */
export function claimsOf(user, lifetimeSeconds = 3_600) {
  const iat = Math.floor(Date.now() / 1_000)
  return {
    sub: `user-${user}`,
    sid: `b7d1c9e4-0f3a-4c58-8a6e-${String(user).padStart(12, '0')}`,
    jti: `5e8f2a70-91bd-4d3c-b1f6-${String(user).padStart(12, '0')}`,
    iat,
    exp: iat + lifetimeSeconds,
    roles: ['member', 'moderator'],
    name: `User number ${user}`,
    email: `user-${user}@example.com`,
    tenant: 'example-company',
    locale: 'en-GB'
  }
}
