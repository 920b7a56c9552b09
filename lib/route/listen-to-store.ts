import type { FastifyInstance } from 'fastify'
import { receiveFromBus } from '../connection/from-bus.ts'
import { kick } from '../connection/kick.ts'
import type { StoreListener } from '../limits/store.ts'
import { contractNamed, type RouteContext } from './register-route.ts'

/** What comes from the other nodes. */
export function listenToStore(app: FastifyInstance, context: RouteContext): StoreListener {
  const { registry, topics, events } = context.gate.runtime
  return {
    onKick: (order) => void kick(registry, order),
    onMessage: (topicKey, payload) => {
      const reason = receiveFromBus(topics, (name) => contractNamed(context, name), topicKey, payload)
      if (reason !== undefined) events.emit('ws.bus_ignored', app.log, { reason })
    },
    onState: (reason, errorCode) => events.emit('ws.store', app.log, { reason, errorCode })
  }
}
