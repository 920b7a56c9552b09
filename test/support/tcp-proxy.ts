/** Stands between a client and a server on TCP, and is as slow, as silent or as broken as the test wants. */
import { once } from 'node:events'
import { createServer, type Server, type Socket, connect as tcpConnect } from 'node:net'
import type { TestContext } from 'node:test'
import { returnPort, takePort } from './ports.ts'

/** `up` is from the client to the server. */
export type Direction = 'up' | 'down'

/** What one direction of one connection holds at most before it reads no more. */
const maxQueuedBytes = 1024 * 1024

export class TcpProxy {
  readonly port: number
  /** What comes from now on is passed on, in each direction, that much later. */
  latencyMs = 0
  /**
   * A chunk for which it returns true is swallowed. Chunks are what one read of the socket gave: usually one small
   * message, but several that were sent at once may share one.
   */
  drop: ((chunk: Buffer, direction: Direction) => boolean) | undefined
  readonly #targetPort: number
  readonly #server: Server
  readonly #pipes = new Set<Pipe>()
  #isFrozen = false
  #isCut = false

  private constructor(port: number, targetPort: number) {
    this.port = port
    this.#targetPort = targetPort
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client))
  }

  /** In front of `127.0.0.1:targetPort`, until the test ends. */
  static async startFor(t: TestContext, targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(await takePort(), targetPort)
    t.after(() => proxy.stop())
    await proxy.#listen()
    return proxy
  }

  get isFrozen(): boolean {
    return this.#isFrozen
  }

  /** How many clients are connected. */
  get connections(): number {
    return this.#pipes.size / 2
  }

  /** Nothing passes any more, not even the end of a connection; new connections are accepted, and silent as well. */
  freeze(): void {
    this.#isFrozen = true
    for (const pipe of this.#pipes) pipe.update()
  }

  /** What has come meanwhile passes now. */
  thaw(): void {
    this.#isFrozen = false
    for (const pipe of this.#pipes) pipe.update()
  }

  /** Resets all connections and refuses new ones, until `mend`. */
  async cut(): Promise<void> {
    if (this.#isCut) return
    this.#isCut = true
    for (const pipe of this.#pipes) pipe.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  async mend(): Promise<void> {
    if (!this.#isCut) return
    this.#isCut = false
    await this.#listen()
  }

  async stop(): Promise<void> {
    await this.cut()
    returnPort(this.port)
  }

  async #listen(): Promise<void> {
    this.#server.listen(this.port, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  #accept(client: Socket): void {
    if (this.#isCut) {
      client.resetAndDestroy()
      return
    }
    const server = tcpConnect({ port: this.#targetPort, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.#pipe(client, server, 'up')
    this.#pipe(server, client, 'down')
  }

  #pipe(from: Socket, to: Socket, direction: Direction): void {
    const pipe = new Pipe(this, { from, to, direction, onClosed: () => this.#pipes.delete(pipe) })
    this.#pipes.add(pipe)
  }
}

interface PipeOptions {
  readonly from: Socket
  readonly to: Socket
  readonly direction: Direction
  /** The one side has closed and the other side has been told. */
  readonly onClosed: () => void
}

interface Item {
  /** A chunk to write; or how the side that is read has ended. */
  readonly what: Buffer | 'end' | 'close' | 'reset'
  readonly dueAt: number
}

/** One direction of one connection. */
class Pipe {
  readonly #proxy: TcpProxy
  readonly #from: Socket
  readonly #to: Socket
  readonly #onClosed: () => void
  readonly #queue: Item[] = []
  #queuedBytes = 0
  #timer: NodeJS.Timeout | undefined
  #isDestroyed = false

  constructor(proxy: TcpProxy, { from, to, direction, onClosed }: PipeOptions) {
    this.#proxy = proxy
    this.#from = from
    this.#to = to
    this.#onClosed = onClosed
    from.on('data', (chunk: Buffer) => {
      if (!proxy.drop?.(chunk, direction)) this.#push(chunk)
    })
    from.once('end', () => this.#push('end'))
    // The close that follows says all there is to say.
    from.on('error', () => {})
    from.once('close', (hadError) => this.#push(hadError ? 'reset' : 'close'))
    to.on('drain', () => this.update())
    this.update()
  }

  destroy(): void {
    this.#isDestroyed = true
    clearTimeout(this.#timer)
    this.#from.resetAndDestroy()
    this.#to.resetAndDestroy()
    this.#onClosed()
  }

  /** Passes on what is due, plans the rest, and reads on or not. */
  update(): void {
    if (this.#isDestroyed) return
    clearTimeout(this.#timer)
    if (!this.#proxy.isFrozen) this.#flush()
    if (this.#proxy.isFrozen || this.#queuedBytes > maxQueuedBytes) this.#from.pause()
    else this.#from.resume()
  }

  #push(what: Item['what']): void {
    this.#queue.push({ what, dueAt: performance.now() + this.#proxy.latencyMs })
    if (Buffer.isBuffer(what)) this.#queuedBytes += what.length
    this.update()
  }

  #flush(): void {
    for (let item = this.#queue[0]; item !== undefined; item = this.#queue[0]) {
      const waitMs = item.dueAt - performance.now()
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.update(), Math.ceil(waitMs))
        return
      }
      if (this.#to.writableNeedDrain && !this.#to.destroyed) return
      this.#queue.shift()
      this.#pass(item.what)
    }
  }

  #pass(what: Item['what']): void {
    if (Buffer.isBuffer(what)) {
      this.#queuedBytes -= what.length
      if (this.#to.writable) this.#to.write(what)
      return
    }
    if (what === 'end') {
      this.#to.end()
      return
    }
    if (what === 'reset') this.#to.resetAndDestroy()
    else if (!this.#to.writableEnded) this.#to.destroy()
    this.#onClosed()
  }
}
