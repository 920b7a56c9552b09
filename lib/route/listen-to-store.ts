import type { FastifyInstance } from 'fastify'
import { receiveFromBus } from '../connection/from-bus.ts'
import { kick } from '../connection/kick.ts'
import type { StoreListener } from '../limits/store.ts'
import type { CompiledContract } from '../messages/compile-contract.ts'
import type { RouteContext } from './register-route.ts'

/** What comes from the other nodes. */
export function listenToStore(app: FastifyInstance, { gate, contracts }: RouteContext): StoreListener {
  const { registry, topics, events } = gate.runtime
  const contractNamed = (name: string): CompiledContract | undefined =>
    [...contracts.values()].find((contract) => contract.name === name)
  return {
    onKick: (order) => void kick(registry, order),
    onMessage: (topicKey, payload) => {
      const reason = receiveFromBus(topics, contractNamed, topicKey, payload)
      if (reason !== undefined) events.emit('ws.bus_ignored', app.log, { reason })
    },
    onState: (reason, errorCode) => events.emit('ws.store', app.log, { reason, errorCode })
  }
}
