/** Attacks that send little and hold on to what they have. */
import { frame, jsonFrame, opcodes } from '../../support/frames.ts'
import type { Attack } from './attack.ts'
import { handshakeOf, type Peer } from './peer.ts'

const mask = Buffer.alloc(4)

/** 63 fragments, one fewer than the guard allows, of a message that never ends. */
const fragments = Buffer.concat(
  Array.from({ length: 63 }, (_, at) =>
    frame({
      fin: false,
      opcode: at === 0 ? opcodes.text : opcodes.continuation,
      payload: Buffer.alloc(1_000, 'x'),
      mask
    })
  )
)

function slowReader(request: Buffer, times: number): (attack: Attack) => void {
  const chunk = Buffer.concat(Array(times).fill(request))
  return (attack) =>
    attack.openAll((peer) => {
      peer.socket.pause()
      peer.pump(chunk, attack.isOver)
    })
}

/** One byte of `bytes` a second. */
function dribble(attack: Attack, peer: Peer, bytes: Buffer): void {
  let at = 0
  const timer = setInterval(() => {
    if (peer.socket.destroyed || attack.isOver()) clearInterval(timer)
    else peer.socket.write(bytes.subarray(at, ++at))
  }, 1_000)
}

function slowHandshakes(attack: Attack): void {
  for (let left = attack.settings.sockets; left > 0; left--) {
    const peer = attack.dial()
    const request = handshakeOf(attack.settings, attack.token())
    peer.socket.write(request.subarray(0, 1))
    dribble(attack, peer, request.subarray(1))
  }
}

/** A third says nothing after its handshake, a third has said it is done, a third has never said anything. */
function halfOpen(attack: Attack): void {
  let opened = 0
  attack.openAll((peer) => {
    if (++opened % 2 === 0) peer.leave('fin')
  })
  for (let left = attack.settings.sockets / 2; left > 0; left--) attack.dial()
}

/** Half are closed for what they sent, half because they asked for it; none answers or lets go of its socket. */
function neverAnswersClose(attack: Attack): void {
  let opened = 0
  attack.openAll((peer) => {
    peer.socket.write(++opened % 2 === 0 ? jsonFrame({ type: 'bye' }) : frame({ payload: '{bad' }))
  })
}

export const holders = {
  'unfinished messages': (attack: Attack): void => attack.openAll((peer) => void peer.socket.write(fragments)),
  'slow reader': slowReader(jsonFrame({ type: 'say', text: 'x'.repeat(4_900) }), 13),
  'slow reader of lists': slowReader(jsonFrame({ type: 'list' }), 40),
  'slow frame': (attack: Attack): void =>
    attack.openAll((peer) => {
      peer.socket.write(frame({ declaredLength: 60_000, mask }))
      dribble(attack, peer, Buffer.alloc(1_000, 'x'))
    }),
  'slow handshake': slowHandshakes,
  'half-open peers': halfOpen,
  'no answer to close': neverAnswersClose
}
