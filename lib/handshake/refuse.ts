import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { CloseCodeName } from '../close-codes.ts'
import { tryLog } from '../connection/events.ts'
import type { GuardedSocket } from '../connection/guarded-socket.ts'
import { shownAddress } from './attempts.ts'
import type { Gate } from './gate.ts'
import {
  httpOnlyReasons,
  type Refusal,
  refusalBody,
  refusalStatuses,
  sendRefusal,
  statusOf,
  writeRefusal
} from './refusal.ts'
import { checkHandshake, chooseProtocol, readOffers } from './request-shape.ts'
import type { HandshakeSettings } from './settings.ts'
import { isSecure } from './transport.ts'
import { settingsOf, type Upgrade, upgradeOf } from './upgrade.ts'
import { upgradeHeadersFor } from './upgrade-headers.ts'

/** With `refuse: 'close'` the socket is destroyed this long after the close frame. */
const refusedSocketMs = 1_000

/** Refuses as the route says: an HTTP answer, or a socket that only says a close code a browser can read. */
export function refuse(gate: Gate, request: FastifyRequest, reply: FastifyReply, refusal: Refusal): void {
  report(gate, request, statusOf(refusal), refusal)
  answer(gate, request, reply, statusOf(refusal), refusal)
}

function report(gate: Gate, request: FastifyRequest, status: number, { reason, detail }: Refusal): void {
  const { events } = gate.runtime
  const sub = upgradeOf(request.raw)?.verified?.identity?.subject
  const { log } = request
  const ip = shownAddress(request)
  const { url: route } = request.routeOptions
  events.emit('ws.refused', log, { route, status, reason, ip, sub, ...detail })
  if (status === 401) events.emit('ws.auth_failed', log, { route, reason, ip, sub, errorCode: detail?.errorCode })
  else if (reason === 'forbidden') events.emit('ws.forbidden', log, { route, reason, ip, sub })
}

function answer(gate: Gate, request: FastifyRequest, reply: FastifyReply, status: number, refusal: Refusal): void {
  const upgrade = upgradeOf(request.raw)
  const { settings } = upgrade ?? {}
  const isClose = settings?.refuse === 'close' && isHandshake(request, refusal)
  // Refused sockets live for a moment: there are never more of them than of those that still have to say who they are.
  if (!isClose || !gate.admission.takeRefused(upgrade as Upgrade, settings.limits.connections.unauthenticated)) {
    send(gate, request, reply, status, refusal)
  } else {
    reply.hijack()
    refuseByClose(gate, request, upgrade as Upgrade, settings, status)
  }
}

/** Attempts are counted before anything is looked at: what ws could not accept is not handed to it. */
function isHandshake({ raw }: FastifyRequest, { reason }: Refusal): boolean {
  return !httpOnlyReasons.has(reason) && checkHandshake(raw) === undefined
}

/** Replies that were refused before: an error that follows is one of the hooks that answers go through. */
const refusedBefore = new WeakSet<FastifyReply>()

function send(gate: Gate, request: FastifyRequest, reply: FastifyReply, status: number, refusal: Refusal): void {
  if (!refusedBefore.has(reply)) {
    refusedBefore.add(reply)
    try {
      return sendRefusal(reply, status, refusal.retryAfterMs)
    } catch (error) {
      tryLog(request.log, 'error', { err: error }, 'a refusal could not be sent with the headers that hooks have set')
    }
  }
  const { upgradeHeaders } = settingsOf(request) ?? gate
  writeRefusal(reply, status, upgradeHeadersFor(upgradeHeaders, isSecure(request)))
}

function refuseByClose(
  gate: Gate,
  request: FastifyRequest,
  upgrade: Upgrade,
  { protocols }: HandshakeSettings,
  status: number
): void {
  // A browser that offered protocols and gets none fails the connection: it would never see the code.
  const chosen = chooseProtocol(readOffers(request.headers['sec-websocket-protocol']), protocols)
  if ('protocol' in chosen) upgrade.protocol = chosen.protocol
  gate.websocketServer.handleUpgrade(request.raw, upgrade.socket, upgrade.head, (socket) => {
    ;(socket as GuardedSocket).isRefused = true
    socket.on('error', () => socket.terminate())
    socket.close(gate.runtime.closeCodes[closeCodeOf(status)], refusalBody(status).code)
    const timer = setTimeout(() => socket.terminate(), refusedSocketMs)
    upgrade.socket.once('close', () => clearTimeout(timer))
  })
}

/** A status of the developer's own hooks need not be in the table. */
function closeCodeOf(status: number): CloseCodeName {
  const known = (refusalStatuses as Record<number, { close: CloseCodeName }>)[status]
  return known?.close ?? (status < 500 ? 'policy_violation' : 'internal_error')
}

/** Replies whose `onError` hooks are running: our error handler comes after them. */
const inErrorHooks = new WeakSet<FastifyReply>()

/**
 * Fastify's timeout cannot answer while `onError` hooks run: `reply.send` throws there, in a timer, where it would end
 * the process. It says so by the request's signal first, and leaves alone who has answered by then.
 */
export function refuseInErrorHooks(gate: Gate, request: FastifyRequest, reply: FastifyReply): void {
  inErrorHooks.add(reply)
  const answerInstead = (): void => {
    // The signal also says that the client has left.
    if (!inErrorHooks.has(reply) || upgradeOf(request.raw)?.socket.destroyed) return
    refusedBefore.add(reply)
    refuse(gate, request, reply, { reason: 'handshake_timeout' })
  }
  request.signal.addEventListener('abort', answerInstead, { once: true })
}

/**
 * The error handler of our routes: whatever a hook or the validation throws becomes the one body of its status; the
 * error itself is only logged (threat H13).
 */
export function makeErrorHandler(gate: Gate) {
  return (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void => {
    inErrorHooks.delete(reply)
    if (upgradeOf(request.raw)?.socket.destroyed || reply.sent) {
      // The client has left, and `request.signal` has made a hook fail, or was answered: nobody is there to be refused.
      tryLog(request.log, 'debug', { err: error }, 'a hook of a websocket route failed after its client had left')
      reply.hijack()
      return
    }
    const { validation, code, statusCode } = fieldsOf(error)
    if (validation !== undefined) return refuse(gate, request, reply, { reason: 'invalid_parameters' })
    if (code === 'FST_ERR_HANDLER_TIMEOUT') return refuse(gate, request, reply, { reason: 'handshake_timeout' })
    // A status of the developer's own is kept; one that is no refusal is not.
    const status = isRefusalStatus(statusCode) ? statusCode : 500
    if (status >= 500) tryLog(request.log, 'error', { err: error }, 'a hook of a websocket route failed')
    const refusal: Refusal = { reason: 'hook_failed' }
    report(gate, request, status, refusal)
    answer(gate, request, reply, status, refusal)
  }
}

/** An error whose fields cannot be read twice is one without them: what they throw would be the answer. */
function fieldsOf(error: FastifyError): { validation?: unknown; code?: string; statusCode?: unknown } {
  try {
    const { validation, code, statusCode } = error
    return { validation, code, statusCode }
  } catch {
    return {}
  }
}

function isRefusalStatus(status: unknown): status is number {
  return Number.isInteger(status) && (status as number) >= 400 && (status as number) <= 599
}
