import jwt from '@fastify/jwt'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import wsGuard, { defineContract } from '../../lib/index.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { storeOnRedis } from './default-store.ts'

/** The Origin that `buildApp` admits unless told otherwise. */
export const origin = 'https://app.example.com'
export const secret: string = 'a secret of more than 32 bytes, for tests only'

/** A contract with a message, a request with a reply, and an answer. */
export const echo = defineContract({
  name: 'echo',
  clientToServer: {
    say: Type.Object({ text: Type.String({ maxLength: 5_000 }) }),
    ask: {
      message: Type.Object({ count: Type.Integer({ minimum: 0, maximum: 100 }) }),
      reply: Type.Object({ items: Type.Array(Type.String(), { maxItems: 100 }) })
    }
  },
  serverToClient: { said: Type.Object({ text: Type.String() }) }
})

export interface AppOptions {
  readonly server?: FastifyServerOptions
  readonly guard?: WsGuardOptions
  /** False: without @fastify/jwt. */
  readonly jwt?: boolean
}

/** An app with @fastify/jwt and the guard; declare routes on it, then `app.ready()` or `injectWs`. */
export async function buildApp(options: AppOptions = {}): Promise<FastifyInstance> {
  const app = Fastify(options.server)
  if (options.jwt !== false) await app.register(jwt, { secret })
  await app.register(wsGuard, {
    origins: [origin],
    auth: {},
    ...(storeOnRedis && { store: storeOnRedis() }),
    ...options.guard
  })
  return app as unknown as FastifyInstance
}

/** A token that a default route admits. */
export function tokenFor(app: FastifyInstance, sub = 'alice', claims: object = {}): string {
  // The example augments FastifyJWT for its own tokens.
  return app.jwt.sign({ sub, ...claims } as never, { expiresIn: '1h' })
}
