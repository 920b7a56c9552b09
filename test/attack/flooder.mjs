/** A process of its own that floods a route with empty frames for a while, and says how much it sent. */
import { connect } from 'node:net'

const { port, path, headers, first, floodMs, sockets } = JSON.parse(process.argv[2])
const chunk = Buffer.concat(Array(10_900).fill(Buffer.from([0x81, 0x80, 0, 0, 0, 0])))
const endsAt = Date.now() + floodMs
let bytes = 0

function maskedText(text) {
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)])
}

function attack() {
  if (Date.now() >= endsAt) return
  const socket = connect(port, '127.0.0.1')
  const pump = () => {
    if (socket.destroyed || Date.now() >= endsAt) return
    bytes += chunk.length
    if (socket.write(chunk)) setImmediate(pump)
    else socket.once('drain', () => setImmediate(pump))
  }
  socket.on('error', () => {})
  socket.on('close', () => setTimeout(attack, 5))
  socket.once('data', () => {
    if (first !== undefined) socket.write(maskedText(first))
    setTimeout(pump, 20)
    socket.resume()
  })
  const lines = Object.entries({
    Host: 'localhost',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version': '13',
    ...headers
  }).map(([name, value]) => `${name}: ${value}`)
  socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
}

for (let at = 0; at < sockets; at++) attack()
setTimeout(() => {
  process.stdout.write(JSON.stringify({ megabytes: Math.round(bytes / 1e6) }), () => process.exit(0))
}, floodMs)
