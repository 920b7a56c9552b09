/** Socket.IO, WebSocket transport only, as its documentation has it: the token in `allowRequest`, a room to fan out. */
import { createServer } from 'node:http'
import { Server } from 'socket.io'
import { checkChat, userOf } from './peer-work.mjs'
import { answerAsks, seen } from './serve.mjs'

const http = createServer()
const io = new Server(http, {
  transports: ['websocket'],
  serveClient: false,
  allowRequest: (request, callback) => {
    seen.handshakes++
    request.user = userOf(request.headers)
    callback(null, request.user !== undefined)
  }
})

io.on('connection', (socket) => {
  const isFan = socket.handshake.query.room === 'fan'
  if (isFan) socket.join('fan')
  socket.on('chat', (value) => {
    seen.messages++
    let chat
    try {
      chat = checkChat(value)
    } catch {
      return socket.disconnect(true)
    }
    if (isFan) io.to('fan').emit('chat', chat)
    else socket.emit('chat', chat)
  })
})

http.listen(0, '127.0.0.1', () => answerAsks(http.address().port))
