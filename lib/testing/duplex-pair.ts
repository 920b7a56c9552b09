/**
 * Two ends of a connection that exists in memory only, each close enough to a `net.Socket` for Node's HTTP server,
 * its HTTP client and ws: what one end writes, the other reads, in order and never in the same turn of the event loop.
 */
import { isIPv6 } from 'node:net'
import { Duplex, type DuplexOptions } from 'node:stream'

export interface Endpoint {
  readonly address: string
  readonly port: number
}

export interface SocketPairOptions {
  readonly client: Endpoint
  readonly server: Endpoint
  /** Whether `socket.encrypted` is true, as on a TLSSocket. */
  readonly encrypted: boolean
}

export interface SocketPair {
  readonly client: PairedSocket
  readonly server: PairedSocket
}

type WriteCallback = (error?: Error | null) => void

function connectionError(code: 'ECONNRESET' | 'EPIPE', syscall: 'read' | 'write'): Error {
  return Object.assign(new Error(`${syscall} ${code}`), { code, syscall })
}

export class PairedSocket extends Duplex {
  readonly encrypted: boolean
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
  readonly remoteFamily: 'IPv4' | 'IPv6'
  readonly connecting = false
  readonly pending = false
  bytesRead = 0
  bytesWritten = 0
  #peer!: PairedSocket
  /** The peer's write, not yet called back because our reader has not made room for more. */
  #peerWrite: WriteCallback | undefined
  #finSent = false

  private constructor(local: Endpoint, remote: Endpoint, encrypted: boolean, options: DuplexOptions) {
    super(options)
    this.encrypted = encrypted
    this.localAddress = local.address
    this.localPort = local.port
    this.remoteAddress = remote.address
    this.remotePort = remote.port
    this.remoteFamily = isIPv6(remote.address) ? 'IPv6' : 'IPv4'
  }

  static pair({ client, server, encrypted }: SocketPairOptions): SocketPair {
    // As in Node: the HTTP server may still answer a client that has half-closed, net.connect() ends with its peer.
    const clientEnd = new PairedSocket(client, server, encrypted, { allowHalfOpen: false })
    const serverEnd = new PairedSocket(server, client, encrypted, { allowHalfOpen: true })
    clientEnd.#peer = serverEnd
    serverEnd.#peer = clientEnd
    return { client: clientEnd, server: serverEnd }
  }

  override _read(): void {
    const written = this.#peerWrite
    this.#peerWrite = undefined
    written?.()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: WriteCallback): void {
    this.bytesWritten += chunk.length
    setImmediate(() => this.#peer.#receive(chunk, callback))
  }

  override _writev(chunks: ReadonlyArray<{ chunk: Buffer }>, callback: WriteCallback): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'utf8', callback)
  }

  override _final(callback: WriteCallback): void {
    this.#sendFin()
    callback()
  }

  /** Like closing a TCP socket: what was written still arrives, then the end; who writes to us now is reset. */
  override _destroy(error: Error | null, callback: WriteCallback): void {
    this.#sendFin()
    this.#peerWrite?.(connectionError('ECONNRESET', 'write'))
    this.#peerWrite = undefined
    callback(error)
  }

  /** Like a TCP RST: the other end fails with ECONNRESET at once, also when it is not reading. */
  resetAndDestroy(): this {
    this.#finSent = true
    setImmediate(() => this.#peer.destroy(connectionError('ECONNRESET', 'read')))
    return this.destroy()
  }

  destroySoon(): void {
    this.end(() => this.destroy())
  }

  setTimeout(): this {
    return this
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  #receive(chunk: Buffer, written: WriteCallback): void {
    if (this.destroyed) {
      written(connectionError('EPIPE', 'write'))
      return
    }
    this.bytesRead += chunk.length
    // A full reader holds the callback back, so that the writer's buffer fills and write() returns false over there.
    if (this.push(chunk)) written()
    else this.#peerWrite = written
  }

  #sendFin(): void {
    if (this.#finSent) return
    this.#finSent = true
    setImmediate(() => this.#peer.#receiveFin())
  }

  #receiveFin(): void {
    if (!this.destroyed) this.push(null)
  }
}
