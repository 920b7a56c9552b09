/** Messages that come back as they went out: small and large, one at a time and many. */
import type { Load } from '../load.ts'
import { type RateLoad, rateLoad } from '../rate.ts'

const echo = { mode: 'echo', unit: 'messages', warmUpSeconds: 2 } as const
const closed = { conns: 100, window: 1 }
const pipelined = { conns: 50, window: 32 }
const small = 120
const large = 2_048

function about({ conns, window }: Pick<RateLoad, 'conns' | 'window'>): string {
  return window === 1
    ? `${conns} connections; each sends its next message when the last one is back.`
    : `${conns} connections, each with ${window} messages under way.`
}

function load(name: string, title: string, shape: { conns: number; window: number }, bytes: number): Load {
  return rateLoad({ ...echo, ...shape, name, title, bytes, about: about(shape) })
}

export const echoLoads: readonly Load[] = [
  load('echo-120-closed', '120 B, one at a time', closed, small),
  load('echo-120-pipelined', '120 B, pipelined', pipelined, small),
  load('echo-2k-closed', '2 KiB, one at a time', closed, large),
  load('echo-2k-pipelined', '2 KiB, pipelined', pipelined, large)
]
