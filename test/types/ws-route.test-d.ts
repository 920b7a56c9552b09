/** Compile-only: what `wsRoute` infers with no annotation, and what it does not admit. */
import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import wsGuard, { type AuthOptions, type CloseCause, defineContract, type WsConnection } from '../../lib/index.ts'
import type { Equals, Expect } from './expect.ts'

/** As an app tells @fastify/jwt; the example app, which is compiled along with this file, says the same. */
declare module '@fastify/jwt' {
  interface FastifyJWT {
    payload: { sub: string; rooms: string[]; iat?: number }
    user: { sub: string; rooms: string[] }
  }
}

declare const app: FastifyInstance

const chat = defineContract({
  name: 'chat',
  clientToServer: {
    say: Type.Object({ text: Type.String({ maxLength: 10 }) }),
    count: { message: Type.Object({ from: Type.Integer() }), reply: Type.Object({ total: Type.Integer() }) }
  },
  serverToClient: {
    said: Type.Object({ from: Type.String(), text: Type.String() }),
    gone: Type.Object({ id: Type.Optional(Type.String()) })
  }
})
const handlers = { say: () => {}, count: () => ({ total: 1 }) }

/** Compiles when both are exactly the same type; nothing is `any` by accident. */
declare function exact<Expected>(): <Actual>(value: Actual, same: Equals<Actual, Expected>) => void

/** Flattens an intersection, so that only the members count. */
type Members<T> = { [K in keyof T]: T[K] }
declare function members<Expected>(): <Actual>(value: Actual, same: Equals<Members<Actual>, Expected>) => void

// Registered as any plugin.
void app.register(wsGuard, { origins: ['https://app.example.com'], auth: {} })
void app.register(wsGuard, { origins: false, auth: false, closeCodes: 'iana', limits: { connections: { total: 5 } } })
void app.register(wsGuard, {
  closeCodes: { forbidden: 4403 },
  websocket: { errorHandler: (_error, socket) => socket.close() }
})
// @ts-expect-error no such option
void app.register(wsGuard, { origins: false, auth: false, heartBeat: {} })
// @ts-expect-error no such preset
void app.register(wsGuard, { closeCodes: 'rfc' })
// @ts-expect-error no such code
void app.register(wsGuard, { closeCodes: { nope: 4000 } })
// @ts-expect-error not a number
void app.register(wsGuard, { limits: { maxPayloadBytes: '64kb' } })

/* Everything at once. */

app.wsRoute('/:room', {
  contract: chat,
  schema: {
    params: Type.Object({ room: Type.Integer() }),
    querystring: Type.Object({ since: Type.Optional(Type.String()) }),
    headers: Type.Object({ 'x-version': Type.String() })
  },
  auth: {
    verify: async (token: string) => ({ sub: token, level: 1 as const }),
    identity: ({ sub }) => ({ subject: sub })
  },
  authorize: (user, request) => {
    exact<{ sub: string; level: 1 }>()(user, true)
    exact<{ room: number }>()(request.params, true)
    exact<{ since?: string }>()(request.query, true)
    exact<string>()(request.headers['x-version'], true)
    return user.level === 1
  },
  data: async (request) => ({ version: request.headers['x-version'], joined: new Date() }),
  topics: (connection, topic) => {
    exact<string>()(topic, true)
    return connection.params.room === 1
  },
  onOpen: async (connection, request) => {
    exact<{ room: number }>()(request.params, true)
    exact<Promise<boolean>>()(connection.subscribe('x'), true)
    exact<boolean>()(connection.send('said', { from: 'me', text: 'hi' }), true)
    connection.send('gone', {})
    // @ts-expect-error the contract has no such message
    connection.send('say', { text: 'hi' })
    // @ts-expect-error a property is missing
    connection.send('said', { from: 'me' })
    // @ts-expect-error a property has another type
    connection.send('said', { from: 'me', text: 1 })
    // @ts-expect-error a property of another message
    connection.send('gone', { text: 'x' })
    // @ts-expect-error read-only
    connection.user = { sub: 'x', level: 1 }
  },
  handlers: {
    say(message, connection) {
      exact<FastifyInstance>()(this, true)
      members<{ text: string; readonly type: 'say'; readonly ref?: string | number }>()(message, true)
      exact<{ sub: string; level: 1 }>()(connection.user, true)
      exact<{ room: number }>()(connection.params, true)
      exact<{ since?: string }>()(connection.query, true)
      exact<{ version: string; joined: Date }>()(connection.data, true)
      exact<AbortSignal>()(connection.signal, true)
      exact<number | undefined>()(connection.expiresAt, true)
      exact<'open' | 'closing' | 'closed'>()(connection.state, true)
      // @ts-expect-error not declared
      message.nope
    },
    count: {
      cost: 2,
      authorize: (connection) => connection.data.version === connection.user.sub,
      handler: async (message, connection) => {
        exact<number>()(message.from, true)
        exact<1>()(connection.user.level, true)
        return { total: message.from }
      }
    }
  },
  onClose: (connection, { code, reason, cause }) => {
    exact<number>()(code, true)
    exact<string>()(reason, true)
    exact<CloseCause>()(cause, true)
    exact<Date>()(connection.data.joined, true)
  },
  onError: (error, connection) => {
    exact<unknown>()(error, true)
    exact<number>()(connection.params.room, true)
  }
})

/* Without schema, data or a verifier. */

interface Token {
  sub: string
  rooms: string[]
}

app.wsRoute('/bare', {
  contract: chat,
  handlers: {
    say: (_message, connection) => {
      exact<Record<string, string>>()(connection.params, true)
      exact<Record<string, unknown>>()(connection.query, true)
      exact<undefined>()(connection.data, true)
      exact<Token>()(connection.user, true)
    },
    count: () => ({ total: 1 })
  }
})

app.wsRoute('/open', {
  contract: chat,
  auth: false,
  authorize: (user) => {
    exact<undefined>()(user, true)
    return true
  },
  handlers: { say: (_message, { user }) => exact<undefined>()(user, true), count: () => ({ total: 1 }) }
})

app.wsRoute('/nullable', {
  contract: chat,
  // What is null or undefined is refused, so that no connection has it.
  auth: { verify: (token: string): Token | null => (token === '' ? null : { sub: token, rooms: [] }) },
  handlers: { say: (_message, { user }) => exact<Token>()(user, true), count: () => ({ total: 1 }) }
})

/* A protocol of one's own. */

app.wsRoute('/raw', {
  schema: { params: Type.Object({ id: Type.Literal('a') }) },
  auth: { verify: (token: string, request) => ({ token, ip: request.ip }) },
  data: () => 5,
  handler(connection, request) {
    exact<FastifyInstance>()(this, true)
    exact<{ token: string; ip: string }>()(connection.user, true)
    exact<'a'>()(connection.params.id, true)
    exact<'a'>()(request.params.id, true)
    exact<number>()(connection.data, true)
    connection.socket.on('message', (data) => connection.socket.send(data.toString()))
  }
})

/* It returns the instance, and takes Fastify's own options. */

exact<FastifyInstance>()(app.wsRoute('/chained', { contract: chat, handlers }), true)
app.wsRoute('/hooks', {
  contract: chat,
  handlers,
  onRequest: async (request) => exact<FastifyRequest['ip']>()(request.ip, true),
  preHandler: [(_request, _reply, done) => done()],
  logLevel: 'warn',
  constraints: { host: 'a.example.com' },
  prefixTrailingSlash: 'slash'
})

/* What does not compile: each differs from what does by one thing only. */

// @ts-expect-error a handler is missing
app.wsRoute('/x', { contract: chat, handlers: { say: () => {} } })
// @ts-expect-error no handlers at all
app.wsRoute('/x', { contract: chat })
// @ts-expect-error neither contract nor handler
app.wsRoute('/x', {})
// @ts-expect-error a handler the contract has no message for
app.wsRoute('/x', { contract: chat, handlers: { ...handlers, said: () => {} } })
// @ts-expect-error a reply of another type
app.wsRoute('/x', { contract: chat, handlers: { ...handlers, count: () => ({ total: 'many' }) } })
// @ts-expect-error a reply is missing
app.wsRoute('/x', { contract: chat, handlers: { ...handlers, count: () => {} } })
// @ts-expect-error a cost is a number
app.wsRoute('/x', { contract: chat, handlers: { ...handlers, say: { cost: '2', handler: () => {} } } })
// @ts-expect-error a contract, or a protocol of one's own
app.wsRoute('/x', { contract: chat, handlers, handler: () => {} })
// @ts-expect-error handlers without a contract
app.wsRoute('/x', { handlers, handler: () => {} })
// @ts-expect-error an unknown option
app.wsRoute('/x', { contract: chat, handlers, origin: 'https://app.example.com' })
// @ts-expect-error an option of the plugin
app.wsRoute('/x', { contract: chat, handlers, closeCodes: 'iana' })
// @ts-expect-error an unknown limit
app.wsRoute('/x', { contract: chat, handlers, limits: { maxPayload: 5 } })
// @ts-expect-error a source of credentials that is none
app.wsRoute('/x', { contract: chat, handlers, auth: { from: ['body'] } })
// @ts-expect-error true is no auth
app.wsRoute('/x', { contract: chat, handlers, auth: true })
// @ts-expect-error authorize answers with a boolean
app.wsRoute('/x', { contract: chat, handlers, authorize: () => 'yes' })
// @ts-expect-error a path
app.wsRoute(5, { contract: chat, handlers })
// @ts-expect-error another property than the schema's
app.wsRoute('/x', { contract: chat, handlers: { ...handlers, say: (_message: { nope: string }) => {} } })

/* Publishing. */

exact<number>()(app.wsGuard.publish(chat, 'topic', 'said', { from: 'me', text: 'hi' }), true)
// @ts-expect-error a message the client sends
app.wsGuard.publish(chat, 'topic', 'say', { text: 'hi' })
// @ts-expect-error a payload of another message
app.wsGuard.publish(chat, 'topic', 'gone', { from: 'me', text: 'hi' })
// @ts-expect-error a property is missing
app.wsGuard.publish(chat, 'topic', 'said', { from: 'me' })
exact<Promise<number>>()(app.wsGuard.disconnect({ sub: 'a', route: '/x' }, { reason: 'x' }), true)
// @ts-expect-error no such criterion
void app.wsGuard.disconnect({ user: 'a' })
// @ts-expect-error revoked by sub, sid or jti
void app.wsGuard.revoke({ ip: '127.0.0.1' })
// @ts-expect-error until when?
void app.wsGuard.block({ sub: 'a' }, {})

/** Not `any`. */
type NotAny<T> = 0 extends 1 & T ? false : true
export type Checks = [
  Expect<NotAny<FastifyInstance['wsRoute']>>,
  Expect<NotAny<FastifyInstance['wsGuard']>>,
  Expect<NotAny<WsConnection['user']>>,
  Expect<Equals<WsConnection['user'], unknown>>,
  Expect<NotAny<AuthOptions['verify']>>
]
