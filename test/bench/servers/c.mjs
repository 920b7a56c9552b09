/** The base of every ratio: @fastify/websocket as its README shows it, sending back the bytes, checking nothing. */
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import { seen, serveFastify } from './serve.mjs'

const app = Fastify()
await app.register(websocket)

app.get('/echo', { websocket: true }, (socket) => {
  seen.handshakes++
  socket.on('message', (data, isBinary) => {
    seen.messages++
    socket.send(data, { binary: isBinary })
  })
})

const subscribers = new Set()
app.get('/fan', { websocket: true }, (socket) => {
  seen.handshakes++
  subscribers.add(socket)
  socket.on('close', () => subscribers.delete(socket))
  socket.on('message', (data, isBinary) => {
    seen.messages++
    for (const subscriber of subscribers) subscriber.send(data, { binary: isBinary })
  })
})

await serveFastify(app)
