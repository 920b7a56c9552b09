/** The messages that arrived and nobody has asked for yet, and the receivers that wait for one. */
interface Receiver {
  readonly type: string | undefined
  readonly settle: (message: unknown) => void
  readonly fail: (why: string) => void
}

const shownMessages = 10
const shownCharacters = 200

export class Inbox {
  readonly #messages: unknown[] = []
  readonly #receivers = new Set<Receiver>()
  #taken = 0
  #end: string | undefined

  add(message: unknown): void {
    for (const receiver of this.#receivers) {
      if (!matches(message, receiver.type)) continue
      this.#taken++
      receiver.settle(message)
      return
    }
    this.#messages.push(message)
  }

  /** Takes the oldest message of that type, or waits for it. Other messages stay where they are. */
  take(type: string | undefined, timeoutMs: number): Promise<unknown> {
    const index = this.#messages.findIndex((message) => matches(message, type))
    if (index >= 0) {
      this.#taken++
      return Promise.resolve(this.#messages.splice(index, 1)[0])
    }
    // Made here, because a stack from inside a timer would not show the line of the test.
    const error = new Error()
    if (this.#end !== undefined) return Promise.reject(this.#explain(error, type, this.#end))
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer)
        this.#receivers.delete(receiver)
      }
      const receiver: Receiver = {
        type,
        settle: (message) => {
          leave()
          resolve(message)
        },
        fail: (why) => {
          leave()
          reject(this.#explain(error, type, why))
        }
      }
      const timer = setTimeout(() => receiver.fail(`none within ${timeoutMs} ms, the connection is open`), timeoutMs)
      this.#receivers.add(receiver)
    })
  }

  /** Nothing more will arrive: whoever waits, or asks later, is told why. The first cause stands. */
  end(why: string): void {
    this.#end ??= why
    for (const receiver of this.#receivers) receiver.fail(this.#end)
  }

  #explain(error: Error, type: string | undefined, why: string): Error {
    const wanted = type === undefined ? 'a message' : `a message of type '${type}'`
    const frames = (error.stack as string).split('\n').slice(1)
    error.message = `expected ${wanted}: ${why}; ${this.#contents()}`
    error.stack = [`Error: ${error.message}`, ...frames].join('\n')
    return error
  }

  #contents(): string {
    const count = this.#messages.length
    const taken = `${this.#taken} received before`
    if (count === 0) return `nothing else arrived, ${taken}`
    const shown = this.#messages.slice(0, shownMessages).map(show)
    if (count > shownMessages) shown.push(`and ${count - shownMessages} more`)
    return `not yet received: ${shown.join(', ')}; ${taken}`
  }
}

function matches(message: unknown, type: string | undefined): boolean {
  if (type === undefined) return true
  return typeof message === 'object' && message !== null && 'type' in message && message.type === type
}

function show(message: unknown): string {
  if (Buffer.isBuffer(message)) return `<${message.length} bytes>`
  const text = JSON.stringify(message)
  return text.length > shownCharacters ? `${text.slice(0, shownCharacters)}…` : text
}
