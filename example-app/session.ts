/**
 * Signing in. A name is enough, because this is a demo: put your own login where `/login` is. What matters for the
 * WebSocket is what comes out of it: a short-lived token that says who the user is and which rooms are theirs.
 */

import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { rooms } from './contract.ts'

declare module '@fastify/jwt' {
  interface FastifyJWT {
    payload: { sub: string; rooms: string[]; iat?: number }
    user: { sub: string; rooms: string[] }
  }
}

export const tokenLifetimeSeconds = 15 * 60

const login = {
  body: Type.Object(
    { name: Type.String({ minLength: 1, maxLength: 24, pattern: '^[\\p{L}\\p{N}][\\p{L}\\p{N} ._-]*$' }) },
    { additionalProperties: false }
  )
}

export async function requireToken(request: FastifyRequest): Promise<void> {
  await request.jwtVerify()
}

export async function neverCache(_request: FastifyRequest, reply: FastifyReply): Promise<void> {
  reply.header('cache-control', 'no-store')
}

export async function sessionRoutes(instance: FastifyInstance): Promise<void> {
  const app = instance.withTypeProvider<TypeBoxTypeProvider>()
  app.addHook('onRequest', neverCache)

  // 20 sign-ins a minute from one address: enough for a household, too few for a robot.
  const limited = { rateLimit: { max: 20, timeWindow: '1 minute' } }
  app.post('/login', { schema: login, config: limited }, async (request) => {
    const sub = request.body.name.trim()
    const open = rooms.filter((room) => room.open).map((room) => room.id)
    return { token: app.jwt.sign({ sub, rooms: open }), name: sub, expiresInMs: tokenLifetimeSeconds * 1000 }
  })

  // A browser sees every refused handshake as close code 1006. The page asks here whether its token was the reason.
  app.get('/session', { preValidation: requireToken }, async (request) => request.user)
}
