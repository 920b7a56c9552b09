/** Frames of RFC 6455 section 5.2, also the ones that no client should send. */
import { randomBytes } from 'node:crypto'

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const

export interface FrameOptions {
  /** Default true. */
  readonly fin?: boolean
  /** The three reserved bits as a number, 4 is RSV1. Default 0. */
  readonly rsv?: number
  /** Default 1, text. */
  readonly opcode?: number
  /** Default true, with a random mask; `false` sends unmasked, which a server must refuse. */
  readonly masked?: boolean
  readonly mask?: Buffer
  readonly payload?: string | Buffer
  /** The length that the header claims. Default: the payload's. */
  readonly declaredLength?: number | bigint
  /** Bits of the length field. Default: the fewest that hold it. */
  readonly lengthBits?: 7 | 16 | 64
}

export interface Frame {
  readonly fin: boolean
  readonly rsv: number
  readonly opcode: number
  readonly masked: boolean
  readonly payload: Buffer
}

export function frame(options: FrameOptions = {}): Buffer {
  const payload = Buffer.from(options.payload ?? '')
  const masked = options.masked ?? true
  const first = ((options.fin ?? true) ? 0x80 : 0) | ((options.rsv ?? 0) << 4) | (options.opcode ?? opcodes.text)
  const length = lengthField(BigInt(options.declaredLength ?? payload.length), options.lengthBits)
  length.writeUInt8((length[0] as number) | (masked ? 0x80 : 0))
  if (!masked) return Buffer.concat([Buffer.from([first]), length, payload])
  const mask = options.mask ?? randomBytes(4)
  return Buffer.concat([Buffer.from([first]), length, mask, applyMask(payload, mask)])
}

export function textFrame(payload: string): Buffer {
  return frame({ payload })
}

/** One text frame that holds a JSON value. */
export function jsonFrame(value: unknown): Buffer {
  return frame({ payload: JSON.stringify(value) })
}

export function closeFrame(code?: number, reason = ''): Buffer {
  if (code === undefined) return frame({ opcode: opcodes.close })
  const head = Buffer.alloc(2)
  head.writeUInt16BE(code)
  return frame({ opcode: opcodes.close, payload: Buffer.concat([head, Buffer.from(reason)]) })
}

/** The code (1005 when there is none) and reason of a close frame. */
export function closeOf({ payload }: Frame): { code: number; reason: string } {
  if (payload.length < 2) return { code: 1005, reason: '' }
  return { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() }
}

/** The first frame in `bytes` and how many bytes it takes; undefined while it is incomplete. */
export function parseFrame(bytes: Buffer): { frame: Frame; size: number } | undefined {
  if (bytes.length < 2) return undefined
  const first = bytes.readUInt8(0)
  const second = bytes.readUInt8(1)
  const short = second & 0x7f
  const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0
  const masked = (second & 0x80) !== 0
  const headSize = 2 + lengthBytes + (masked ? 4 : 0)
  if (bytes.length < headSize) return undefined
  const length =
    lengthBytes === 0 ? short : lengthBytes === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
  const size = headSize + length
  if (bytes.length < size) return undefined
  const content = bytes.subarray(headSize, size)
  return {
    size,
    frame: {
      fin: (first & 0x80) !== 0,
      rsv: (first >> 4) & 0x7,
      opcode: first & 0xf,
      masked,
      payload: masked ? applyMask(content, bytes.subarray(headSize - 4, headSize)) : Buffer.from(content)
    }
  }
}

/** Hands on each whole frame. @returns the bytes of the one that is not whole yet */
export function takeFrames(bytes: Buffer, hear: (frame: Frame) => void): Buffer {
  let rest = bytes
  for (let parsed = parseFrame(rest); parsed !== undefined; parsed = parseFrame(rest)) {
    hear(parsed.frame)
    rest = rest.subarray(parsed.size)
  }
  return rest
}

function lengthField(length: bigint, bits: 7 | 16 | 64 = length < 126n ? 7 : length < 65_536n ? 16 : 64): Buffer {
  if (bits === 7) return Buffer.from([Number(length)])
  if (bits === 16) {
    const field = Buffer.from([126, 0, 0])
    field.writeUInt16BE(Number(length), 1)
    return field
  }
  const field = Buffer.alloc(9, 127)
  field.writeBigUInt64BE(length, 1)
  return field
}

function applyMask(payload: Buffer, mask: Buffer): Buffer {
  return Buffer.from(payload.map((byte, index) => byte ^ (mask[index % 4] as number)))
}
