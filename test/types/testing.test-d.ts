/** Compiled, never run: what `injectWs` infers. */
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import { type Contract, defineContract } from '../../lib/contract.ts'
import {
  type AuthOkMessage,
  type ErrorMessage,
  injectWs,
  type ReplyMessage,
  type TestSocket
} from '../../lib/testing.ts'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function same<A, B>(_equal: Equal<A, B>): void {}

declare const app: FastifyInstance
declare const anyContract: Contract

const chat = defineContract({
  name: 'chat',
  clientToServer: {
    post: Type.Object({ text: Type.String(), tags: Type.Optional(Type.Array(Type.String())) }),
    history: {
      message: Type.Object({ limit: Type.Integer() }),
      reply: Type.Object({ items: Type.Array(Type.String()) })
    }
  },
  serverToClient: { posted: Type.Object({ id: Type.Integer() }), left: Type.Object({ who: Type.String() }) }
})
const silent = defineContract({ name: 'silent', clientToServer: { hello: Type.Object({}) }, serverToClient: {} })

export async function withContract(): Promise<void> {
  await using ws = await injectWs(app, '/chat/a', { contract: chat, token: 't', origin: null, protocols: ['v1'] })
  same<typeof ws, TestSocket<typeof chat>>(true)

  ws.send('post', { text: 'hi' })
  ws.send('post', { text: 'hi', tags: ['a'] }, { ref: 1 })
  ws.send('history', { limit: 3 }, { ref: 'r' })
  ws.send('auth', { token: 'jwt' })
  // @ts-expect-error the contract has no such message
  ws.send('nope', {})
  // @ts-expect-error that is a message of the server
  ws.send('posted', { id: 1 })
  // @ts-expect-error text must be a string
  ws.send('post', { text: 1 })
  // @ts-expect-error text is required
  ws.send('post', {})
  // @ts-expect-error unknown property
  ws.send('post', { text: 'hi', extra: 1 })
  // @ts-expect-error a ref is a string or a number
  ws.send('post', { text: 'hi' }, { ref: true })
  // @ts-expect-error an auth message carries a token
  ws.send('auth', {})

  const posted = await ws.receive('posted')
  same<typeof posted, { id: number } & { readonly type: 'posted' }>(true)
  same<(typeof posted)['type'], 'posted'>(true)
  const error = await ws.receive('error', { timeoutMs: 10 })
  same<typeof error, ErrorMessage>(true)
  const reply = await ws.receive('reply')
  same<typeof reply, ReplyMessage<typeof chat>>(true)
  same<typeof reply.data, { items: string[] }>(true)
  const authOk = await ws.receive('auth_ok')
  same<typeof authOk, AuthOkMessage>(true)
  // @ts-expect-error the server sends no such message
  await ws.receive('post')

  const next = await ws.receive()
  if (next.type === 'left') same<typeof next.who, string>(true)
  if (next.type === 'reply') same<typeof next.data, { items: string[] }>(true)
  same<(typeof next)['type'], 'posted' | 'left' | 'error' | 'reply' | 'auth_ok'>(true)
}

export async function withContractThatNeverReplies(): Promise<void> {
  const ws = await injectWs(app, '/', { contract: silent })
  const reply = await ws.receive('reply')
  same<typeof reply.data, unknown>(true)
}

export async function withoutContract(): Promise<void> {
  const ws = await injectWs(app, '/')
  same<typeof ws, TestSocket>(true)
  ws.send('whatever', { any: 1 })
  ws.sendRaw(Buffer.alloc(1), { binary: false })
  // @ts-expect-error neither text nor bytes
  ws.sendRaw(1)
  const message = await ws.receive('whatever')
  same<typeof message, unknown>(true)
  const next = await ws.receive()
  same<typeof next, unknown>(true)
  const error = await ws.receive('error')
  same<typeof error, ErrorMessage>(true)
  const reply = await ws.receive('reply')
  same<typeof reply.data, unknown>(true)
  const body = ws.json()
  same<typeof body, unknown>(true)
  const typed = ws.json<{ code: string }>()
  same<typeof typed, { code: string }>(true)
  const closed = await ws.closed
  same<typeof closed.code, number>(true)
  same<typeof ws.statusCode, number>(true)
}

export async function withAnyContract(): Promise<void> {
  const ws = await injectWs(app, '/', { contract: anyContract })
  ws.send('whatever', {})
  const ws2: TestSocket<Contract> = ws
  same<typeof ws2, typeof ws>(true)
}

export async function wrongOptions(): Promise<void> {
  // @ts-expect-error there is no such option
  await injectWs(app, '/', { orgin: 'https://a.example' })
  // @ts-expect-error a cookie is a string
  await injectWs(app, '/', { cookies: { a: 1 } })
  // @ts-expect-error not a contract
  await injectWs(app, '/', { contract: {} })
  // Tables of options may say undefined.
  await injectWs(app, '/', { token: undefined, origin: undefined, tls: undefined, contract: undefined })
}
