/** Every public method, called with what it cannot use, and what becomes of that on an open and on a closed connection. */
import type { FastifyInstance } from 'fastify'
import { contract } from './contract.ts'

export interface Context {
  readonly app: FastifyInstance
  // biome-ignore lint/suspicious/noExplicitAny: what the types would not let through is what is tried
  readonly connection: any
}

/** What is done, what comes of it while the connection is open, and afterwards where that differs. */
export type Misuse = readonly [run: (context: Context) => unknown, open: string, closed?: string]

const option = 'WSG_ERR_OPTION'
const big = 'x'.repeat(100_000)
const circle: Record<string, unknown> = {}
circle.circle = circle
const unreadable = new Proxy(
  {},
  {
    get: () => {
      throw new RangeError('looked at')
    }
  }
)

const connectionMisuses: Readonly<Record<string, Readonly<Record<string, Misuse>>>> = {
  'connection.send': {
    'no arguments': [({ connection }) => connection.send(), 'throws WSG_ERR_ENCODE', 'returns false'],
    'an unknown type': [({ connection }) => connection.send('nope', {}), 'throws WSG_ERR_ENCODE', 'returns false'],
    'a symbol': [({ connection }) => connection.send(Symbol('said'), {}), 'throws WSG_ERR_ENCODE', 'returns false'],
    'a type of every object': [
      ({ connection }) => connection.send('constructor', {}),
      'throws WSG_ERR_ENCODE',
      'returns false'
    ],
    'no message': [({ connection }) => connection.send('said'), 'throws WSG_ERR_ENCODE', 'returns false'],
    'a circle': [
      ({ connection }) => connection.send('said', { text: circle }),
      'throws WSG_ERR_ENCODE',
      'returns false'
    ],
    'a bigint': [({ connection }) => connection.send('said', { text: 1n }), 'throws WSG_ERR_ENCODE', 'returns false'],
    'a Proxy that throws': [
      ({ connection }) => connection.send('said', unreadable),
      'throws WSG_ERR_ENCODE',
      'returns false'
    ]
  },
  'connection.subscribe': {
    nothing: [({ connection }) => connection.subscribe(), 'rejects TypeError', 'resolves false'],
    null: [({ connection }) => connection.subscribe(null), 'rejects TypeError', 'resolves false'],
    'a long name': [({ connection }) => connection.subscribe(big), 'resolves false'],
    'a Proxy that throws': [
      ({ connection }) => connection.subscribe(unreadable),
      'rejects RangeError',
      'resolves false'
    ]
  },
  'connection.unsubscribe': {
    nothing: [({ connection }) => connection.unsubscribe(), 'returns undefined'],
    'what it is not subscribed to': [({ connection }) => connection.unsubscribe(big), 'returns undefined'],
    'a symbol': [({ connection }) => connection.unsubscribe(Symbol('topic')), 'throws TypeError']
  },
  'connection.close': {
    'a code that is never sent': [({ connection }) => connection.close(1005), 'returns undefined'],
    'a code that is none': [({ connection }) => connection.close(Number.NaN), 'returns undefined'],
    'an object as code': [({ connection }) => connection.close(unreadable), 'returns undefined'],
    'a symbol as code': [({ connection }) => connection.close(Symbol('code')), 'returns undefined'],
    'a long reason': [({ connection }) => connection.close(1000, big), 'returns undefined'],
    'an object as reason': [({ connection }) => connection.close(1000, unreadable), 'returns undefined'],
    'half a character as reason': [({ connection }) => connection.close(1000, '\ud800'), 'returns undefined'],
    'a typed array as reason': [({ connection }) => connection.close(1000, new Float32Array(9)), 'returns undefined']
  },
  'connection.socket': {
    'send nothing': [({ connection }) => connection.socket.send(), 'returns undefined'],
    'send an object': [({ connection }) => connection.socket.send({}), 'throws ERR_INVALID_ARG_TYPE'],
    'send a symbol': [({ connection }) => connection.socket.send(Symbol('x')), 'throws ERR_INVALID_ARG_TYPE'],
    'close(1005)': [({ connection }) => connection.socket.close(1005), 'throws TypeError', 'returns undefined'],
    'close with a long reason': [
      ({ connection }) => connection.socket.close(1000, big),
      'throws RangeError',
      'returns undefined'
    ],
    close: [({ connection }) => connection.socket.close(), 'returns undefined'],
    terminate: [({ connection }) => connection.socket.terminate(), 'returns undefined'],
    'ping with too much': [({ connection }) => connection.socket.ping(big), 'throws RangeError', 'returns undefined'],
    'pong with too much': [({ connection }) => connection.socket.pong(big), 'throws RangeError', 'returns undefined'],
    removeAllListeners: [({ connection }) => void connection.socket.removeAllListeners(), 'returns undefined'],
    'pause and resume': [
      ({ connection: { socket } }) => {
        socket.pause()
        socket.resume()
      },
      'returns undefined'
    ],
    "emit('message') without data": [
      ({ connection }) => connection.socket.emit('message'),
      'throws TypeError',
      'returns false'
    ],
    "emit('message') with text": [
      ({ connection }) => connection.socket.emit('message', Buffer.from('{"type":"nope"}'), false),
      'returns false'
    ],
    "emit('ping')": [({ connection }) => connection.socket.emit('ping'), 'returns false'],
    "emit('error')": [({ connection }) => connection.socket.emit('error', new Error('x')), 'returns false'],
    "emit('close')": [({ connection }) => connection.socket.emit('close', 1000, Buffer.alloc(0)), 'returns true'],
    'a binaryType that is none': [
      ({ connection }) => void Reflect.set(connection.socket, 'binaryType', big),
      'returns undefined'
    ]
  }
}

const guardMisuses: Readonly<Record<string, Readonly<Record<string, Misuse>>>> = {
  'wsGuard.connections': { 'set it': [({ app }) => Reflect.set(app.wsGuard, 'connections', 0), 'returns false'] },
  'wsGuard.publish': {
    'no arguments': [({ app }) => Reflect.apply(app.wsGuard.publish, undefined, []), `throws ${option}`],
    'an unknown contract': [
      ({ app }) => app.wsGuard.publish({ ...contract }, 'topic', 'said', { text: 1 }),
      `throws ${option}`
    ],
    'an unknown type': [
      ({ app }) => app.wsGuard.publish(contract, 'topic', 'nope' as never, {} as never),
      `throws ${option}`
    ],
    'a symbol as type': [
      ({ app }) => app.wsGuard.publish(contract, 'topic', Symbol('x') as never, {} as never),
      `throws ${option}`
    ],
    'a symbol as topic': [
      ({ app }) => app.wsGuard.publish(contract, Symbol('x') as never, 'said', { text: 1 }),
      'throws TypeError'
    ],
    'no topic': [({ app }) => app.wsGuard.publish(contract, undefined as never, 'said', { text: 1 }), 'returns 0'],
    'a circle': [({ app }) => app.wsGuard.publish(contract, 'topic', 'said', { text: circle }), 'throws WSG_ERR_ENCODE']
  },
  'wsGuard.disconnect': {
    'no arguments': [({ app }) => Reflect.apply(app.wsGuard.disconnect, undefined, []), `rejects ${option}`],
    null: [({ app }) => app.wsGuard.disconnect(null as never), `rejects ${option}`],
    'nobody named': [({ app }) => app.wsGuard.disconnect({}), `rejects ${option}`],
    'an undefined name': [({ app }) => app.wsGuard.disconnect({ sub: undefined as never }), `rejects ${option}`],
    'a misspelt criterion': [({ app }) => app.wsGuard.disconnect({ user: 'mallory' } as never), `rejects ${option}`],
    'options that are null': [
      ({ app }) => app.wsGuard.disconnect({ sub: 'nobody' }, null as never),
      'rejects TypeError'
    ],
    'a Proxy that throws as reason': [
      ({ app, connection: { id } }) => app.wsGuard.disconnect({ id }, { reason: unreadable as never }),
      'resolves 1',
      'resolves 0'
    ]
  },
  'wsGuard.revoke': {
    'no arguments': [({ app }) => Reflect.apply(app.wsGuard.revoke, undefined, []), `rejects ${option}`],
    'two criteria': [({ app }) => app.wsGuard.revoke({ sub: 'a', sid: 'b' }), `rejects ${option}`],
    'seconds for ms': [
      ({ app }) => app.wsGuard.revoke({ sub: 'a' }, { issuedBefore: 1_700_000_000 }),
      `rejects ${option}`
    ],
    'a keepMs that is none': [
      ({ app }) => app.wsGuard.revoke({ sub: 'a' }, { keepMs: Number.NaN }),
      `rejects ${option}`
    ]
  },
  'wsGuard.block': {
    'no arguments': [({ app }) => Reflect.apply(app.wsGuard.block, undefined, []), 'rejects TypeError'],
    'no time': [({ app }) => app.wsGuard.block({ sub: 'a' }, {} as never), `rejects ${option}`],
    'no subject': [({ app }) => app.wsGuard.block({} as never, { untilMs: Date.now() }), `rejects ${option}`]
  },
  'wsGuard.unblock': {
    'no arguments': [({ app }) => Reflect.apply(app.wsGuard.unblock, undefined, []), 'rejects TypeError'],
    'no subject': [({ app }) => app.wsGuard.unblock({ sub: 1 as never }), `rejects ${option}`]
  },
  'wsGuard.issueTicket': {
    'no arguments': [({ app }) => Reflect.apply(app.wsGuard.issueTicket, undefined, []), 'rejects TypeError'],
    'no user': [({ app }) => app.wsGuard.issueTicket({ user: null, route: '/full' }), `rejects ${option}`],
    'another route': [({ app }) => app.wsGuard.issueTicket({ user: { sub: 'a' }, route: '/raw' }), `rejects ${option}`],
    'a user that is a function': [
      ({ app }) => app.wsGuard.issueTicket({ user: () => {}, route: '/full' }),
      `rejects ${option}`
    ],
    'a user that throws': [
      ({ app }) => app.wsGuard.issueTicket({ user: unreadable, route: '/full' }),
      `rejects ${option}`
    ],
    'a time that is none': [
      ({ app }) => app.wsGuard.issueTicket({ user: { sub: 'a' }, route: '/full', ttlMs: Number.NaN }),
      `rejects ${option}`
    ],
    'an origin that is none': [
      ({ app }) => app.wsGuard.issueTicket({ user: { sub: 'a' }, route: '/full', origin: 'evil' }),
      `rejects ${option}`
    ]
  },
  'wsGuard.routes': {
    'change what it returns': [
      ({ app }) => Reflect.set(app.wsGuard.routes()[0]?.limits ?? {}, 'topics', 0),
      'returns false'
    ]
  },
  'wsGuard.stats': {
    'change what it returns': [({ app }) => Reflect.deleteProperty(app.wsGuard.stats(), 'slots'), 'returns true']
  },
  // A handshake of injectWS that is refused is let go at its deadline: too long to wait for here.
  'app.injectWS': { 'null as context': [({ app }) => app.injectWS('/calm', null as never), 'throws TypeError'] },
  'app.wsRoute': {
    'while it listens': [
      ({ app }) => void app.wsRoute('/late', { auth: false, handler: () => {} }),
      'throws FST_ERR_INSTANCE_ALREADY_LISTENING'
    ],
    'no arguments': [({ app }) => void Reflect.apply(app.wsRoute, app, []), `throws ${option}`],
    'no options': [({ app }) => void Reflect.apply(app.wsRoute, app, ['/late', null]), `throws ${option}`],
    'a hook that a route has not': [
      ({ app }) => void app.wsRoute('/late', { auth: false, handler: () => {}, onSend: () => {} } as never),
      `throws ${option}`
    ]
  }
}

export const misuses: Readonly<Record<string, Readonly<Record<string, Misuse>>>> = {
  ...connectionMisuses,
  ...guardMisuses
}

export type Moment = 'authorize' | 'onOpen' | 'handler' | 'onClose' | 'after'

/** Where in the life of a connection it is done; for what is no method of one that makes no difference. */
export function momentsOf(method: string): readonly Moment[] {
  if (!method.startsWith('connection.')) return ['handler']
  const canEnd = method === 'connection.close' || method === 'connection.socket'
  return canEnd ? ['onOpen', 'handler', 'onClose', 'after'] : ['handler', 'after']
}

/** What came of a call, in words. */
export async function outcomeOfCall(run: () => unknown): Promise<string> {
  let value: unknown
  try {
    value = run()
  } catch (error) {
    return `throws ${nameOf(error)}`
  }
  if (!(value instanceof Promise)) return `returns ${String(value)}`
  return value.then(
    (settled) => `resolves ${String(settled)}`,
    (error) => `rejects ${nameOf(error)}`
  )
}

function nameOf(error: unknown): string {
  const { code, name } = error as { code?: string; name: string }
  return code ?? name
}
