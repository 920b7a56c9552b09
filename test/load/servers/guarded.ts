/**
 * A contract route behind the guard, with every limit at its default: the good clients come from one address and fill
 * its 50 connections, the attackers from addresses of their own, so that nothing has to be raised for the bench.
 */
import jwt from '@fastify/jwt'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import wsGuard, { defineContract } from '../../../lib/index.ts'
import { listed, origin, path, secret } from './messages.ts'
import { http, logger, serve } from './report.ts'

const contract = defineContract({
  name: 'bench',
  clientToServer: {
    say: Type.Object({ text: Type.String({ maxLength: 5_000 }) }),
    list: Type.Object({}),
    bye: Type.Object({})
  },
  serverToClient: { said: Type.Object({ text: Type.String() }), listed: Type.Object({ text: Type.String() }) }
})

const app = Fastify({ logger, http }) as unknown as FastifyInstance
await app.register(jwt, { secret })
await app.register(wsGuard, { origins: [origin], auth: {} })
app.wsRoute(path, {
  contract,
  handlers: {
    say: ({ text }, connection) => void connection.send('said', { text }),
    list: (_message, connection) => void connection.send('listed', { text: listed }),
    bye: (_message, connection) => connection.close(1000, 'bye')
  }
})
await serve(app, () => app.wsGuard.stats())
