import type { Duplex } from 'node:stream'

/** Reads what the peer still sends without looking at it, so that our close frame is not lost to a TCP reset. */
export function discardUnread(rawSocket: Duplex): void {
  rawSocket.removeAllListeners('data')
  rawSocket.on('data', () => {})
  rawSocket.resume()
}
