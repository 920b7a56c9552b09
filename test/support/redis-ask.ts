/** Questions to a Redis server that need no client: one command on one connection, and waiting for an answer. */
import { connect as tcpConnect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { within } from './wait.ts'

const askMs = 2000
const pollMs = 20

export type Reply = string | number | null | Error | Reply[]

/** Sends one command over a connection of its own. An error of Redis rejects, and so does silence. */
export async function ask(port: number, ...command: string[]): Promise<Exclude<Reply, Error>> {
  const socket = tcpConnect(port, '127.0.0.1')
  const words = command.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
  let bytes = Buffer.alloc(0)
  const answered = new Promise<Reply>((resolve, reject) => {
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
      const reply = parseReply(bytes)
      if (reply !== undefined) resolve(reply.value)
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error(`closed before ${command.join(' ')} was answered`)))
  })
  socket.write(`*${command.length}\r\n${words.join('')}`)
  try {
    const reply = await within(answered, { timeoutMs: askMs, what: `${command.join(' ')} on port ${port}` })
    if (reply instanceof Error) throw reply
    return reply
  } finally {
    socket.destroy()
  }
}

/** The first reply of RESP2 in the bytes, or undefined while it is not complete. */
export function parseReply(bytes: Buffer, at = 0): { value: Reply; end: number } | undefined {
  const lineEnd = bytes.indexOf('\r\n', at)
  if (lineEnd === -1) return undefined
  const kind = String.fromCharCode(bytes[at] as number)
  const line = bytes.toString('utf8', at + 1, lineEnd)
  const end = lineEnd + 2
  if (kind === '+') return { value: line, end }
  if (kind === '-') return { value: new Error(line), end }
  if (kind === ':') return { value: Number(line), end }
  const length = Number(line)
  if (length === -1) return { value: null, end }
  if (kind === '$') {
    if (bytes.length < end + length + 2) return undefined
    return { value: bytes.toString('utf8', end, end + length), end: end + length + 2 }
  }
  if (kind === '*') return parseArray(bytes, end, length)
  throw new Error(`not a reply of Redis: ${kind}${line}`)
}

function parseArray(bytes: Buffer, at: number, length: number): { value: Reply; end: number } | undefined {
  const value: Reply[] = []
  let end = at
  while (value.length < length) {
    const item = parseReply(bytes, end)
    if (item === undefined) return undefined
    value.push(item.value)
    end = item.end
  }
  return { value, end }
}

/** Asks an outside program again and again, which tells nobody when it has changed; at the end its last error comes out. */
export async function poll(what: string, timeoutMs: number, probe: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + timeoutMs
  let reason: unknown
  while (performance.now() < deadline) {
    try {
      if (await probe()) return
      reason = undefined
    } catch (error) {
      if (error instanceof EndedError) throw error
      reason = error
    }
    await pause(pollMs)
  }
  const suffix = reason instanceof Error ? `: ${reason.message}` : ''
  throw new Error(`${what} did not come true within ${timeoutMs} ms${suffix}`, { cause: reason })
}

/** The process has ended, so waiting for it makes no sense. */
export class EndedError extends Error {}
