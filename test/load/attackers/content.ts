/** Attacks by what is in a message or a frame: each socket sends one, and comes back when it was ended for it. */
import { deflateRawSync } from 'node:zlib'
import { closeFrame, frame, jsonFrame, opcodes } from '../../support/frames.ts'
import type { Attack } from './attack.ts'
import type { Peer } from './peer.ts'

const mask = Buffer.alloc(4)
const filler = Buffer.alloc(65_536, 'x')

/** Each connection sends the next of the list. */
function rotate(list: readonly (Buffer | ((peer: Peer, attack: Attack) => void))[], more: readonly string[] = []) {
  return (attack: Attack): void => {
    let next = 0
    attack.keepOpening((peer) => {
      const act = list[next++ % list.length] as Buffer | ((peer: Peer, attack: Attack) => void)
      if (typeof act === 'function') act(peer, attack)
      else peer.socket.write(act)
    }, more)
  }
}

/** Declares a size that overflows 32 bits, and goes on sending. */
function declareHuge(peer: Peer, attack: Attack): void {
  peer.socket.write(frame({ declaredLength: 2n ** 31n + 7n, mask }))
  peer.pump(filler, attack.isOver)
}

/** Goes on sending fragments that are small enough each. */
function fragmentHuge(peer: Peer, attack: Attack): void {
  peer.socket.write(frame({ fin: false, payload: 'x', mask }))
  peer.pump(
    frame({ fin: false, opcode: opcodes.continuation, payload: filler.subarray(0, 16_000), mask }),
    attack.isOver
  )
}

const keys = Object.fromEntries(Array.from({ length: 5_000 }, (_, at) => [`k${at}`, 0]))
const bomb = deflateRawSync(Buffer.alloc(50_000_000)).subarray(0, -4)
const deflateOffer = 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits'

export const contents = {
  oversize: rotate([declareHuge, fragmentHuge, frame({ payload: Buffer.alloc(1_500_000, 'x'), mask })]),
  compression: rotate(
    [4, 2, 1].map((rsv) => frame({ rsv, payload: bomb, mask })),
    [deflateOffer]
  ),
  'deep JSON': rotate([frame({ payload: '['.repeat(60_000), mask })]),
  'many keys': rotate([jsonFrame({ type: 'say', text: 'x', ...keys })]),
  'malformed frames': rotate([
    frame({ masked: false, payload: '{}' }),
    frame({ opcode: 3, mask }),
    frame({ payload: Buffer.from([0xc3, 0x28]), mask }),
    closeFrame(1005),
    frame({ opcode: opcodes.ping, payload: Buffer.alloc(126), mask }),
    frame({ opcode: opcodes.continuation, payload: 'x', mask }),
    frame({ opcode: opcodes.binary, payload: 'x', mask })
  ])
}
