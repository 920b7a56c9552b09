/**
 * What guides and posts about secure WebSockets in Node put together by hand: a token and the Origin in `verifyClient`,
 * a size limit, pings that end dead peers, a sliding window of timestamps per user, JSON in a `try`, and checks of
 * each property. Nothing is left out that such guides have.
 */
import jwt from '@fastify/jwt'
import websocket from '@fastify/websocket'
import Fastify, { type FastifyInstance } from 'fastify'
import type { WebSocket } from 'ws'
import { listed, origin, path, secret } from './messages.ts'
import { http, logger, serve } from './report.ts'

const maxPerWindow = 20
const windowMs = 1_000
const pingEveryMs = 30_000

/** User → when their last messages came. */
const timestamps = new Map<string, number[]>()
const alive = new WeakSet<WebSocket>()

function isAllowed(user: string): boolean {
  const now = Date.now()
  const recent = (timestamps.get(user) ?? []).filter((at) => now - at < windowMs)
  if (recent.length >= maxPerWindow) {
    timestamps.set(user, recent)
    return false
  }
  recent.push(now)
  timestamps.set(user, recent)
  return true
}

function onMessage(socket: WebSocket, user: string, data: Buffer): void {
  const fail = (message: string): void => socket.send(JSON.stringify({ type: 'error', message }))
  if (!isAllowed(user)) return fail('Rate limit exceeded')
  let message: { type?: unknown; text?: unknown } | null
  try {
    message = JSON.parse(data.toString())
  } catch {
    return fail('Invalid JSON')
  }
  if (typeof message !== 'object' || message === null) return fail('Invalid message')
  if (message.type === 'say') {
    if (typeof message.text !== 'string' || message.text.length > 5_000) return fail('Invalid message')
    socket.send(JSON.stringify({ type: 'said', text: message.text }))
  } else if (message.type === 'list') socket.send(JSON.stringify({ type: 'listed', text: listed }))
  else if (message.type === 'bye') socket.close(1000, 'bye')
  else fail('Unknown message type')
}

const app = Fastify({ logger, http }) as unknown as FastifyInstance
await app.register(jwt, { secret })

/** @returns the user, or undefined */
function userOf(authorization: string | undefined): string | undefined {
  try {
    return app.jwt.verify<{ sub: string }>(authorization?.replace(/^Bearer /, '') ?? '').sub
  } catch {
    return undefined
  }
}

await app.register(websocket, {
  options: {
    maxPayload: 1_048_576,
    verifyClient: (info, next) => {
      if (info.origin !== origin) next(false, 403, 'Forbidden')
      else if (userOf(info.req.headers.authorization) === undefined) next(false, 401, 'Unauthorized')
      else next(true)
    }
  }
})
app.get(path, { websocket: true }, (socket, request) => {
  const user = userOf(request.headers.authorization) as string
  alive.add(socket)
  socket.on('pong', () => alive.add(socket))
  socket.on('error', () => socket.terminate())
  socket.on('close', () => timestamps.delete(user))
  socket.on('message', (data: Buffer) => onMessage(socket, user, data))
})
setInterval(() => {
  for (const socket of app.websocketServer.clients) {
    if (!alive.delete(socket)) socket.terminate()
    else socket.ping()
  }
}, pingEveryMs).unref()
await serve(app, () => ({ timestamps: timestamps.size }))
