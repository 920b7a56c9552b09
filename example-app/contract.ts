/**
 * The messages that may cross the chat's connection. The server compiles them into checks; the page gets the same
 * schemas as plain JSON (see page.ts), so that the two never disagree.
 */
import { type Static, Type } from '@sinclair/typebox'
import { defineContract } from '../lib/contract.ts' // in your app: 'fastify-ws-guard/contract'

const name = Type.String({ maxLength: 24 })
const text = Type.String({ minLength: 1, maxLength: 500 })
const line = Type.Object({
  id: Type.Integer(),
  from: name,
  text,
  at: Type.Integer({ description: 'ms since the epoch' })
})

/** One line of the conversation. */
export type Line = Static<typeof line>

export const historyLimit = 50

export const chat = defineContract({
  name: 'chat',
  clientToServer: {
    chat: { message: Type.Object({ text }), reply: Type.Object({ id: Type.Integer() }) },
    history: {
      message: Type.Object({ limit: Type.Integer({ minimum: 1, maximum: historyLimit }) }),
      reply: Type.Object({ items: Type.Array(line, { maxItems: historyLimit }) })
    }
  },
  serverToClient: {
    chat: line,
    presence: Type.Object({
      version: Type.Integer({ description: 'of two that arrive in the wrong order, the higher one holds' }),
      people: Type.Array(name, { maxItems: 100 }),
      online: Type.Integer()
    })
  }
})

/** The rooms of this chat. Everybody may enter the open ones; backstage is there to be tried by the attack console. */
export const rooms = [
  { id: 'lobby', title: 'The Lobby', about: 'Come in, say hello', open: true },
  { id: 'garden', title: 'The Garden', about: 'Slow talk among leaves', open: true },
  { id: 'backstage', title: 'Backstage', about: 'Your token does not name it', open: false }
] as const
