import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { boundSocket } from '../connection/guarded-socket.ts'
import { isInstance } from '../errors.ts'
import { isObject } from '../messages/is-object.ts'
import { coverPlainRequest } from './access-log.ts'
import { checkPeer, checkRequest, checkRights, makeData, Unavailable } from './checks.ts'
import type { Gate } from './gate.ts'
import type { Refusal } from './refusal.ts'
import { refuse, refuseInErrorHooks } from './refuse.ts'
import { isSecure } from './transport.ts'
import { isPlainRoute, settingsOf, type Upgrade, upgradeOf } from './upgrade.ts'
import { upgradeHeadersFor } from './upgrade-headers.ts'
import { withSecrets } from './url-secrets.ts'

/**
 * The handshake as a pipe that halts: each check looks at one thing and says why it refuses, or nothing. Added to the
 * root instance when the plugin is registered, so that they run before the developer's own hooks.
 */
export function addHandshakeHooks(app: FastifyInstance, gate: Gate): void {
  app.addHook('onRequest', (request, reply, done) => {
    const upgrade = upgradeOf(request.raw)
    const settings = settingsOf(request)
    if (upgrade === undefined) {
      coverPlainRequest(request, settings !== undefined, gate.queryCredentials)
      if (settings === undefined) return done()
      reply.headers(upgradeHeadersFor(settings.upgradeHeaders, isSecure(request)))
      return void refuse(gate, request, reply, { reason: 'no_upgrade' })
    }
    if (isPlainRoute(request)) {
      giveBackSecrets(request, upgrade)
      return done()
    }
    upgrade.settings = settings
    // ws takes its bounds per socket, before it reads the first frame; with `refuse: 'close'` any refusal has one.
    if (settings !== undefined) boundSocket(upgrade.socket, settings.limits)
    upgrade.headers = upgradeHeadersFor((settings ?? gate).upgradeHeaders, isSecure(request))
    reply.headers(upgrade.headers).header('connection', 'close')
    halt({ gate, request, reply, upgrade, done }, checkRequest(gate, request, settings))
  })
  // The first of the `onError` hooks, of which one of the app's may never end.
  app.addHook('onError', (request, reply, _error, done) => {
    if (upgradeOf(request.raw)?.settings !== undefined) refuseInErrorHooks(gate, request, reply)
    done()
  })
  app.addHook('preValidation', (request, reply, done) => {
    const upgrade = upgradeOf(request.raw)
    if (upgrade?.settings === undefined) return done()
    halt({ gate, request, reply, upgrade, done }, checkPeer({ gate, request, upgrade, settings: upgrade.settings }))
  })
  app.addHook('preHandler', (request, reply, done) => {
    const upgrade = upgradeOf(request.raw)
    if (upgrade?.settings === undefined) return done()
    const { settings } = upgrade
    if (settings.authorize === undefined && settings.makeData === undefined) {
      if (!isOver(reply, upgrade)) done()
      return
    }
    const peer = { gate, request, upgrade, settings }
    halt(
      { gate, request, reply, upgrade, done },
      checkRights(peer).then((refusal) => refusal ?? makeData(peer))
    )
  })
}

/** A plain websocket route reads its own URL: what is called like a credential of ours is none there. */
function giveBackSecrets(request: FastifyRequest, upgrade: Upgrade): void {
  const { raw, query } = request
  raw.url = withSecrets(String(raw.url), upgrade)
  // What a parser of the app's own makes of a query need not be an object.
  if (!isObject(query) || !Object.isExtensible(query)) return
  for (const [name, values] of upgrade.secrets) query[name] = values.length > 1 ? values : values[0]
}

interface Step {
  readonly gate: Gate
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly upgrade: Upgrade
  readonly done: (error?: FastifyError) => void
}

function halt({ gate, request, reply, upgrade, done }: Step, check: Promise<Refusal | undefined>): void {
  const goOn = (refusal: Refusal | undefined): void => {
    if (isOver(reply, upgrade)) return
    if (refusal === undefined) done()
    else refuse(gate, request, reply, refusal)
  }
  const fail = (error: unknown): void => {
    if (isOver(reply, upgrade)) return
    if (isInstance(error, Unavailable)) {
      refuse(gate, request, reply, { reason: 'unavailable', detail: { errorCode: error.errorCode } })
    } else {
      done(readable(error))
    }
  }
  // What throws while it is answered, or in what `done` runs at once, nobody else would catch: it would end the process.
  const giveUp = (): void => {
    if (!isOver(reply, upgrade)) refuse(gate, request, reply, { reason: 'hook_failed' })
  }
  check
    .then(goOn, fail)
    .catch(giveUp)
    .catch(() => upgrade.socket.destroy())
}

/** What Fastify, our error handler and the logger look at. */
const lookedAt = ['statusCode', 'code', 'validation', 'name', 'message', 'stack', 'headers', 'cause']

/** Fastify takes a falsy error for none and would go on; one that throws when it is looked at would end the process. */
function readable(error: unknown): FastifyError {
  if (!error) return new Error('rejected without an error') as FastifyError
  try {
    if (typeof error === 'object') for (const name of lookedAt) Reflect.get(error, name)
    return error as FastifyError
  } catch {
    return new Error('rejected with an error that cannot be read') as FastifyError
  }
}

/** Answered by the timeout, or left by the client, while a check was under way: nothing more runs. */
function isOver(reply: FastifyReply, { socket }: Upgrade): boolean {
  if (reply.sent) return true
  // A hook has begun an answer past Fastify and then gone on: neither a refusal nor a 101 can follow it.
  if (reply.raw.headersSent) socket.destroy()
  if (!socket.destroyed) return false
  // Nobody is there to be answered; this stops Fastify's timer.
  reply.hijack()
  return true
}
