import type { Duplex } from 'node:stream'

/**
 * What is in flight while a close frame is on its way is less than this. Reading a flood for longer would take the time
 * of the others: some 200 MB a second (threat R7).
 */
export const maxDiscardedBytes = 262_144

/**
 * Reads what the peer still sends without looking at it, so that our close frame is not lost to a TCP reset; after
 * `maxDiscardedBytes` the rest stays unread. The connection ends within its deadline either way.
 */
export function discardUnread(rawSocket: Duplex): void {
  let left = maxDiscardedBytes
  rawSocket.removeAllListeners('data')
  rawSocket.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left <= 0) rawSocket.pause()
  })
  rawSocket.resume()
}
