/**
 * The way of the guides: jsonwebtoken with the secret as text in `preValidation`, zod, and for each
 * connection an array of the times of its last messages.
 */
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import jsonwebtoken from 'jsonwebtoken'
import { z } from 'zod'
import { maxText, origin, secret } from './messages.mjs'
import { seen, serveFastify, settings } from './serve.mjs'

const maxPayload = 1_048_576
const windowMs = 1_000

const chat = z.strictObject({
  type: z.literal('chat'),
  room: z.uuid(),
  seq: z.int().min(0),
  text: z.string().max(maxText)
})

/** The times of the last messages of a connection. */
class SlidingWindow {
  #timestamps = []

  isAllowed() {
    const now = Date.now()
    this.#timestamps = this.#timestamps.filter((at) => now - at < windowMs)
    if (this.#timestamps.length >= settings.messagesPerSecond) return false
    this.#timestamps.push(now)
    return true
  }
}

const app = Fastify()
await app.register(websocket, { options: { maxPayload } })

setInterval(() => {
  for (const socket of app.websocketServer.clients) {
    if (socket.isAlive === false) socket.terminate()
    else {
      socket.isAlive = false
      socket.ping()
    }
  }
}, settings.heartbeatMs).unref()

async function preValidation(request, reply) {
  if (request.headers.origin !== origin) return reply.code(403).send({ error: 'Forbidden' })
  try {
    const token = request.headers.authorization.split(' ')[1]
    request.user = jsonwebtoken.verify(token, secret, { algorithms: ['HS256'] })
  } catch {
    return reply.code(401).send({ error: 'Unauthorized' })
  }
}

/** @returns the message, or undefined when an error was sent */
function receive(socket, window, data) {
  const refuse = (message) => socket.send(JSON.stringify({ type: 'error', message }))
  if (!window.isAllowed()) return refuse('Rate limit exceeded')
  try {
    return chat.parse(JSON.parse(data.toString()))
  } catch {
    return refuse('Invalid message')
  }
}

function accept(socket, onChat) {
  seen.handshakes++
  const window = new SlidingWindow()
  socket.on('pong', () => {
    socket.isAlive = true
  })
  socket.on('error', () => socket.terminate())
  socket.on('message', (data) => {
    const message = receive(socket, window, data)
    if (message === undefined) return
    seen.messages++
    onChat(message)
  })
}

app.get('/echo', { websocket: true, preValidation }, (socket) => {
  accept(socket, ({ type, room, seq, text }) => socket.send(JSON.stringify({ type, room, seq, text })))
})

const subscribers = new Set()
app.get('/fan', { websocket: true, preValidation }, (socket) => {
  subscribers.add(socket)
  socket.on('close', () => subscribers.delete(socket))
  accept(socket, ({ type, room, seq, text }) => {
    const frame = JSON.stringify({ type, room, seq, text })
    for (const subscriber of subscribers) subscriber.send(frame)
  })
})

await serveFastify(app)
