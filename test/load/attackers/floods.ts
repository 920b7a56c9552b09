/** Attacks that send as fast as they can. */
import { frame, jsonFrame, opcodes } from '../../support/frames.ts'
import type { Attack } from './attack.ts'
import type { Peer } from './peer.ts'

/** What a server reads at once. */
const chunkBytes = 65_536

/** As many copies as a server reads at once. */
function many(one: Buffer): Buffer {
  return Buffer.concat(Array(Math.floor(chunkBytes / one.length)).fill(one))
}

function flood(one: Buffer, times?: number): (attack: Attack) => void {
  const chunk = times === undefined ? many(one) : Buffer.concat(Array(times).fill(one))
  return (attack) => attack.keepOpening((peer) => peer.pump(chunk, attack.isOver))
}

const mask = Buffer.alloc(4)
const firstFragment = frame({ payload: 'x', fin: false, mask })
const nextFragment = frame({ payload: 'x', fin: false, opcode: opcodes.continuation, mask })

/** A frame that a server has to keep, each byte of it in a TCP segment of its own. */
function dribble(attack: Attack, peer: Peer): void {
  const size = 60_000
  peer.socket.write(frame({ payload: '', declaredLength: size, mask }))
  let sent = 0
  const turn = (): void => {
    if (peer.socket.destroyed || !peer.socket.writable || attack.isOver() || sent++ >= size) return
    peer.socket.write('x', () => setImmediate(turn))
  }
  turn()
}

export const floods = {
  'message flood': flood(jsonFrame({ type: 'say', text: 'x' })),
  'empty frames': flood(frame({ mask })),
  '1-byte frames': flood(frame({ payload: 'x', mask })),
  // Fewer in a write than ws itself tolerates, so that the flood goes on where nothing else counts them.
  'ping flood': flood(frame({ opcode: opcodes.ping, mask }), 50),
  'pong flood': flood(frame({ opcode: opcodes.pong, mask })),
  'endless fragments': (attack: Attack): void =>
    attack.keepOpening((peer) => {
      peer.socket.write(firstFragment)
      peer.pump(many(nextFragment), attack.isOver)
    }),
  'chunk flood': (attack: Attack): void => attack.keepOpening((peer) => dribble(attack, peer)),
  'invalid messages': flood(jsonFrame({ type: 'say', text: 7 }))
}
