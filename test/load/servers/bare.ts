/** The echo of the README of @fastify/websocket, and a handler that answers with more than it was sent. */
import websocket from '@fastify/websocket'
import Fastify, { type FastifyInstance } from 'fastify'
import { listed, path } from './messages.ts'
import { http, logger, serve } from './report.ts'

const app = Fastify({ logger, http }) as unknown as FastifyInstance
await app.register(websocket)
app.get(path, { websocket: true }, (socket) => {
  socket.on('message', (data: Buffer) => {
    if (data.includes('"type":"list"')) socket.send(JSON.stringify({ type: 'listed', text: listed }))
    else if (data.includes('"type":"bye"')) socket.close(1000, 'bye')
    else socket.send(data.toString())
  })
})
await serve(app, () => ({}))
