import type { FastifyRequest } from 'fastify'
import type { CloseCause } from '../close-codes.ts'
import { CloseError, type ErrorCode, errorCodes, isInstance, MessageError } from '../errors.ts'
import { StoreDownError } from '../limits/store.ts'
import { decode } from '../messages/decode.ts'
import { encodeErrorMessage, encodeReply } from '../messages/encode.ts'
import { chargeCost } from './budget.ts'
import { type Connection, pausedBy } from './connection.ts'
import { inflowOf } from './inflow.ts'
import { hasRoom, put, write } from './outbound.ts'
import type { Frame, Job } from './parts.ts'
import { isPromise } from './promises.ts'

/** True from the millisecond on in which the credential expires (RFC 7519 section 4.1.4: on or after). */
export function isExpired(connection: Connection): boolean {
  const { expiresAt } = connection
  return expiresAt !== undefined && connection.runtime.clock.wall() >= expiresAt
}

/** False once the connection ends; ends one whose credential has expired: nothing is dispatched from then on. */
export function isServed(connection: Connection): boolean {
  if (connection.state !== 'open') return false
  if (!isExpired(connection)) return true
  connection.end('session_expired')
  return false
}

/** A frame that the buckets let through, of a connection that is served. */
export function accept(connection: Connection, frame: Frame, now: number): void {
  const { data, bytes, isBinary } = frame
  const { contract, limits, handlers } = connection.settings
  // A raw route listens on the socket itself.
  if (contract === undefined) return
  if (isBinary) return connection.end('binary')
  if (connection.authenticate !== undefined) return connection.authenticate(frame)
  const decoded = decode(data.toString(), contract, limits.json)
  switch (decoded.kind) {
    case 'invalid_json':
      connection.report('ws.invalid', { reason: 'invalid_json' })
      return connection.end('invalid_json')
    case 'rejected':
      connection.report('ws.invalid', { reason: decoded.code, paths: decoded.details?.map(({ path }) => path) })
      return reject(connection, decoded.code, decoded.ref, now, decoded.details)
    case 'message': {
      const handler = handlers.get(decoded.message.type) as Job['handler']
      chargeCost(connection, handler.cost, now)
      enqueue(connection, { declared: decoded.message, handler, message: decoded.value, ref: decoded.ref, bytes })
    }
  }
}

/** Counts a tolerated violation. @returns true when it was the last one (limits.strikes) */
export function strike(connection: Connection, cause: CloseCause, now: number): boolean {
  const { max, windowMs } = connection.settings.limits.strikes
  const inflow = inflowOf(connection)
  if (inflow.strikes === 0 || now - inflow.strikesSince >= windowMs) {
    inflow.strikes = 0
    inflow.strikesSince = now
  }
  if (++inflow.strikes <= max) return false
  connection.end(cause)
  return true
}

/** A strike, and an error message when it was not the last. */
export function reject(
  connection: Connection,
  code: ErrorCode,
  ref: string | number | undefined,
  now: number,
  details?: unknown
): void {
  if (strike(connection, 'invalid_messages', now)) return
  write(connection, encodeErrorMessage({ code, message: errorCodes[code], ref, details }))
}

/** Handlers are serial per connection: a message runs at once or waits, within `limits.queue` (threat M11). */
function enqueue(connection: Connection, job: Job): void {
  const inflow = inflowOf(connection)
  if (!connection.busy && inflow.queue.length === 0) {
    run(connection, job)
    return
  }
  const { messages, bytes } = connection.settings.limits.queue
  inflow.queue.push(job)
  inflow.queuedBytes += job.bytes
  if (inflow.queue.length > messages || inflow.queuedBytes > bytes) connection.end('overflow')
  else if (isHalfFull(connection)) connection.pause(pausedBy.queue)
}

/**
 * Calls `onOpen`; what arrived meanwhile waits in the queue (threat M1). A raw route's handler stands in its place and
 * may run for as long as the connection.
 */
export function open(connection: Connection, request: FastifyRequest): void {
  // What time or a revocation has ended meanwhile was never open.
  if (!isServed(connection)) return
  const { onOpen, contract, handlerTimeoutMs } = connection.settings
  connection.opened = true
  try {
    const opening = onOpen?.(connection, request)
    if (isPromise(opening)) {
      if (contract !== undefined) connection.jobDeadline = connection.runtime.clock.now() + handlerTimeoutMs
      Promise.resolve(opening).then(
        () => opened(connection),
        (error) => failToOpen(connection, error)
      )
    } else {
      opened(connection)
    }
  } catch (error) {
    failToOpen(connection, error)
  }
}

function opened(connection: Connection): void {
  connection.becomeIdle()
  runQueue(connection)
}

function failToOpen(connection: Connection, error: unknown): void {
  connection.becomeIdle()
  if (closeAsTold(connection, error)) return
  connection.reportError(error, 'onOpen')
  // A subscription of its own that the store cannot give: the client may come back.
  connection.end(isInstance(error, StoreDownError) ? 'unavailable' : 'internal')
}

/** A CloseError; one whose fields throw is an error like any other. */
function closeAsTold(connection: Connection, error: unknown): boolean {
  if (!isInstance(error, CloseError)) return false
  try {
    const { closeCode, reason } = error
    connection.close(closeCode, reason)
    return true
  } catch {
    return false
  }
}

/** Runs what waits, until a handler takes its time. */
function runQueue(connection: Connection): void {
  const { inflow } = connection
  if (inflow === undefined) return
  while (!connection.busy && isServed(connection)) {
    const job = inflow.queue.shift()
    if (job === undefined) break
    inflow.queuedBytes -= job.bytes
    if (!isHalfFull(connection)) connection.resume(pausedBy.queue)
    run(connection, job)
  }
}

function isHalfFull(connection: Connection): boolean {
  const { messages, bytes } = connection.settings.limits.queue
  const { queue, queuedBytes } = inflowOf(connection)
  return queue.length * 2 >= messages || queuedBytes * 2 >= bytes
}

/** Runs one message; only one that takes its time goes on with the queue itself, so that no queue nests the stack. */
function run(connection: Connection, job: Job): void {
  connection.busy = true
  try {
    const allowed = job.handler.authorize === undefined || job.handler.authorize(connection)
    const result = isPromise(allowed)
      ? Promise.resolve(allowed).then((yes) => invoke(connection, job, yes))
      : invoke(connection, job, allowed)
    if (isPromise(result)) {
      connection.jobDeadline = connection.runtime.clock.now() + connection.settings.handlerTimeoutMs
      void Promise.resolve(result)
        .then(
          (value) => settle(connection, job, value),
          (error) => fail(connection, job, error)
        )
        .then(() => runQueue(connection))
    } else {
      settle(connection, job, result)
    }
  } catch (error) {
    fail(connection, job, error)
  }
}

const refused: unique symbol = Symbol('refused by the handler’s authorize')

function invoke(connection: Connection, job: Job, allowed: boolean): unknown {
  // Asked again: reading the message, or `authorize`, may have taken longer than the credential had left.
  if (!isServed(connection)) return undefined
  return allowed === true ? job.handler.run(job.message, connection) : refused
}

function settle(connection: Connection, job: Job, value: unknown): void {
  connection.becomeIdle()
  // What arrives after the end is dropped (threat Z8).
  if (connection.state !== 'open') return
  if (value === refused) {
    connection.report('ws.forbidden', { reason: 'handler', type: job.declared.type })
    reject(connection, 'forbidden', job.ref, connection.runtime.clock.now())
  } else if (job.ref !== undefined) {
    reply(connection, job, job.ref, value)
  }
}

/** A message without a declared reply is acknowledged with `null`. */
function reply(connection: Connection, job: Job, ref: string | number, value: unknown): void {
  const { encodeReply: encode } = job.declared
  try {
    if (hasRoom(connection)) put(connection, encodeReply(ref, encode === undefined ? 'null' : encode(value)))
  } catch (error) {
    fail(connection, job, error)
  }
}

function fail(connection: Connection, job: Job, error: unknown): void {
  connection.becomeIdle()
  if (closeAsTold(connection, error) || answerAsTold(connection, job, error)) return
  connection.reportError(error, 'handler')
  write(connection, encodeErrorMessage({ code: 'internal', message: errorCodes.internal, ref: job.ref }))
}

/** A MessageError; one whose fields throw, or that cannot be written, is an error like any other. */
function answerAsTold(connection: Connection, { ref }: Job, error: unknown): boolean {
  if (!isInstance(error, MessageError)) return false
  try {
    const { code, message, details } = error
    write(connection, encodeErrorMessage({ code, message, details, ref }))
    return true
  } catch {
    return false
  }
}
