/** The process of the good clients: each says something now and then, and notes how long the echo takes. */
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Frame, frame, opcodes } from '../support/frames.ts'
import { answer } from './answer.ts'
import { handshakeOf, type Target } from './attackers/peer.ts'
import { openWire } from './wire.ts'

const tickMs = 4
const pollMs = 5

/** The round trips of the messages that were sent in a phase. */
export interface PhaseReport {
  readonly sent: number
  readonly lost: number
  readonly p50: number
  readonly p99: number
  readonly max: number
  /** Clients that the server has cut off so far. */
  readonly cutOff: number
}

interface Phase {
  sent: number
  readonly waiting: Map<number, number>
  readonly trips: number[]
}

let phase: Phase = newPhase()
let nextId = 0
let cutOff = 0
const sockets: Socket[] = []

function newPhase(): Phase {
  return { sent: 0, waiting: new Map(), trips: [] }
}

/** By id: the phase in which it was sent. */
const phases = new Map<number, Phase>()

function say(socket: Socket): void {
  const id = nextId++
  phases.set(id, phase)
  phase.sent++
  phase.waiting.set(id, performance.now())
  socket.write(frame({ payload: `{"type":"say","text":"${id}"}` }))
}

function hear(text: string): void {
  const id = Number(/"text":"(\d+)"/.exec(text)?.[1])
  const sentIn = phases.get(id)
  if (sentIn === undefined) return
  phases.delete(id)
  sentIn.trips.push(performance.now() - (sentIn.waiting.get(id) as number))
  sentIn.waiting.delete(id)
}

function onFrame({ opcode, payload }: Frame, socket: Socket): void {
  if (opcode === opcodes.text) hear(payload.toString())
  else if (opcode === opcodes.ping) socket.write(frame({ opcode: opcodes.pong, payload }))
}

async function open(target: Target, token: string): Promise<void> {
  const socket = await openWire(target.port, handshakeOf(target, token), onFrame)
  socket.once('close', () => void cutOff++)
  sockets.push(socket)
}

/** One after the other in equal steps; whoever is late because this process was, is not left out. */
function speak(perSecond: number): void {
  const startedAt = performance.now()
  let said = 0
  setInterval(() => {
    const due = ((performance.now() - startedAt) / 1_000) * perSecond * sockets.length
    for (; said < due; said++) {
      const socket = sockets[said % sockets.length] as Socket
      if (!socket.destroyed) say(socket)
    }
  }, tickMs)
}

interface Opening {
  readonly target: Target
  readonly tokens: readonly string[]
  readonly perSecond: number
}

async function openAll({ target, tokens, perSecond }: Opening): Promise<void> {
  for (const token of tokens) await open(target, token)
  speak(perSecond)
}

/** Begins a phase. @returns about the one before, once all of its answers have come or `patienceMs` are over */
async function turn({ patienceMs }: { readonly patienceMs: number }): Promise<PhaseReport> {
  const ended = phase
  phase = newPhase()
  const deadline = performance.now() + patienceMs
  while (ended.waiting.size > 0 && performance.now() < deadline && cutOff < sockets.length) await delay(pollMs)
  const sorted = ended.trips.sort((a, b) => a - b)
  const at = (share: number): number => sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN
  for (const id of ended.waiting.keys()) phases.delete(id)
  return { sent: ended.sent, lost: ended.waiting.size, p50: at(0.5), p99: at(0.99), max: at(1), cutOff }
}

answer({ open: openAll, turn })
