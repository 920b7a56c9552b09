/** Some clients and a server that do anything in any order, until the app closes: each connection opens and closes once. */
import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { Type } from '@sinclair/typebox'
import fc from 'fast-check'
import Fastify, { type FastifyInstance } from 'fastify'
import type { WsConnection } from '../../lib/connection/types.ts'
import wsGuard, { CloseError, defineContract } from '../../lib/index.ts'
import { closeFrame, frame, jsonFrame, opcodes } from '../support/frames.ts'
import { connect, type RawClient } from '../support/raw-client.ts'
import { connectionsOf, eventually, within } from '../support/wait.ts'
import { type Campaign, campaign, part } from './campaign.ts'
import { patienceMs, unlimited } from './ground.ts'

const contract = defineContract({
  name: 'lives',
  clientToServer: {
    do: Type.Object({ what: Type.String({ maxLength: 9 }), turns: Type.Integer({ minimum: 0, maximum: 20 }) })
  },
  serverToClient: { said: Type.Object({ text: Type.String() }) }
})

const clientDeeds = [
  'nothing',
  'slow',
  'slow',
  'throw',
  'reject',
  'closeError',
  'close',
  'send',
  'leave',
  'bad',
  'binary',
  'notJson',
  'bye',
  'reset',
  'fin',
  'byeAndMore'
] as const
const serverDeeds = ['publish', 'kick', 'revoke', 'disconnectOne', 'closeFromOutside', 'terminate', 'rest'] as const

interface Step {
  readonly who: number
  readonly deed: (typeof clientDeeds)[number] | (typeof serverDeeds)[number]
  /** Turns that a handler takes, and turns until the next step. */
  readonly takes: number
  readonly pause: number
}

interface Plan {
  readonly clients: number
  readonly slowOpen: number
  readonly slowClose: number
  readonly steps: readonly Step[]
  /** Clients that do not answer a close frame. */
  readonly silent: readonly number[]
}

const step: fc.Arbitrary<Step> = fc.record({
  who: fc.nat(3),
  deed: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...clientDeeds) },
    { weight: 1, arbitrary: fc.constantFrom(...serverDeeds) }
  ),
  takes: fc.nat(12),
  pause: fc.constantFrom(0, 0, 0, 1, 3, 8)
})
const plan: fc.Arbitrary<Plan> = fc.record({
  clients: fc.integer({ min: 1, max: 4 }),
  slowOpen: fc.constantFrom(0, 0, 3, 10),
  slowClose: fc.constantFrom(0, 0, 3, 10),
  steps: fc.array(step, { minLength: 1, maxLength: 20, size: 'medium' }),
  silent: fc.oneof({ weight: 9, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.constant([0]) })
})

const shutdownMs = 600
/** Whoever is told to go gets so long to answer. */
const closeTimeoutMs = 200

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** What a connection has been through. */
interface Life {
  opens: number
  closes: number
  running: number
}

class Stage {
  readonly app: FastifyInstance = Fastify() as unknown as FastifyInstance
  readonly lives = new Map<WsConnection, Life>()
  readonly wrong: string[] = []
  readonly #plan: Plan

  constructor(own: Plan) {
    this.#plan = own
  }

  async start(): Promise<number> {
    const { app } = this
    const { slowOpen, slowClose } = this.#plan
    await app.register(wsGuard, {
      origins: false,
      auth: { verify: async (token: string) => ({ sub: token }) } as never,
      limits: { ...unlimited, strikes: { max: 2 } },
      closeTimeoutMs,
      shutdown: { timeoutMs: shutdownMs }
    })
    app.wsRoute('/', {
      contract,
      onOpen: async (connection) => {
        this.lifeOf(connection as never).opens++
        await connection.subscribe('all')
        if (slowOpen > 0) await turns(slowOpen)
        this.look(connection as never, 'onOpen')
      },
      onClose: async (connection) => {
        const life = this.lifeOf(connection as never)
        if (++life.closes > 1) this.wrong.push('onClose twice')
        if (connection.state !== 'closed') this.wrong.push(`onClose in state ${connection.state}`)
        this.look(connection as never, 'onClose')
        await turns(slowClose)
      },
      handlers: { do: ({ what, turns: takes }, connection) => this.handle(what, takes, connection as never) as never }
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    return (app.server.address() as AddressInfo).port
  }

  lifeOf(connection: WsConnection): Life {
    const life = this.lives.get(connection) ?? { opens: 0, closes: 0, running: 0 }
    this.lives.set(connection, life)
    return life
  }

  /** What holds at any time. */
  look(connection: WsConnection, where: string): void {
    const { state, signal } = connection
    if (signal.aborted !== (state !== 'open')) this.wrong.push(`${where}: ${state}, aborted ${signal.aborted}`)
    if (state !== 'open' && connection.send('said' as never, { text: 'late' } as never))
      this.wrong.push(`${where}: sent when ${state}`)
    if (
      connection.socket.readyState !== connection.socket.OPEN &&
      connection.send('said' as never, { text: 'late' } as never)
    ) {
      this.wrong.push(`${where}: sent to a socket that is not open`)
    }
  }

  async handle(what: string, takes: number, connection: WsConnection): Promise<void> {
    const life = this.lifeOf(connection)
    if (connection.state !== 'open' || life.closes > 0) this.wrong.push(`a handler began in state ${connection.state}`)
    if (life.opens !== 1) this.wrong.push(`a handler began after ${life.opens} onOpen`)
    if (++life.running > 1) this.wrong.push('two handlers at once')
    try {
      if (what === 'slow') await turns(takes)
      if (what === 'throw') throw new Error('the handler throws')
      if (what === 'reject') await turns(1).then(() => Promise.reject(new Error('the handler rejects')))
      if (what === 'closeError') throw new CloseError(4321, 'told so')
      if (what === 'close') connection.close(4000)
      if (what === 'leave') connection.unsubscribe('all')
      if (connection.state === 'open') connection.send('said' as never, { text: what } as never)
      this.look(connection, what)
    } finally {
      life.running--
    }
  }
}

function doAsClient(client: RawClient, { deed, takes }: Step): void {
  const { socket } = client
  if (socket.destroyed || socket.writableEnded) return
  if (deed === 'bye') socket.write(closeFrame(1000))
  else if (deed === 'byeAndMore')
    socket.write(Buffer.concat([closeFrame(1001), jsonFrame({ type: 'do', what: 'late', turns: 0 })]))
  else if (deed === 'reset') client.reset()
  else if (deed === 'fin') client.halfClose()
  else if (deed === 'bad') socket.write(jsonFrame({ type: 'do', what: 7 }))
  else if (deed === 'binary') socket.write(frame({ opcode: opcodes.binary }))
  else if (deed === 'notJson') socket.write(frame({ payload: '{' }))
  else socket.write(jsonFrame({ type: 'do', what: deed, turns: takes, ref: 1 }))
}

function doAsServer({ app, lives }: Stage, { deed, who }: Step): void {
  const connection = [...lives.keys()][who]
  const { wsGuard: guard } = app
  if (deed === 'publish') guard.publish(contract, 'all', 'said', { text: 'to all' })
  else if (deed === 'kick') void guard.disconnect({ sub: `user-${who}` })
  else if (deed === 'revoke') void guard.revoke({ sub: `user-${who}` })
  else if (deed === 'disconnectOne' && connection) void guard.disconnect({ id: connection.id })
  else if (deed === 'closeFromOutside') connection?.close(1000, 'enough')
  else if (deed === 'terminate') connection?.socket.terminate()
}

/** A client as it should be: says goodbye in turn, and hangs up when the server does. */
function answerCloses(client: RawClient): void {
  client.socket.on('data', () => {
    if (client.frames.some(({ opcode }) => opcode === opcodes.close) && !client.socket.writableEnded)
      client.socket.end(closeFrame(1000))
  })
  client.socket.on('end', () => client.socket.end())
}

async function live(own: Plan): Promise<void> {
  const stage = new Stage(own)
  const { app, lives, wrong } = stage
  const port = await stage.start()
  const clients: RawClient[] = []
  try {
    for (let index = 0; index < own.clients; index++) {
      const client = await connect(port)
      clients.push(client)
      if (!own.silent.includes(index)) answerCloses(client)
      // Not waited for: what follows may find the handshake under way.
      void client
        .handshake({ headers: { Authorization: `Bearer user-${index}` }, timeoutMs: patienceMs })
        .catch(() => {})
      if (own.slowOpen !== 3) await turns(6)
    }
    for (const each of own.steps) {
      const client = clients[each.who % clients.length] as RawClient
      if ((serverDeeds as readonly string[]).includes(each.deed)) doAsServer(stage, each)
      else doAsClient(client, each)
      await turns(each.pause)
      for (const connection of lives.keys()) stage.look(connection, each.deed)
    }
  } finally {
    await within(app.close(), { timeoutMs: shutdownMs + 1_000 + slackMs, what: 'app.close()' })
    for (const client of clients) client.destroy()
  }
  await eventually(() => assertOver(stage), { timeoutMs: patienceMs })
  assert.deepEqual(wrong, [])
  for (const client of clients) assertNothingAfterClose(client)
}

/** A busy machine takes its time before and after. */
const slackMs = 2_000

async function assertOver({ app, lives }: Stage): Promise<void> {
  for (const [connection, life] of lives) {
    assert.deepEqual(life, { opens: 1, closes: 1, running: 0 })
    assert.equal(connection.state, 'closed')
    assert.equal(connection.signal.aborted, true)
  }
  const { 'store.revocations': _kept, ...stats } = app.wsGuard.stats()
  assert.deepEqual(
    Object.entries(stats).filter(([, size]) => size !== 0),
    [],
    'nothing is left'
  )
  assert.equal(await connectionsOf(app.server).catch(() => 0), 0, 'no socket')
}

function assertNothingAfterClose({ frames }: RawClient): void {
  const at = frames.findIndex(({ opcode }) => opcode === opcodes.close)
  assert.ok(at === -1 || at === frames.length - 1, 'nothing after the close frame')
}

export const lives: Campaign = campaign('lives', 4, async () => ({
  parts: [part('any order', 12, fc.asyncProperty(plan, live))]
}))
