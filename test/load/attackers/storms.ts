/** Attacks on the handshake, and on what a connection leaves behind. */
import { frame, jsonFrame } from '../../support/frames.ts'
import type { Attack } from './attack.ts'
import { handshakeOf } from './peer.ts'

const mask = Buffer.alloc(4)

/** As many at a time as there are sockets; the next as soon as one is gone. */
function storm(one: (attack: Attack, gone: () => void, count: number) => void): (attack: Attack) => void {
  return (attack) => {
    let count = 0
    const next = (): void => {
      if (!attack.isOver()) one(attack, () => setImmediate(next), count++)
    }
    for (let at = 0; at < attack.settings.sockets; at++) next()
  }
}

function dialFor(attack: Attack, gone: () => void) {
  const peer = attack.dial()
  const forget = peer.onGone
  peer.onGone = () => {
    forget()
    gone()
  }
  return peer
}

function connects(hasToken: boolean): (attack: Attack) => void {
  return storm((attack, gone) => {
    const peer = dialFor(attack, gone)
    peer.onAnswer = () => peer.leave()
    peer.socket.write(handshakeOf(attack.settings, hasToken ? attack.token() : undefined))
  })
}

/** A RST after each step of a connection's life, one after the other. */
const resets = storm((attack, gone, count) => {
  const peer = dialFor(attack, gone)
  const request = handshakeOf(attack.settings, attack.token())
  const stage = count % 6
  if (stage === 0) peer.socket.once('connect', () => peer.leave())
  else if (stage === 1) peer.socket.write(request.subarray(0, 60), () => peer.leave())
  else if (stage === 2) peer.socket.write(request, () => peer.leave())
  else {
    peer.socket.write(request)
    peer.onAnswer = () => {
      const bytes = [Buffer.alloc(0), frame({ declaredLength: 5_000, mask }), jsonFrame({ type: 'bye' })][stage - 3]
      peer.socket.write(bytes as Buffer, () => peer.leave())
    }
  }
})

export const storms = {
  'connect storm': connects(true),
  'connect storm without a token': connects(false),
  'RST at every stage': resets
}
