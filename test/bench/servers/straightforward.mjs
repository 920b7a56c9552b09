/**
 * What a careful person would write on @fastify/websocket: Origin and token before the upgrade, a compiled check of
 * each message, JSON that cannot poison, a token bucket and a bound of what waits for a slow reader, for each
 * connection, and one timer whose pings find the dead.
 */
import jwt from '@fastify/jwt'
import websocket from '@fastify/websocket'
import { FormatRegistry, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import Fastify from 'fastify'
import { parse } from 'secure-json-parse'
import { maxText, origin, secret } from './messages.mjs'
import { seen, serveFastify, settings } from './serve.mjs'

const maxPayload = 65_536
const maxBufferedBytes = 1_048_576

FormatRegistry.Set('uuid', (text) => /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text))
const chat = TypeCompiler.Compile(
  Type.Object(
    {
      type: Type.Literal('chat'),
      room: Type.String({ format: 'uuid' }),
      seq: Type.Integer({ minimum: 0 }),
      text: Type.String({ maxLength: maxText })
    },
    { additionalProperties: false }
  )
)

/** Tokens come back evenly, up to the burst. */
class TokenBucket {
  #tokens = settings.messagesBurst
  #at = performance.now()

  take() {
    const now = performance.now()
    const earned = ((now - this.#at) / 1_000) * settings.messagesPerSecond
    this.#tokens = Math.min(settings.messagesBurst, this.#tokens + earned)
    this.#at = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}

const app = Fastify()
await app.register(jwt, { secret })
await app.register(websocket, { options: { maxPayload } })

const isAlive = Symbol('is alive')
setInterval(() => {
  for (const socket of app.websocketServer.clients) {
    if (!socket[isAlive]) socket.terminate()
    else {
      socket[isAlive] = false
      socket.ping()
    }
  }
}, settings.heartbeatMs).unref()

async function checkOrigin(request, reply) {
  if (request.headers.origin !== origin) return reply.code(403).send({ error: 'Forbidden' })
}

async function checkToken(request, reply) {
  try {
    await request.jwtVerify({ algorithms: ['HS256'] })
  } catch {
    return reply.code(401).send({ error: 'Unauthorized' })
  }
}

function send(socket, text) {
  if (socket.bufferedAmount > maxBufferedBytes) socket.terminate()
  else socket.send(text)
}

/** @returns the message built anew, or undefined when an error was sent */
function receive(socket, bucket, data, isBinary) {
  const refuse = (code) => send(socket, JSON.stringify({ type: 'error', code }))
  if (!bucket.take()) return refuse('rate_limited')
  if (isBinary) return refuse('invalid_message')
  let message
  try {
    message = parse(data.toString())
  } catch {
    return refuse('invalid_json')
  }
  if (!chat.Check(message)) return refuse('invalid_message')
  const { type, room, seq, text } = message
  return { type, room, seq, text }
}

function accept(socket, onChat) {
  seen.handshakes++
  const bucket = new TokenBucket()
  socket[isAlive] = true
  socket.on('pong', () => {
    socket[isAlive] = true
  })
  socket.on('error', () => socket.terminate())
  socket.on('message', (data, isBinary) => {
    const message = receive(socket, bucket, data, isBinary)
    if (message === undefined) return
    seen.messages++
    onChat(message)
  })
}

const guarded = { websocket: true, onRequest: [checkOrigin, checkToken] }

app.get('/echo', guarded, (socket) => {
  accept(socket, (message) => send(socket, JSON.stringify(message)))
})

const subscribers = new Set()
app.get('/fan', guarded, (socket) => {
  subscribers.add(socket)
  socket.on('close', () => subscribers.delete(socket))
  accept(socket, (message) => {
    const text = JSON.stringify(message)
    for (const subscriber of subscribers) send(subscriber, text)
  })
})

await serveFastify(app)
