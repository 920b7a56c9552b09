/** Clients of the load test, in one process: idle ones that answer pings, and busy ones that ask and count the replies. */
import type { Socket } from 'node:net'
import { origin, secret } from '../support/app.ts'
import { type Frame, frame, opcodes } from '../support/frames.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { claims, signJwt } from '../support/tokens.ts'
import { until } from '../support/wait.ts'
import { answer } from './answer.ts'
import { Seconds, type SecondsReport } from './stolen.ts'
import { openWire } from './wire.ts'

/** Handshakes at a time. */
const lanes = 100
/** Between two looks at who is due: questions leave evenly, not all at once. */
const stepMs = 5
/** After the last question a reply may still be on its way. */
const patienceMs = 10_000

interface Client {
  readonly socket: Socket
  /** When each question was sent that has no reply yet. */
  readonly asked: Map<number, number>
  refs: number
}

export interface Traffic {
  readonly sent: number
  readonly replied: number
  /** Replies nobody waits for, errors, closes. */
  readonly unexpected: readonly string[]
  readonly roundTrips: SecondsReport
}

export interface Crowd {
  readonly open: number
  readonly lost: number
  readonly pings: number
}

const clients: Client[] = []
let lost = 0
let pings = 0
let isLeaving = false
let unexpected: string[] = []
let replied = 0
let roundTrips: Seconds | undefined
const mask = Buffer.alloc(4)
const replyStart = /^\{"type":"reply","ref":(\d+),/

function onFrame(asked: Map<number, number>, { opcode, payload }: Frame, socket: Socket): void {
  if (opcode === opcodes.ping) {
    pings++
    socket.write(frame({ opcode: opcodes.pong, payload, mask }))
    return
  }
  const text = opcode === opcodes.text ? payload.toString('latin1') : `opcode ${opcode}`
  const ref = Number(replyStart.exec(text)?.[1])
  const sentAt = asked.get(ref)
  if (sentAt === undefined) {
    if (!isLeaving) unexpected.push(text.slice(0, 100))
    return
  }
  asked.delete(ref)
  replied++
  roundTrips?.record(performance.now() - sentAt)
}

async function open(port: number, sub: string): Promise<void> {
  const token = signJwt(claims({ sub }), secret)
  const request = handshakeRequest({ path: '/ws', headers: { Origin: origin, Authorization: `Bearer ${token}` } })
  const asked = new Map<number, number>()
  const socket = await openWire(port, request, (frame, from) => onFrame(asked, frame, from))
  socket.once('close', () => {
    if (!isLeaving) lost++
  })
  clients.push({ socket, asked, refs: 0 })
}

/** One connection for each of so many users. */
async function openAll({ port, count }: { port: number; count: number }): Promise<void> {
  let next = clients.length
  const end = next + count
  const lane = async (): Promise<void> => {
    while (next < end) await open(port, `user-${next++}`)
  }
  await Promise.all(Array.from({ length: lanes }, lane))
}

/** The first so many clients ask so often, spread evenly. */
async function talk({ busy, perSecond, ms }: { busy: number; perSecond: number; ms: number }): Promise<Traffic> {
  roundTrips = new Seconds()
  unexpected = []
  replied = 0
  const startedAt = performance.now()
  const total = Math.floor((busy * perSecond * ms) / 1000)
  const sent = await new Promise<number>((resolve) => {
    let count = 0
    const timer = setInterval(() => {
      const due = Math.min(total, Math.floor(((performance.now() - startedAt) * busy * perSecond) / 1000))
      while (count < due) ask(clients[count++ % busy] as Client)
      if (count < total) return
      clearInterval(timer)
      resolve(count)
    }, stepMs)
  })
  await until(() => replied + unexpected.length >= sent, { timeoutMs: patienceMs }).catch(() => {})
  return { sent, replied, unexpected: unexpected.slice(0, 10), roundTrips: roundTrips.stop() }
}

function ask(client: Client): void {
  const ref = ++client.refs
  client.asked.set(ref, performance.now())
  // A text frame with a mask of zeros: what measures must not be what is slow.
  const text = `{"type":"ask","count":3,"ref":${ref}}`
  client.socket.write(`\x81${String.fromCharCode(0x80 | text.length)}\0\0\0\0${text}`, 'latin1')
}

function crowd(): Crowd {
  return { open: clients.filter(({ socket }) => !socket.destroyed).length, lost, pings }
}

/** Half of them properly, half by a reset. */
async function leave(): Promise<void> {
  isLeaving = true
  const gone = clients.map(({ socket }) => new Promise((resolve) => socket.once('close', resolve)))
  for (const [at, { socket }] of clients.entries()) {
    if (at % 2 === 0) socket.resetAndDestroy()
    else socket.end(frame({ opcode: opcodes.close, payload: Buffer.from([0x03, 0xe8]), mask }))
  }
  await Promise.all(gone)
}

answer({ openAll, talk, crowd, leave })
