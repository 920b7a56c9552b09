/** What the peers that are no Fastify do the way their guides do it: jsonwebtoken with a string, and zod. */
import jwt from 'jsonwebtoken'
import { z } from 'zod'
import { maxText, secret } from './messages.mjs'

const chat = z.strictObject({
  type: z.literal('chat'),
  room: z.uuid(),
  seq: z.int().min(0),
  text: z.string().max(maxText)
})

/** @returns the checked message, built anew. @throws when it is none */
export function checkChat(value) {
  const { type, room, seq, text } = chat.parse(value)
  return { type, room, seq, text }
}

/** @returns the claims of `Authorization: Bearer …`, or undefined */
export function userOf(headers) {
  const [scheme, token] = (headers.authorization ?? '').split(' ')
  if (scheme !== 'Bearer' || token === undefined) return undefined
  try {
    return jwt.verify(token, secret, { algorithms: ['HS256'] })
  } catch {
    return undefined
  }
}
