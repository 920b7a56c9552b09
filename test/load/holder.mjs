/**
 * A process of its own that holds many WebSocket connections, as cheaply as it can: it opens them a few at a time, says
 * which of them the server closes, and asks those it is told to for a reply.
 */
import { connect } from 'node:net'

const concurrency = 50
const sockets = []

function maskedText(text) {
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)])
}

const question = maskedText('{"type":"ask","count":0,"ref":1}')

/** Frames of the server's are short here: a head of two bytes. */
function onFrames(index, state, chunk) {
  state.rest = state.rest.length === 0 ? chunk : Buffer.concat([state.rest, chunk])
  while (state.rest.length >= 2 && state.rest.length >= 2 + state.rest[1]) {
    const payload = state.rest.subarray(2, 2 + state.rest[1])
    const opcode = state.rest[0] & 0xf
    if (opcode === 8) {
      process.send({ closed: index, code: payload.readUInt16BE(0), reason: payload.toString('utf8', 2) })
      // Answered, and left.
      state.socket.end(Buffer.concat([Buffer.from([0x88, 0x82, 0, 0, 0, 0]), payload.subarray(0, 2)]))
    } else if (opcode === 1 && payload.includes('"reply"')) {
      process.send({ replied: index })
    }
    state.rest = state.rest.subarray(2 + payload.length)
  }
}

function open({ port, path, origin }, index, token) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    const state = { socket, rest: Buffer.alloc(0) }
    sockets[index] = state
    socket.on('error', reject)
    socket.once('data', (head) => {
      const end = head.indexOf('\r\n\r\n') + 4
      if (!head.subarray(0, 12).equals(Buffer.from('HTTP/1.1 101')) || end < 4) {
        reject(new Error(`${index}: ${head.toString('latin1', 0, 100)}`))
        return
      }
      socket.on('data', (chunk) => onFrames(index, state, chunk))
      if (head.length > end) onFrames(index, state, head.subarray(end))
      resolve()
    })
    const lines = [
      `GET ${path} HTTP/1.1`,
      'Host: localhost',
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Version: 13',
      `Origin: ${origin}`,
      `Authorization: Bearer ${token}`
    ]
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  })
}

async function openAll(target, tokens) {
  const from = sockets.length
  sockets.length += tokens.length
  let next = 0
  const worker = async () => {
    while (next < tokens.length) {
      const at = next++
      await open(target, from + at, tokens[at])
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  process.send({ opened: sockets.length })
}

process.on('message', ({ target, tokens, ask }) => {
  if (tokens !== undefined) openAll(target, tokens).catch((error) => process.send({ failed: String(error) }))
  else for (const index of ask) sockets[index].socket.write(question)
})
// The test is over, or gone.
process.on('disconnect', () => process.exit(0))
