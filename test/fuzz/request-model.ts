/** What must be in the bytes of a handshake for a 101, read by nobody's parser but these lines. */
import { acceptOf } from '../support/http-message.ts'

export interface Told {
  readonly path: string
  readonly key: string
  /** Undefined when there is none. */
  readonly origin: string | undefined
  readonly token: string | undefined
}

/**
 * The request when it is one that a server may answer with 101 (RFC 6455 section 4.2.1; threats T3, H2, H4 to H6), every
 * header once. Undefined when it is anything else. More than one space in the request line is allowed (RFC 9112 section 3:
 * a recipient may go by words), and node's parser allows it.
 */
export function readRequest(bytes: Buffer): Told | undefined {
  const end = bytes.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  // Section 2.2 of RFC 9112: an empty line or two before the request line are passed over.
  const [requestLine = '', ...lines] = bytes
    .toString('latin1', 0, end)
    .replace(/^(?:\r?\n)+/, '')
    .split('\r\n')
  const [, path] = /^GET +(\/[\x21-\x7e\x80-\xff]*) +HTTP\/1\.1$/.exec(requestLine) ?? []
  if (path === undefined) return undefined
  const headers = new Map<string, string>()
  for (const line of lines) {
    const [, name = '', value = ''] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/s.exec(line) ?? []
    const key = name.toLowerCase()
    if (name === '' || (headers.has(key) && single.has(key))) return undefined
    headers.set(key, headers.has(key) ? `${headers.get(key)}, ${value}` : value)
  }
  const has = (name: string, word: string): boolean =>
    (headers.get(name) ?? '').split(',').some((each) => each.trim().toLowerCase() === word)
  const key = headers.get('sec-websocket-key') ?? ''
  const isUpgrade =
    headers.get('upgrade')?.toLowerCase() === 'websocket' &&
    has('connection', 'upgrade') &&
    headers.get('sec-websocket-version') === '13' &&
    /^[+/0-9A-Za-z]{22}==$/.test(key) &&
    headers.get('host') !== undefined &&
    !headers.has('transfer-encoding') &&
    Number(headers.get('content-length') ?? 0) === 0
  if (!isUpgrade) return undefined
  const [, token] = /^bearer +(\S+)$/i.exec(headers.get('authorization') ?? '') ?? []
  return { path, key, origin: headers.get('origin'), token }
}

const single = new Set(['host', 'origin', 'authorization', 'sec-websocket-key', 'sec-websocket-version', 'upgrade'])

/** Sec-WebSocket-Accept for a request. */
export function acceptFor({ key }: Told): string {
  return acceptOf(key)
}
