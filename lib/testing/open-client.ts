/** The handshake of the test client: ws's own client over a pair of sockets in memory. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { WebSocket } from 'ws'
import { PairedSocket, type SocketPair, type SocketPairOptions } from './duplex-pair.ts'
import { Inbox } from './inbox.ts'

export interface CloseInfo {
  /** 1005: a close frame without a code; 1006: the connection ended without one, or the handshake was refused. */
  readonly code: number
  readonly reason: string
}

export interface OpenClientOptions {
  readonly url: string
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly protocols: readonly string[]
  readonly timeoutMs: number
  readonly ends: SocketPairOptions
  /** Hands the server its end. */
  readonly connect: (serverEnd: PairedSocket) => void
}

export interface Handshake {
  readonly statusCode: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly client: Client
}

export interface Client {
  readonly socket: WebSocket
  readonly ends: SocketPair
  readonly inbox: Inbox
  readonly closed: Promise<CloseInfo>
  /** Both ends of the connection are gone. */
  readonly gone: Promise<unknown>
}

export async function openClient(options: OpenClientOptions): Promise<Handshake> {
  const ends = PairedSocket.pair(options.ends)
  const connect = (): PairedSocket => {
    options.connect(ends.server)
    return ends.client
  }
  const socket = new WebSocket(options.url, [...options.protocols], {
    headers: { ...options.headers },
    createConnection: connect
  })
  const inbox = new Inbox()
  const client: Client = {
    socket,
    ends,
    inbox,
    closed: readMessages(socket, inbox),
    gone: Promise.all([closeOf(ends.client), closeOf(ends.server)])
  }
  return settleHandshake(client, options)
}

function closeOf(end: PairedSocket): Promise<void> {
  return new Promise((resolve) => end.once('close', () => resolve()))
}

/** Keeps every frame from the first one on, so that a message is never missed. */
function readMessages(socket: WebSocket, inbox: Inbox): Promise<CloseInfo> {
  socket.on('message', (data: Buffer, isBinary) => inbox.add(isBinary ? data : parse(data.toString())))
  return new Promise((resolve) => {
    let problem = ''
    socket.on('error', ({ message }) => {
      problem = ` (${message})`
    })
    socket.once('close', (code, reasonBytes) => {
      const reason = reasonBytes.toString()
      inbox.end(`the connection closed with ${code}${reason && ` '${reason}'`}${problem}`)
      resolve({ code, reason })
    })
  })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function settleHandshake(client: Client, { url, timeoutMs }: OpenClientOptions): Promise<Handshake> {
  const { socket, ends, inbox } = client
  return new Promise((resolve, reject) => {
    let upgrade: IncomingMessage | undefined
    let settled = false
    const once = (settle: () => void): void => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      settle()
    }
    const answered = (statusCode: number, headers: IncomingHttpHeaders, body: string): void =>
      once(() => resolve({ statusCode, headers, body, client }))
    const refused = (statusCode: number, headers: IncomingHttpHeaders, body: string): void => {
      const answer = statusCode === 0 ? 'without an answer' : `with ${statusCode} ${body}`
      inbox.end(`the handshake was refused ${answer}`)
      answered(statusCode, headers, body)
      socket.terminate()
    }
    const failed = (error: Error): void =>
      once(() => {
        reject(error)
        socket.terminate()
        ends.client.resetAndDestroy()
      })
    const timer = setTimeout(() => failed(new Error(`injectWs: no answer to ${url} within ${timeoutMs} ms`)), timeoutMs)

    socket.once('upgrade', (response) => {
      upgrade = response
    })
    socket.once('open', () => answered(101, (upgrade as IncomingMessage).headers, ''))
    socket.once('unexpected-response', (_request, response) => {
      readBody(response).then(
        (body) => refused(response.statusCode as number, response.headers, body),
        (cause) => failed(new Error(`injectWs: the answer ${response.statusCode} broke off`, { cause }))
      )
    })
    // Stays: an 'error' of ws without a listener would end the process; 'close' follows and tells the test.
    socket.on('error', (cause: Error & { code?: string }) => {
      if (upgrade === undefined && (cause.code === 'ECONNRESET' || cause.code === 'EPIPE')) refused(0, {}, '')
      else failed(new Error(`injectWs: the client refused the server's answer: ${cause.message}`, { cause }))
    })
  })
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}
