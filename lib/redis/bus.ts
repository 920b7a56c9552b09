import type { Link } from './link.ts'
import type { Names } from './names.ts'

/** Channels are subscribed to again so many at a time. */
const channelsAtOnce = 500

interface Channel {
  readonly topicKey: string
  /** Undefined once it is live, or while there is no line. */
  joining: Promise<void> | undefined
  isLive: boolean
}

export interface BusListener {
  onMessage(topicKey: string, payload: string): void
  /** There is something new in the log. */
  onNews(): void
}

/**
 * Topics over pub/sub: a channel for each topic that somebody on this node is subscribed to. A message names the node it
 * comes from, which has delivered it to its own subscribers already.
 */
export class Bus {
  readonly #link: Link
  readonly #names: Names
  readonly #node: string
  readonly #channels = new Map<string, Channel>()

  constructor(link: Link, names: Names, node: string, listener: BusListener) {
    this.#link = link
    this.#names = names
    this.#node = node
    link.subscriber.on('message', (channel: string, message: string) => {
      if (channel === names.news) listener.onNews()
      else this.#receive(listener, channel, message)
    })
    link.subscriber.on('close', () => this.#forgetLive())
  }

  get size(): number {
    return this.#channels.size
  }

  isLive(topicKey: string): boolean {
    return this.#channels.get(this.#names.topic(topicKey))?.isLive === true
  }

  /** Settles when messages come. @throws StoreDownError */
  subscribe(topicKey: string): Promise<void> {
    const name = this.#names.topic(topicKey)
    const channel = this.#channels.get(name) ?? { topicKey, joining: undefined, isLive: false }
    this.#channels.set(name, channel)
    channel.joining ??= this.#join([name]).finally(() => {
      channel.joining = undefined
    })
    return channel.joining
  }

  /** Messages come as soon as there is a line again. */
  subscribeLater(topicKey: string): void {
    const name = this.#names.topic(topicKey)
    if (!this.#channels.has(name)) this.#channels.set(name, { topicKey, joining: undefined, isLive: false })
  }

  unsubscribe(topicKey: string): void {
    const name = this.#names.topic(topicKey)
    this.#channels.delete(name)
    this.#leave(name)
  }

  publish(topicKey: string, payload: string): void {
    this.#link.publish(this.#names.topic(topicKey), `${this.#node}\n${payload}`)
  }

  /** Subscribes to what it is not subscribed to, and sees that the line answers. @throws StoreDownError */
  async restore(): Promise<void> {
    await this.#join([this.#names.news])
    const lost = [...this.#channels].filter(([, { isLive }]) => !isLive).map(([name]) => name)
    for (let at = 0; at < lost.length; at += channelsAtOnce) await this.#join(lost.slice(at, at + channelsAtOnce))
  }

  get #isReady(): boolean {
    return this.#link.subscriber.status === 'ready'
  }

  async #join(names: readonly string[]): Promise<void> {
    await this.#link.within(this.#link.subscriber, () => this.#link.subscriber.subscribe(...names))
    for (const name of names) {
      const channel = this.#channels.get(name)
      if (channel !== undefined) channel.isLive = true
      else if (name !== this.#names.news) this.#leave(name) // left while it was joined
    }
  }

  #leave(name: string): void {
    if (this.#isReady) this.#link.subscriber.unsubscribe(name).catch(() => {}) // a line that ends takes it along
  }

  #forgetLive(): void {
    for (const channel of this.#channels.values()) channel.isLive = false
  }

  #receive(listener: BusListener, name: string, message: string): void {
    const channel = this.#channels.get(name)
    const end = message.indexOf('\n')
    if (channel === undefined || message.slice(0, Math.max(end, 0)) === this.#node) return
    listener.onMessage(channel.topicKey, message.slice(end + 1))
  }
}
