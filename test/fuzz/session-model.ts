/** What the two routes of the frame campaign make of a stream: what is dispatched, what is answered, how it ends. */
import { type FrameBounds, readFrames } from './frame-model.ts'
import { isRef, type JsonBounds, tell } from './json-model.ts'

export interface SessionBounds extends FrameBounds, JsonBounds {
  /** Pings and pongs that are admitted; none come back while a case runs. */
  readonly controlBurst: number
  readonly maxPayloadBytes: number
  readonly maxFragments: number
  readonly strikes: number
}

export interface Session {
  /** What handlers get (a contract) or listeners see (a raw route), in order. */
  readonly dispatched: unknown[]
  /** Of each text the server sends, what matters: type, ref, code, text, data. */
  readonly answers: object[]
  readonly pongs: string[]
  /** Undefined while it stays open. 1005 stands for a close frame without a code. */
  readonly end: { readonly codes: readonly number[]; readonly by: 'client' | 'server' } | undefined
  /** Bytes that the last frame lacks; 0 when another may follow. */
  readonly missing: number
}

export type Checks = ReadonlyMap<string, (value: unknown) => boolean>

export function readSession(bytes: Buffer, kind: 'contract' | 'raw', checks: Checks, bounds: SessionBounds): Session {
  const session = { dispatched: [] as unknown[], answers: [] as object[], pongs: [] as string[] }
  const endWith = (codes: readonly number[], by: 'client' | 'server' = 'server'): Session => ({
    ...session,
    end: { codes, by },
    missing: 0
  })
  let controls = 0
  let strikes = 0
  for (const read of readFrames(bytes, bounds)) {
    if (read.kind === 'end') return { ...session, end: undefined, missing: read.missing }
    if (read.kind === 'error') return endWith(read.codes)
    if (read.kind === 'close') return endWith([read.code], 'client')
    if (read.kind === 'ping' || read.kind === 'pong') {
      if (read.kind === 'ping') session.pongs.push(read.data.toString('latin1'))
      if (++controls > bounds.controlBurst) return endWith([1008])
      continue
    }
    if (kind === 'raw') {
      session.dispatched.push({ isBinary: read.isBinary, data: read.data.toString('latin1') })
      continue
    }
    if (read.isBinary) return endWith([1003])
    const told = tell(read.data.toString(), checks, bounds)
    if (told.kind === 'invalid_json') return endWith([1007])
    if (told.kind !== 'message') {
      if (++strikes > bounds.strikes) return endWith([1008])
      session.answers.push({ type: 'error', code: told.kind, ...refOf(read.data.toString()) })
      continue
    }
    session.dispatched.push(told.value)
    session.answers.push(...answersTo(told.value))
  }
  throw new Error('a reading always ends')
}

function refOf(text: string): { ref?: string | number } {
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, 'ref')) return {}
  const { ref } = value as { ref: unknown }
  return isRef(ref) ? { ref } : {}
}

/** What the handlers of the campaign answer. */
function answersTo({ type, ref, text, count }: Record<string, unknown>): object[] {
  const said = type === 'say' ? [{ type: 'said', text }] : []
  if (ref === undefined) return said
  const data = type === 'ask' ? { items: Array.from({ length: Number(count) }, (_, at) => String(at)) } : null
  return [...said, { type: 'reply', ref, data }]
}
