import type { Duplex } from 'node:stream'
import type { GuardedSocket } from '../connection/guarded-socket.ts'

/**
 * What a socket holds from its upgrade to its end. It is found on the socket, so that all sockets share their listeners:
 * closures for each would be what most of an idle connection is made of.
 */
export interface Held {
  /** Ends the handshake whatever happens to it; cleared by the 101 (threat H8). */
  deadline: NodeJS.Timeout | undefined
  /** Slots on this node: the sum of `slots`. */
  counted: number
  /**
   * What slots in the store are taken for, from then on. The keys are made of them twice, when they are taken and when
   * they are released: kept, they would be strings of this connection's own.
   */
  ip: string | undefined
  user: string | undefined
  /** What the socket has become. */
  accepted: GuardedSocket | undefined
}

/** Of what there is a number on this node. */
export const slots = { total: 1, unauthenticated: 2, refused: 4 } as const

const kHeld: unique symbol = Symbol('fastify-ws-guard.held')

type Holding = Duplex & { [kHeld]?: Held }

/** For a socket that asks for an upgrade: nothing yet but its deadline. */
export function holdBy(socket: Duplex, deadline: NodeJS.Timeout): Held {
  const held: Held = { deadline, counted: 0, ip: undefined, user: undefined, accepted: undefined }
  ;(socket as Holding)[kHeld] = held
  return held
}

export function heldBy(socket: Duplex): Held | undefined {
  return (socket as Holding)[kHeld]
}
