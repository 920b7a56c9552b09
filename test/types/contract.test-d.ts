/** Compile-only: what the contract's types infer, and what a contract may not declare. */
import { type TObject, Type } from '@sinclair/typebox'
import {
  type ClientType,
  type Contract,
  defineContract,
  type MessageOf,
  type PayloadOf,
  type ReplyOf,
  type ServerMessageOf,
  type ServerType
} from '../../lib/contract.ts'
import type { Equals, Expect } from './expect.ts'

const chat = defineContract({
  name: 'chat',
  clientToServer: {
    chat: Type.Object({ channelId: Type.String({ format: 'uuid' }), content: Type.String({ maxLength: 5000 }) }),
    typing: Type.Object({}),
    edit: Type.Object({ id: Type.Integer(), content: Type.Optional(Type.String({ maxLength: 5000 })) }),
    history: {
      message: Type.Object({ limit: Type.Integer({ minimum: 1, maximum: 100 }) }),
      reply: Type.Object({ items: Type.Array(Type.String({ maxLength: 5000 }), { maxItems: 100 }) })
    },
    count: { message: Type.Object({}), reply: Type.Integer() }
  },
  serverToClient: {
    chat: Type.Object({ from: Type.String(), content: Type.String() }),
    presence: Type.Object({
      online: Type.Array(Type.String()),
      mood: Type.Union([Type.Literal('a'), Type.Literal('b')])
    })
  }
})
type Chat = typeof chat

interface Envelope<T extends string> {
  readonly type: T
  readonly ref?: string | number
}

/** Flattens an intersection, so that only the members count. */
type Members<T> = { [K in keyof T]: T[K] }

export type Inference = [
  Expect<Equals<ClientType<Chat>, 'chat' | 'typing' | 'edit' | 'history' | 'count'>>,
  Expect<Equals<ServerType<Chat>, 'chat' | 'presence'>>,
  Expect<Equals<PayloadOf<Chat, 'chat'>, { channelId: string; content: string }>>,
  Expect<Equals<PayloadOf<Chat, 'edit'>, { id: number; content?: string }>>,
  Expect<Equals<PayloadOf<Chat, 'history'>, { limit: number }>>,
  Expect<Equals<keyof PayloadOf<Chat, 'typing'>, never>>,
  Expect<Equals<Members<MessageOf<Chat, 'chat'>>, Members<{ channelId: string; content: string } & Envelope<'chat'>>>>,
  Expect<Equals<Members<MessageOf<Chat, 'edit'>>, Members<{ id: number; content?: string } & Envelope<'edit'>>>>,
  Expect<Equals<Members<MessageOf<Chat, 'history'>>, Members<{ limit: number } & Envelope<'history'>>>>,
  Expect<Equals<MessageOf<Chat, 'typing'>['type'], 'typing'>>,
  Expect<Equals<ReplyOf<Chat, 'history'>, { items: string[] }>>,
  Expect<Equals<ReplyOf<Chat, 'count'>, number>>,
  Expect<Equals<ReplyOf<Chat, 'chat'>, void>>,
  Expect<Equals<ReplyOf<Chat, 'typing'>, void>>,
  Expect<Equals<ServerMessageOf<Chat, 'chat'>, { from: string; content: string }>>,
  Expect<Equals<ServerMessageOf<Chat, 'presence'>, { online: string[]; mood: 'a' | 'b' }>>
]

// A contract is a Contract, whatever it declares; one that declares nothing is one as well.
chat satisfies Contract
defineContract({ name: 'empty', clientToServer: {}, serverToClient: {} }) satisfies Contract
const message = Type.Object({ text: Type.String({ maxLength: 1 }) })
defineContract({ name: 'shared', clientToServer: { a: message }, serverToClient: { a: message } }) satisfies Contract

// @ts-expect-error the contract has no such type
export type Unknown = MessageOf<Chat, 'nope'>
// @ts-expect-error a type the server sends is none the client sends
export type OtherWay = PayloadOf<Chat, 'presence'>
// @ts-expect-error and the other way round
export type ThisWay = ServerMessageOf<Chat, 'history'>

/* Reserved types. Each call differs from one that compiles, above or beside it, by the reserved name only. */

const ok = Type.Object({ text: Type.String() })

defineContract({ name: 'x', clientToServer: { ok, Auth: ok, authentication: ok, a$: ok }, serverToClient: { ok } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { auth: ok }, serverToClient: { ok } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { ok, auth_ok: ok }, serverToClient: { ok } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { ok, reply: ok }, serverToClient: { ok } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { ok, error: ok }, serverToClient: { ok } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { ok, $x: ok }, serverToClient: { ok } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { ok, $: ok }, serverToClient: { ok } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { auth: { message: ok, reply: ok } }, serverToClient: { ok } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { ok }, serverToClient: { auth: ok } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { ok }, serverToClient: { ok, error: ok } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { ok }, serverToClient: { ok, $x: ok } })

/* Reserved properties. */

const withType = Type.Object({ text: Type.String(), type: Type.String() })
const withRef = Type.Object({ text: Type.String(), ref: Type.String() })
const withOptionalRef = Type.Object({ text: Type.String(), ref: Type.Optional(Type.Integer()) })
const withNeither = Type.Object({ text: Type.String(), kind: Type.String(), reference: Type.String() })

defineContract({ name: 'x', clientToServer: { a: withNeither }, serverToClient: { a: withNeither } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { a: withType }, serverToClient: {} })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { a: withRef }, serverToClient: {} })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { a: withOptionalRef }, serverToClient: {} })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: {}, serverToClient: { a: withType } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: {}, serverToClient: { a: withRef } })

defineContract({ name: 'x', clientToServer: { a: { message: withNeither, reply: ok } }, serverToClient: {} })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { a: { message: withType, reply: ok } }, serverToClient: {} })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { a: { message: withRef, reply: ok } }, serverToClient: {} })
// A reply travels inside `data`, so it may have both.
defineContract({ name: 'x', clientToServer: { a: { message: ok, reply: withType } }, serverToClient: {} })
defineContract({ name: 'x', clientToServer: { a: { message: ok, reply: withRef } }, serverToClient: {} })

/* Shapes. */

// @ts-expect-error a message is an object
defineContract({ name: 'x', clientToServer: { a: Type.String() }, serverToClient: {} })
// @ts-expect-error a message is an object
defineContract({ name: 'x', clientToServer: { a: { message: Type.String(), reply: ok } }, serverToClient: {} })
// @ts-expect-error the server's messages have no reply
defineContract({ name: 'x', clientToServer: {}, serverToClient: { a: { message: ok, reply: ok } } })
// @ts-expect-error the name is required
defineContract({ clientToServer: { ok }, serverToClient: { ok } })

/* A schema typed no closer than TObject compiles: what it declares is checked when the app boots. */

declare const wide: TObject
defineContract({ name: 'x', clientToServer: { a: wide, b: { message: wide, reply: ok } }, serverToClient: { a: wide } })
// @ts-expect-error reserved
defineContract({ name: 'x', clientToServer: { auth: wide }, serverToClient: {} })
