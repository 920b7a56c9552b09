/** What a client of the leak harness may ask for: each a way in which a handler goes on, or ends its connection. */
import { once } from 'node:events'
import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import type { WsConnection } from '../../lib/connection/types.ts'
import { CloseError, defineContract, MessageError } from '../../lib/index.ts'
import { storeTime } from './cycles-store.ts'
import { news } from './cycles-watch.ts'

const maxText = 400_000

export const cycle = defineContract({
  name: 'cycle',
  clientToServer: {
    do: {
      message: Type.Object({ what: Type.String({ maxLength: 40 }), of: Type.Optional(Type.String({ maxLength: 60 })) }),
      reply: Type.Object({ value: Type.String({ maxLength: 100 }) })
    }
  },
  serverToClient: { text: Type.Object({ text: Type.String({ maxLength: maxText }) }) }
})

export interface User {
  readonly sub: string
  asked?: number
}
export type Cycled = WsConnection<typeof cycle, User>

/** Entries of the store that a deed makes live this long. */
const keepMs = 30_000
/** A peer that does not read is sent at most so many large texts: far more than the kernel takes. */
const maxTexts = 60
const large = 'x'.repeat(maxText)

/** Settles once the connection ends. */
function ended({ signal }: Cycled): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

type Deed = (connection: Cycled, app: FastifyInstance, of: string) => unknown

const deeds: Readonly<Record<string, Deed>> = {
  nothing: () => undefined,
  throw: () => {
    throw new Error('a handler threw')
  },
  reject: () => Promise.reject(new Error('a handler rejected')),
  'answer wrongly': () => ({ value: 1 }),
  'refuse a message': () => {
    throw new MessageError('conflict', 'not now', { at: 1 })
  },
  'close by error': () => {
    throw new CloseError(4100, 'done')
  },
  close: (connection) => connection.close(4100, 'done'),
  'close past the connection': (connection) => connection.socket.close(),
  terminate: (connection) => connection.socket.terminate(),
  // Touched lazily: an aborted signal and a child logger are let go too.
  wait: (connection) => {
    connection.log.debug('waits')
    return ended(connection)
  },
  // Nobody can end it; it keeps nothing but what it has.
  hang: () => new Promise(() => {}),
  'send some': (connection) => void connection.send('text', { text: large }),
  'send much': (connection) => {
    for (let count = 0; count < maxTexts; count++) if (!connection.send('text', { text: large })) return
  },
  'tell when': async (_connection, _app, of) => {
    await once(news, of)
    return { value: of }
  },
  publish: async (connection, app, of) => {
    for (const topic of ['everybody', of]) await connection.subscribe(topic)
    for (const topic of ['left', 'everybody']) connection.unsubscribe(topic)
    app.wsGuard.publish(cycle, of, 'text', { text: 'published' })
  },
  disconnect: (connection, app) => app.wsGuard.disconnect({ id: connection.id }),
  revoke: async ({ user }, app) => void (await app.wsGuard.revoke({ sub: user.sub }, { keepMs })),
  block: async ({ user }, app) => void (await app.wsGuard.block({ sub: user.sub }, { untilMs: storeTime() + keepMs })),
  ticket: async ({ user }, app) => {
    const { ticket } = await app.wsGuard.issueTicket({ user: { sub: user.sub }, route: '/ticket', ttlMs: keepMs })
    return { value: ticket }
  }
}

/** The handlers of a route; what they send back is the deed's value where it has one. */
export function handlersFor(app: FastifyInstance): {
  do: (message: { what: string; of?: string }, at: never) => never
} {
  return {
    do: ({ what, of = '' }, connection) => {
      const deed = deeds[what] as Deed
      const answer = (value: unknown): unknown => (typeof value === 'object' ? value : { value: 'done' })
      const value = deed(connection as Cycled, app, of)
      return (value instanceof Promise ? value.then(answer) : answer(value)) as never
    }
  }
}
