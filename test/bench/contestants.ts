/** Who takes part, and what has to be sent to each. */
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { ServerFile } from './server-process.ts'

export interface Contestant extends ServerFile {
  readonly name: string
  readonly paths: { readonly echo: string; readonly fan: string }
  /** The text frame that carries the JSON of a message, and comes back as it went out. */
  readonly wrap: (json: string) => string
  readonly prelude?: { readonly text: string; readonly replies: number } | undefined
  /** For the reader of the table. */
  readonly does: string
  readonly doesNot: string
  /** Whether the limits, and the pings, that a load sets by the environment are its own. */
  readonly isOurs: boolean
  /** Another build of this package: takes part wherever this one does. */
  readonly isBuild?: boolean
}

interface Peer {
  readonly name: string
  readonly file: string
  readonly runtime: 'node' | 'bun'
  readonly paths: { readonly echo: string; readonly fan: string }
  readonly wrap: (json: string) => string
  readonly prelude: { readonly text: string; readonly replies: number } | undefined
  readonly does: string
  readonly doesNot: string
}

/** The base of every ratio. */
export const base = 'c'
export const guarded = 'guarded'
/** What another build of this package is called, in the same run, unless it is given a name: `--guard-dist`. */
export const before = 'before'
export const straightforward = 'straightforward'
export const byHand = 'by-hand'

const plain = { paths: { echo: '/echo', fan: '/fan' }, wrap: (json: string) => json, isOurs: true }

const own: readonly Contestant[] = [
  { ...plain, name: base, file: 'c.mjs', does: '@fastify/websocket, the bytes back', doesNot: 'checks nothing' },
  { ...plain, name: 'ws', file: 'ws.mjs', does: 'ws by itself, the bytes back', doesNot: 'checks nothing' },
  {
    ...plain,
    name: guarded,
    file: 'guarded.mjs',
    does: 'this package: a contract route, every protection at its default',
    doesNot: 'only the limits that the load itself would run into are raised'
  },
  {
    ...plain,
    name: straightforward,
    file: 'straightforward.mjs',
    does: 'the same checks written by hand with care: @fastify/jwt, TypeBox, secure-json-parse, a token bucket',
    doesNot: 'no queue, no strikes, no deadlines, no slots, no revocation'
  },
  {
    ...plain,
    name: byHand,
    file: 'by-hand.mjs',
    does: 'the way of the guides: jsonwebtoken, zod, an array of timestamps',
    doesNot: 'no bound of what waits for a slow reader'
  }
]

export interface Field {
  readonly contestants: readonly Contestant[]
  /** Who is left out, and why. */
  readonly notes: readonly string[]
}

export interface FieldOptions {
  readonly peers: boolean
  /** Other builds of this package. */
  readonly builds?: readonly Build[] | undefined
}

export interface Build {
  readonly name: string
  /** A folder whose `index.js` is taken instead of `dist/index.js`. */
  readonly dist: string
}

/** @param text `name=folder`, or the folder alone */
export function readBuild(text: string): Build {
  const at = text.indexOf('=')
  return { name: at === -1 ? before : text.slice(0, at), dist: text.slice(at + 1) }
}

export async function fieldOf({ peers, builds = [] }: FieldOptions): Promise<Field> {
  const others = peers ? await readPeers() : { contestants: [], notes: [] }
  const ours = own.flatMap((contestant) =>
    contestant.name === guarded ? [contestant, ...builds.map((build) => asBuild(contestant, build))] : contestant
  )
  return { contestants: [...ours, ...others.contestants], notes: others.notes }
}

function asBuild(contestant: Contestant, { name, dist }: Build): Contestant {
  const module = pathToFileURL(join(resolve(dist), 'index.js')).href
  return { ...contestant, name, isBuild: true, does: 'another build of this package', env: { BENCH_GUARD: module } }
}

/** A table of JavaScript, because the servers that are described there are, too. */
async function readPeers(): Promise<Field> {
  const url = new URL('servers/peers.mjs', import.meta.url).href
  const { peers, bun } = (await import(url)) as { peers: readonly Peer[]; bun: string | undefined }
  const canRun = ({ runtime }: Peer): boolean => runtime === 'node' || bun !== undefined
  return {
    contestants: peers.filter(canRun).map((peer) => ({
      ...peer,
      isOurs: false,
      ...(peer.runtime === 'bun' && bun !== undefined && { executable: bun })
    })),
    notes: peers.filter((peer) => !canRun(peer)).map(({ name }) => `${name} did not run: Bun is not installed`)
  }
}
