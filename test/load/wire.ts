/** A websocket client of few lines, for processes that measure: they must not be what is slow. */
import { connect, type Socket } from 'node:net'
import { type Frame, takeFrames } from '../support/frames.ts'

/** Shakes hands. @returns the socket; each frame from then on is handed to `hear` */
export function openWire(port: number, request: Buffer, hear: (frame: Frame, socket: Socket) => void): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    let rest: Buffer = Buffer.alloc(0)
    const onData = (chunk: Buffer): void => {
      rest = takeFrames(rest.length === 0 ? chunk : Buffer.concat([rest, chunk]), (frame) => hear(frame, socket))
    }
    socket.on('error', reject)
    socket.once('close', () => reject(new Error('closed without an answer')))
    socket.once('data', (head: Buffer) => {
      const answer = head.toString('latin1')
      const end = answer.indexOf('\r\n\r\n') + 4
      if (!answer.startsWith('HTTP/1.1 101') || end < 4) return reject(new Error(answer.slice(0, 200)))
      resolve(socket)
      socket.on('data', onData)
      if (head.length > end) onData(head.subarray(end))
    })
    socket.write(request)
  })
}
