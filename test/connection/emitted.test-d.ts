/** Compiled, never run: what the guard itself may say in an event. */
import type { FastifyBaseLogger } from 'fastify'
import type { Connection } from '../../lib/connection/connection.ts'
import type { Events } from '../../lib/connection/events.ts'

declare const events: Events
declare const connection: Connection
declare const log: FastifyBaseLogger
const about = { connectionId: 'c', route: '/house', ip: '127.0.0.1' }

events.emit('ws.drain', log, { connections: 1 })
events.emit('ws.refused', log, { status: 400, reason: 'method' })
connection.report('ws.invalid', { reason: 'invalid_json', paths: undefined })
connection.report('ws.forbidden', { reason: 'forbidden', sub: 'alice' })
// @ts-expect-error a field is missing
events.emit('ws.drain', log, {})
// @ts-expect-error a field that is not declared
events.emit('ws.drain', log, { connections: 1, token: 'secret' })
// @ts-expect-error of another type
events.emit('ws.drain', log, { connections: '1' })
// @ts-expect-error there is no such event
events.emit('ws.opened', log, about)
// @ts-expect-error a reason that is not declared would be a series nobody knows
connection.report('ws.rate_limited', { reason: 'whatever' })
// @ts-expect-error a field that is not declared
connection.report('ws.rate_limited', { reason: 'dropped', message: 'secret' })
// @ts-expect-error no event about a connection
connection.report('ws.refused', { status: 403, reason: 'forbidden' })
// @ts-expect-error the connection says itself which one it is
connection.report('ws.heartbeat_timeout', { reason: 'no_pong', ip: '127.0.0.1' })
