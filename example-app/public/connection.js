/**
 * One guarded connection that stays open: it reads the close codes from the table the server uses, and comes back the
 * way that table says. Copy it into your own page; it knows nothing about chats.
 */
import { closeCauses, closeCodes } from './contract.js'

export const subprotocol = 'ws-guard.v1'

/** Browsers cannot set an Authorization header here, so the token travels as a second subprotocol. */
export function openSocket(path, token) {
  const url = new URL(path, location.href)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return new WebSocket(url, [subprotocol, `bearer.${token}`])
}

/** What a close code and its reason mean, in words, and what to do next. */
export function explainClose(code, reason = '') {
  const [name, entry] = Object.entries(closeCodes).find(([, entry]) => entry.code === code) ?? []
  const cause = Object.hasOwn(closeCauses, reason) ? closeCauses[reason].meaning : ''
  if (code === 1006)
    return { name: 'no close frame', meaning: 'the connection was lost or never opened', reconnect: 'jitter' }
  if (!entry) return { name: `code ${code}`, meaning: 'not in the table', reconnect: 'backoff' }
  return { name, meaning: cause || entry.meaning, reconnect: entry.reconnect }
}

// Full jitter: anything between nothing and the ceiling, so that a thousand pages do not come back in the same second.
const pace = { jitter: { baseMs: 1_000, maxMs: 10_000 }, backoff: { baseMs: 5_000, maxMs: 60_000 } }

export function retryDelayMs(advice, attempt) {
  const { baseMs, maxMs } = pace[advice] ?? pace.jitter
  return Math.random() * Math.min(maxMs, baseMs * 2 ** attempt)
}

// A connection that lived this long was a good one: the next trouble starts counting from zero.
const provenMs = 10_000

/** Events: `state` ({ state, close?, retryInMs? }), and `message` (whatever the server sent that is not a reply). */
export class Connection extends EventTarget {
  #path
  #credentials
  #socket
  #timer
  #attempt = 0
  #renewed = false
  #nextRef = 1
  #waiting = new Map()

  /** `credentials` has `current()`, `renew()` and `stillGood()`, all of them async. */
  constructor(path, credentials) {
    super()
    this.#path = path
    this.#credentials = credentials
    this.retryNow = this.retryNow.bind(this)
    addEventListener('online', this.retryNow)
  }

  async open() {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#tell('connecting')
    const token = await this.#credentials.current().catch(() => undefined)
    if (this.ended) return
    if (token === undefined) return this.#retry('jitter')
    const socket = openSocket(this.#path, token)
    let openedAt
    this.#socket = socket
    socket.onopen = () => {
      openedAt = Date.now()
      this.#renewed = false
      this.#tell('open')
    }
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data))
    socket.onclose = (event) => {
      if (openedAt !== undefined && Date.now() - openedAt > provenMs) this.#attempt = 0
      void this.#closed(event, openedAt !== undefined)
    }
  }

  /** Sends a message and resolves with the server's reply; rejects with its error message, or when the connection ends. */
  request(type, message) {
    const ref = this.#nextRef++
    return new Promise((resolve, reject) => {
      if (this.#socket?.readyState !== WebSocket.OPEN) return reject(new Error('You are not connected right now.'))
      this.#waiting.set(ref, { resolve, reject })
      this.#socket.send(JSON.stringify({ ...message, type, ref }))
    })
  }

  retryNow() {
    if (this.#timer !== undefined || this.stopped) void this.open()
  }

  /** Ends it for good. */
  end() {
    this.ended = true
    clearTimeout(this.#timer)
    removeEventListener('online', this.retryNow)
    this.#socket?.close(1000)
  }

  #receive(message) {
    const waiting = this.#waiting.get(message.ref)
    if (waiting && (message.type === 'reply' || message.type === 'error')) {
      this.#waiting.delete(message.ref)
      if (message.type === 'reply') waiting.resolve(message.data)
      else waiting.reject(Object.assign(new Error(message.message), message))
    } else {
      this.dispatchEvent(new CustomEvent('message', { detail: message }))
    }
  }

  async #closed({ code, reason }, wasOpen) {
    for (const { reject } of this.#waiting.values()) reject(new Error('The connection closed before the answer came.'))
    this.#waiting.clear()
    const close = { code, reason, at: Date.now(), ...explainClose(code, reason) }
    if (this.ended) return
    // An attempt that never opened does not hide why the last good connection ended.
    this.#tell('closed', wasOpen ? { close } : {})
    let advice = close.reconnect
    // A refused handshake looks like a broken network to a script (1006), so ask over HTTP what it was.
    if (code === 1006 && !wasOpen) advice = await this.#adviceAfterRefusal()
    if (!this.ended) await this.#retry(advice)
  }

  async #adviceAfterRefusal() {
    try {
      return (await this.#credentials.stillGood()) ? 'backoff' : 'new-credential'
    } catch {
      return 'jitter'
    }
  }

  async #retry(advice) {
    this.stopped = advice === 'no'
    if (this.stopped) return
    if (advice === 'new-credential') await this.#renew()
    if (this.ended) return
    const retryInMs = retryDelayMs(advice, this.#attempt++)
    this.#timer = setTimeout(() => void this.open(), retryInMs)
    this.#tell('closed', { retryInMs })
  }

  /** A fresh credential is worth a try at once, but only one: if that is refused too, the waiting gets longer again. */
  async #renew() {
    try {
      await this.#credentials.renew()
    } catch {
      return
    }
    if (!this.#renewed) this.#attempt = 0
    this.#renewed = true
  }

  #tell(state, more) {
    if (state !== 'closed') this.stopped = false
    this.dispatchEvent(new CustomEvent('state', { detail: { state, ...more } }))
  }
}
