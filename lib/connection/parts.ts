import type { Identity } from '../limits/store.ts'
import type { IncomingMessage } from '../messages/compile-contract.ts'
import type { Handler } from './types.ts'

/** A message that waits for its turn. */
export interface Job {
  readonly declared: IncomingMessage
  readonly handler: Handler
  readonly message: Record<string, unknown>
  readonly ref: string | number | undefined
  readonly bytes: number
}

/** A frame as it came. Text is always a Buffer; `socket.binaryType` decides what a binary one is. */
export interface Frame {
  readonly data: Buffer
  readonly bytes: number
  readonly isBinary: boolean
}

/** To keep one: a frame is a view that would pin the 64 KiB chunk it came in. */
export function copyOf(frame: Frame): Frame {
  return Buffer.isBuffer(frame.data) ? { ...frame, data: Buffer.from(frame.data) } : frame
}

/** From the first frame dropped or delayed until the bucket is full again. */
export interface Spell {
  dropped: number
  readonly refs: (string | number)[]
  readonly delayed: Frame[]
  delayedBytes: number
  timer: NodeJS.Timeout | undefined
}

/** What came behind a frame for which the store is being asked. */
export interface Waiting {
  readonly frames: Frame[]
  bytes: number
  /** A store that has not answered by then, on the clock that never jumps, is down. */
  readonly deadline: number
}

/** What the handshake hands over. */
export interface Admitted {
  readonly user: unknown
  readonly identity: Identity | undefined
  readonly params: unknown
  readonly query: unknown
  readonly ip: string
  /** When the handshake began, on the clock that never jumps. */
  readonly askedAt: number
  readonly data: unknown
}
