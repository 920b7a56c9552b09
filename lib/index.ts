import type { FastifyPluginAsync } from 'fastify'
import fastifyPlugin from 'fastify-plugin'
import { install } from './route/install.ts'
import type { WsGuardOptions, WsRoute } from './route/options.ts'
import type { WsGuard } from './route/ws-guard.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Declares a guarded websocket route. */
    wsRoute: WsRoute
    /** Publishing, kicks, tickets and the posture of all routes. */
    wsGuard: WsGuard
  }
}

const wsGuard: FastifyPluginAsync<WsGuardOptions> = fastifyPlugin(install, {
  name: 'fastify-ws-guard',
  fastify: '^5.12.8'
})

export default wsGuard
export { type CloseCause, type CloseCodeName, type CloseCodes, closeCauses, closeCodes } from './close-codes.ts'
export { eventFields, eventTable, type WsEvent, type WsEventName } from './connection/event-table.ts'
export type { CloseInfo, Identity, WsConnection } from './connection/types.ts'
export { type Contract, defineContract, type MessageOf, type ReplyOf, type ServerMessageOf } from './contract.ts'
export { CloseError, errorCodes, MessageError, OptionError } from './errors.ts'
export { refusalReasons, refusalStatuses } from './handshake/refusal.ts'
export { MemoryStore, type MemoryStoreOptions } from './limits/memory-store.ts'
export { type Store, StoreDownError, StoreFullError, type StoreListener } from './limits/store.ts'
export { EncodeError } from './messages/encode.ts'
export { optionTable } from './route/option-table.ts'
export type {
  AuthOptions,
  LimitsOptions,
  SharedOptions,
  WsContractRoute,
  WsGuardOptions,
  WsGuardTypes,
  WsRawRoute,
  WsRoute
} from './route/options.ts'
export type { RoutePosture, WsGuard } from './route/ws-guard.ts'
