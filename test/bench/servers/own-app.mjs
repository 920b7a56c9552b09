/** What the servers of this package have in common: the contract, and the plugin with every protection. */
import jwt from '@fastify/jwt'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import { maxText, origin, secret } from './messages.mjs'
import { ownFile } from './own-package.mjs'
import { settings } from './serve.mjs'

const { default: wsGuard, defineContract } = await ownFile('index')

const unlimited = 1e9
const chat = Type.Object({
  room: Type.String({ format: 'uuid' }),
  seq: Type.Integer({ minimum: 0 }),
  text: Type.String({ maxLength: maxText })
})
export const contract = defineContract({ name: 'chat', clientToServer: { chat }, serverToClient: { chat } })

/** Raised are only the limits that a load itself would run into. @param options of the plugin, beside those */
export async function ownApp(options = {}) {
  const app = Fastify()
  await app.register(jwt, { secret })
  await app.register(wsGuard, {
    origins: [origin],
    auth: {},
    // Whoever measures says NODE_ENV=production, and the load has no TLS.
    requireTls: false,
    limits: {
      attempts: { max: unlimited },
      connections: { total: unlimited, perIp: unlimited, perUser: unlimited },
      messages: { perSecond: settings.messagesPerSecond, burst: settings.messagesBurst },
      bytes: { perSecond: unlimited, burst: unlimited }
    },
    heartbeat: { intervalMs: settings.heartbeatMs },
    ...options
  })
  return app
}
