/**
 * A contract route of this package, every protection at its default. Raised are only the limits that the load itself
 * would run into: it comes from one address, as fast as it can.
 */
import jwt from '@fastify/jwt'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import { maxText, origin, secret, topic } from './messages.mjs'
import { seen, serveFastify, settings } from './serve.mjs'

/** By its name the package is not found from here: the folder above is a package of its own. A test gives its sources. */
const built = new URL('../../../dist/index.js', import.meta.url).href
const { default: wsGuard, defineContract } = await import(process.env.BENCH_GUARD ?? built)

const unlimited = 1e9
const chat = Type.Object({
  room: Type.String({ format: 'uuid' }),
  seq: Type.Integer({ minimum: 0 }),
  text: Type.String({ maxLength: maxText })
})
const contract = defineContract({ name: 'chat', clientToServer: { chat }, serverToClient: { chat } })

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
  heartbeat: { intervalMs: settings.heartbeatMs }
})

app.wsRoute('/echo', {
  contract,
  onOpen() {
    seen.handshakes++
  },
  handlers: {
    chat({ room, seq, text }, connection) {
      seen.messages++
      connection.send('chat', { room, seq, text })
    }
  }
})

app.wsRoute('/fan', {
  contract,
  async onOpen(connection) {
    seen.handshakes++
    await connection.subscribe(topic)
  },
  handlers: {
    chat({ room, seq, text }) {
      seen.messages++
      app.wsGuard.publish(contract, topic, 'chat', { room, seq, text })
    }
  }
})

await serveFastify(app)
