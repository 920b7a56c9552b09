/**
 * A reading of RFC 6455 sections 5.2 to 5.5, 7.4 and 8.1: what bytes of a client mean, and with which codes an endpoint
 * may fail them. It shares no code with the server.
 *
 * Deliberately looser than the text in one place: section 5.2 asks for the shortest encoding of a length, ws takes any.
 * A longer one says nothing else, and the bounds hold for what it says.
 */

export interface FrameBounds {
  readonly maxPayloadBytes: number
  readonly maxFragments: number
}

export type Read =
  | { readonly kind: 'message'; readonly isBinary: boolean; readonly data: Buffer }
  | { readonly kind: 'ping'; readonly data: Buffer }
  | { readonly kind: 'pong'; readonly data: Buffer }
  /** 1005: no code. */
  | { readonly kind: 'close'; readonly code: number; readonly reason: string }
  | { readonly kind: 'error'; readonly codes: readonly number[] }
  /** Nothing more to read; so many bytes would complete the next step of a frame that has begun. */
  | { readonly kind: 'end'; readonly missing: number }

interface Header {
  readonly fin: boolean
  readonly opcode: number
  readonly masked: boolean
  readonly length: number
  readonly size: number
}

/** The frames in `bytes`, one after the other, up to the first that ends the reading. */
export function* readFrames(bytes: Buffer, bounds: FrameBounds): Generator<Read> {
  let at = 0
  let fragments: { readonly isBinary: boolean; readonly list: Buffer[]; bytes: number } | undefined
  for (;;) {
    if (at === bytes.length) return yield { kind: 'end', missing: 0 }
    const header = readHeader(bytes.subarray(at), fragments !== undefined)
    if ('kind' in header) return yield header
    const { fin, opcode, length, size } = header
    const isControl = opcode >= 8
    // The sum of all fragments is bounded, and known before the payload is there.
    if (!isControl && length > 0 && (fragments?.bytes ?? 0) + length > bounds.maxPayloadBytes) {
      return yield { kind: 'error', codes: [1009] }
    }
    const missing = at + size + length - bytes.length
    if (missing > 0) return yield { kind: 'end', missing }
    const mask = bytes.subarray(at + size - 4, at + size)
    const payload = Buffer.from(
      bytes.subarray(at + size, at + size + length).map((byte, i) => byte ^ Number(mask[i % 4]))
    )
    at += size + length
    if (isControl) {
      const read = readControl(opcode, payload)
      yield read
      if (read.kind !== 'ping' && read.kind !== 'pong') return
      continue
    }
    fragments ??= { isBinary: opcode === 2, list: [], bytes: 0 }
    fragments.list.push(payload)
    fragments.bytes += length
    if (fragments.list.length > bounds.maxFragments) return yield { kind: 'error', codes: [1008] }
    if (!fin) continue
    const { isBinary, list } = fragments
    const data = Buffer.concat(list)
    fragments = undefined
    if (!isBinary && !isUtf8(data)) return yield { kind: 'error', codes: [1007] }
    yield { kind: 'message', isBinary, data }
  }
}

function readHeader(bytes: Buffer, isFragmented: boolean): Header | Extract<Read, { kind: 'error' | 'end' }> {
  if (bytes.length < 2) return { kind: 'end', missing: 2 - bytes.length }
  const [first, second] = bytes as unknown as [number, number]
  const fin = first >= 0x80
  const opcode = first % 16
  const masked = second >= 0x80
  const short = second % 128
  const isControl = opcode >= 8
  const isBroken =
    (first & 0b0111_0000) !== 0 ||
    !masked ||
    [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].includes(opcode) ||
    (isControl && (!fin || short > 125)) ||
    (opcode === 8 && short === 1) ||
    (opcode === 0 && !isFragmented) ||
    ((opcode === 1 || opcode === 2) && isFragmented)
  if (isBroken) return { kind: 'error', codes: [1002] }
  const extended = short === 127 ? 8 : short === 126 ? 2 : 0
  if (bytes.length < 2 + extended) return { kind: 'end', missing: 2 + extended - bytes.length }
  const length = extended === 0 ? BigInt(short) : BigInt(`0x${bytes.toString('hex', 2, 2 + extended)}`)
  // Section 5.2: the highest bit is 0. Beyond what can be counted it is too big in any case.
  if (length > BigInt(Number.MAX_SAFE_INTEGER)) return { kind: 'error', codes: [1002, 1009] }
  return { fin, opcode, masked, length: Number(length), size: 2 + extended + 4 }
}

function readControl(opcode: number, data: Buffer): Read {
  if (opcode !== 8) return { kind: opcode === 9 ? 'ping' : 'pong', data }
  if (data.length === 0) return { kind: 'close', code: 1005, reason: '' }
  const code = data.readUInt16BE(0)
  const reason = data.subarray(2)
  const faults = [...(isCodeOnTheWire(code) ? [] : [1002]), ...(isUtf8(reason) ? [] : [1007, 1002])]
  return faults.length > 0 ? { kind: 'error', codes: faults } : { kind: 'close', code, reason: reason.toString() }
}

/** Section 7.4, and the IANA registry for 1012 to 1014. */
export function isCodeOnTheWire(code: number): boolean {
  if (code >= 3000) return code <= 4999
  return code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)
}

export function isUtf8(bytes: Buffer): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return true
  } catch {
    return false
  }
}
