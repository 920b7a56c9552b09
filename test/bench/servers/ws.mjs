/** ws by itself, sending back the bytes, checking nothing. */
import { WebSocketServer } from 'ws'
import { answerAsks, seen } from './serve.mjs'

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
const subscribers = new Set()

server.on('connection', (socket, request) => {
  seen.handshakes++
  socket.on('error', () => socket.terminate())
  if (request.url === '/fan') return fan(socket)
  socket.on('message', (data, isBinary) => {
    seen.messages++
    socket.send(data, { binary: isBinary })
  })
})

function fan(socket) {
  subscribers.add(socket)
  socket.on('close', () => subscribers.delete(socket))
  socket.on('message', (data, isBinary) => {
    seen.messages++
    for (const subscriber of subscribers) subscriber.send(data, { binary: isBinary })
  })
}

server.on('listening', () => answerAsks(server.address().port))
