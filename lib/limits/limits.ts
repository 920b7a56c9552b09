import type { Rate } from './token-bucket.ts'

/** What the guard does with messages that arrive although the bucket is empty. */
export type OnExceeded = 'error' | 'delay' | 'close'

/** The resolved limits of a route. Every bound a peer can push has its name here; defaults in `route/options.ts`. */
export interface Limits {
  readonly maxPayloadBytes: number
  readonly messages: Rate & { readonly onExceeded: OnExceeded }
  readonly userMessages: Rate | false
  readonly bytes: Rate
  readonly fragments: { readonly perMessage: number; readonly bufferedChunks: number }
  readonly controlFrames: Rate & { readonly pendingPongs: number }
  readonly json: { readonly depth: number; readonly keys: number }
  readonly strikes: { readonly max: number; readonly windowMs: number }
  readonly queue: { readonly messages: number; readonly bytes: number }
  readonly sendBuffer: { readonly softBytes: number; readonly hardBytes: number }
  readonly topics: number
  readonly connections: { readonly perIp: number; readonly perUser: number; readonly unauthenticated: number }
}
