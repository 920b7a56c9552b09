/** By what an attack is judged: what its attacker has to get, and what it may cost the guarded server. */
import { optionTable } from '../../lib/route/option-table.ts'
import type { AttackReport } from './attackers/peer.ts'
import type { AttackPlan } from './bench.ts'

/** What an attacker has to get from the guarded server. */
export interface Expectation {
  /** Of handshakes; no others. */
  readonly statuses: readonly number[]
  /** Close codes, each at least once and no others. */
  readonly closes?: readonly number[]
  /** A code that may come or not: it depends on how the network cuts what is sent. */
  readonly mayClose?: number
  /** At least so many sockets are ended by the server while the attack lasts. */
  readonly ended?: number
  /** At most so many handshakes are looked at. */
  readonly attempts?: number
}

export interface BenchAttack extends AttackPlan {
  readonly threats: string
  /** What it does, for the title of its test. */
  readonly does: string
  /** The option that holds it. */
  readonly bound: string
  /** Bytes that a socket of the attacker's may make the guarded server keep, by the bounds, beside its objects. */
  readonly perSocket: number
  /** What the handlers themselves take of the event loop for one burst, in ms. Default 0. */
  readonly workMs?: number
  readonly expects: Expectation
}

function bytesOf(option: string): number {
  return optionTable.find(({ path }) => path === option)?.default as number
}

/** The objects of an open connection. */
const connectionBytes = 16_384
/** A read that was under way when reading was paused. */
export const readBytes: number = 65_536
/** What Node keeps beside a TCP chunk of one byte. */
const chunkOverheadBytes = 512
/** Compiled code, caches, and the good clients' own messages. */
const noiseBytes = 6_291_456

export const message: number = bytesOf('limits.maxPayloadBytes')
export const queue: number = bytesOf('limits.queue.bytes')
export const unread: number = bytesOf('limits.sendBuffer.hardBytes')
export const chunks: number = bytesOf('limits.fragments.bufferedChunks') * chunkOverheadBytes
export const attempts: number = bytesOf('limits.attempts.max')

/** By the named bounds, for all of its sockets together. */
export function allowanceOf({ sockets, perSocket }: BenchAttack): number {
  return sockets * (connectionBytes + perSocket) + noiseBytes
}

/** Back where it was, but for what was compiled meanwhile and the entries of a minute's attempts. */
export const leftoverBytes: number = 2_097_152

/** @returns what is not as it has to be */
export function judge({ expects }: BenchAttack, report: AttackReport): string[] {
  const { statuses, closes = [], mayClose, ended = 0, attempts: most = Number.POSITIVE_INFINITY } = expects
  // Who comes back too often is refused, whatever else it does.
  const expected = [...statuses, 429]
  const allowed = mayClose === undefined ? closes : [...closes, mayClose]
  const seen = Object.entries(report.statuses)
  const lookedAt = seen.reduce((sum, [status, count]) => (status === '429' ? sum : sum + count), 0)
  return [
    ...seen.filter(([status]) => !expected.includes(Number(status))).map(([status]) => `a status ${status}`),
    ...(statuses.length > 0 && lookedAt === 0 ? ['no handshake came through'] : []),
    ...Object.keys(report.closes)
      .filter((code) => !allowed.includes(Number(code)))
      .map((code) => `a close code ${code}`),
    ...closes.filter((code) => report.closes[code] === undefined).map((code) => `no close code ${code}`),
    ...(report.ended < ended ? [`${report.ended} sockets ended instead of ${ended}`] : []),
    ...(lookedAt > most ? [`${lookedAt} handshakes looked at`] : []),
    ...(report.extensions > 0 ? ['an extension taken up'] : [])
  ]
}
