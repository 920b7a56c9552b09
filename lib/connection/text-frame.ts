/**
 * An unmasked text frame (RFC 6455 section 5.2) as a string whose characters are its bytes, to be written as 'latin1'.
 * Frames that are strings are joined, and shared by the subscribers of a topic, without a copy.
 */
export function frameText(text: string): string {
  const length = Buffer.byteLength(text)
  return headerOf(length) + (length === text.length ? text : Buffer.from(text).toString('latin1'))
}

/** FIN and the opcode of text. */
const firstByte = 0x81
const maxLength7 = 125
const maxLength16 = 0xffff

const shortHeaders = Array.from({ length: maxLength7 + 1 }, (_, length) => String.fromCharCode(firstByte, length))

function headerOf(length: number): string {
  if (length <= maxLength7) return shortHeaders[length] as string
  if (length <= maxLength16) return String.fromCharCode(firstByte, 126, length >>> 8, length & 0xff)
  const bytes = Buffer.alloc(10)
  bytes[0] = firstByte
  bytes[1] = 127
  bytes.writeBigUInt64BE(BigInt(length), 2)
  return bytes.toString('latin1')
}
