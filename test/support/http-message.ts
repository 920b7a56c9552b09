/** Handshake requests and HTTP answers as bytes: also the requests that no HTTP client would send. */
import { createHash, randomBytes } from 'node:crypto'

export interface HandshakeOptions {
  /** The request target as it is sent. Default `/`. */
  readonly path?: string
  /** Default GET. */
  readonly method?: string
  /** Default `HTTP/1.1`. */
  readonly version?: string
  /**
   * Instead of, or beside, Host, Upgrade, Connection, Sec-WebSocket-Key and Sec-WebSocket-Version: a string replaces, an
   * array sends the header once per entry, `null` leaves it out. Names keep their case on the wire.
   */
  readonly headers?: Readonly<Record<string, string | readonly string[] | null>>
  /** Raw header lines, sent last, as they are. */
  readonly rawHeaders?: readonly string[]
  readonly body?: string | Buffer
}

export interface HttpAnswer {
  readonly statusCode: number
  readonly statusMessage: string
  /** Names in lower case; values of one name joined by `, `. */
  readonly headers: Readonly<Record<string, string>>
  readonly rawHeaders: ReadonlyArray<readonly [string, string]>
  readonly body: string
  json<T = unknown>(): T
}

export interface AnswerHead extends Omit<HttpAnswer, 'body' | 'json'> {
  /** Bytes that the head takes, with its empty line. */
  readonly size: number
}

const acceptGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** The Sec-WebSocket-Accept of a key (RFC 6455 section 4.2.2). */
export function acceptOf(key: string): string {
  return createHash('sha1')
    .update(key + acceptGuid)
    .digest('base64')
}

export function handshakeRequest(options: HandshakeOptions = {}): Buffer {
  const defaults: Record<string, string> = {
    Host: 'localhost',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
    'Sec-WebSocket-Version': '13'
  }
  const given = options.headers ?? {}
  const givenNames = new Set(Object.keys(given).map((name) => name.toLowerCase()))
  const lines = [`${options.method ?? 'GET'} ${options.path ?? '/'} ${options.version ?? 'HTTP/1.1'}`]
  for (const [name, value] of Object.entries(defaults)) {
    if (!givenNames.has(name.toLowerCase())) lines.push(`${name}: ${value}`)
  }
  for (const [name, value] of Object.entries(given)) {
    for (const one of value === null ? [] : [value].flat()) lines.push(`${name}: ${one}`)
  }
  lines.push(...(options.rawHeaders ?? []))
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), Buffer.from(options.body ?? '')])
}

/** Undefined while the head is incomplete. */
export function parseHead(bytes: Buffer): AnswerHead | undefined {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [statusLine = '', ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n')
  const status = /^HTTP\/1\.[01] (\d{3}) ?(.*)$/.exec(statusLine)
  if (status === null) throw new Error(`not an HTTP answer: ${statusLine.slice(0, 100)}`)
  const rawHeaders: Array<[string, string]> = []
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon)
    const value = line.slice(colon + 1).trim()
    const key = name.toLowerCase()
    rawHeaders.push([name, value])
    headers[key] = headers[key] === undefined ? value : `${headers[key]}, ${value}`
  }
  const [, code, statusMessage = ''] = status
  return { statusCode: Number(code), statusMessage, headers, rawHeaders, size: end + 4 }
}

/** The body behind a head, and the bytes it takes; undefined while it is incomplete. `ended`: nothing more comes. */
export function parseBody(
  { statusCode, headers }: AnswerHead,
  bytes: Buffer,
  ended: boolean
): { body: string; size: number } | undefined {
  if (statusCode === 101 || statusCode === 204 || statusCode === 304) return { body: '', size: 0 }
  if (headers['transfer-encoding'] !== undefined) return parseChunked(bytes)
  const length = headers['content-length']
  if (length === undefined) return ended ? { body: bytes.toString(), size: bytes.length } : undefined
  const size = Number(length)
  return bytes.length < size ? undefined : { body: bytes.subarray(0, size).toString(), size }
}

/** A size that is no number would never come to the last chunk, a negative one would come back to where it was. */
const chunkHead = /^([\da-f]+)[ \t]*(?:;|$)/i

function parseChunked(bytes: Buffer): { body: string; size: number } | undefined {
  const chunks: Buffer[] = []
  let at = 0
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd < 0) return undefined
    const [, digits] = chunkHead.exec(bytes.subarray(at, lineEnd).toString('latin1')) ?? []
    if (digits === undefined) throw new Error('malformed chunk')
    const size = Number.parseInt(digits, 16)
    const next = lineEnd + 2 + size + 2
    if (bytes.length < next) return undefined
    if (size === 0) return { body: Buffer.concat(chunks).toString(), size: next }
    chunks.push(bytes.subarray(lineEnd + 2, next - 2))
    at = next
  }
}
