/** Public methods called inside each other. */
import { contract } from './contract.ts'
import type { Context } from './misuse.ts'

interface Nesting {
  readonly when: 'authorize' | 'onOpen' | 'handler' | 'onClose'
  readonly run: (context: Context) => unknown
  /** What the call comes to. */
  readonly outcome: string
  /** What the client sees next, before it leaves of its own. */
  readonly sees: string
}

const said = { text: 'x' }

/** A value that does something when it is read. */
function reading(act: () => unknown): object {
  return {
    get text() {
      act()
      return 'x'
    }
  }
}

function closeApp({ app }: Context): void {
  app.close().then(
    () => process.send?.({ isClosed: true }),
    () => {}
  )
}

/** The end of the server they are called on. */
export const endings: Readonly<Record<string, Nesting>> = {
  'app.close() in a handler, twice': {
    when: 'handler',
    run: (context) => {
      context.app.close().catch(() => {})
      closeApp(context)
    },
    outcome: 'returns undefined',
    sees: '1012 restart'
  },
  'app.close() in authorize': {
    when: 'authorize',
    run: closeApp,
    outcome: 'returns undefined',
    sees: '1012 restart'
  },
  'app.close() in onClose': { when: 'onClose', run: closeApp, outcome: 'returns undefined', sees: '1000 ' }
}

export const nestings: Readonly<Record<string, Nesting>> = {
  'close in onOpen': {
    when: 'onOpen',
    run: ({ connection }) => connection.close(4000, 'no'),
    outcome: 'returns undefined',
    sees: '4000 no'
  },
  'close in onClose': {
    when: 'onClose',
    run: ({ connection }) => connection.close(4000, 'no'),
    outcome: 'returns undefined',
    sees: '1000 '
  },
  'terminate in onClose': {
    when: 'onClose',
    run: ({ connection }) => connection.socket.terminate(),
    outcome: 'returns undefined',
    sees: '1000 '
  },
  'send in onClose': {
    when: 'onClose',
    run: ({ connection }) => connection.send('said', said),
    outcome: 'returns false',
    sees: '1000 '
  },
  'subscribe and publish in onClose': {
    when: 'onClose',
    run: async ({ app, connection }) => {
      const isIn = await connection.subscribe('topic')
      return `${isIn} ${app.wsGuard.publish(contract, 'topic', 'said', said)}`
    },
    outcome: 'resolves false 0',
    sees: '1000 '
  },
  'disconnect everybody of the route in onClose': {
    when: 'onClose',
    run: ({ app }) => app.wsGuard.disconnect({ route: '/act' }),
    outcome: 'resolves 0',
    sees: '1000 '
  },
  'disconnect oneself in onOpen': {
    when: 'onOpen',
    run: ({ app, connection: { id } }) => app.wsGuard.disconnect({ id }),
    outcome: 'resolves 1',
    sees: '4003 revoked'
  },
  'disconnect oneself in a handler': {
    when: 'handler',
    run: ({ app, connection: { id } }) => app.wsGuard.disconnect({ id }),
    outcome: 'resolves 1',
    sees: '4003 revoked'
  },
  'revoke oneself in a handler': {
    when: 'handler',
    run: ({ app }) => app.wsGuard.revoke({ sub: 'mallory' }, { keepMs: 1 }),
    outcome: 'resolves 1',
    sees: '4003 revoked'
  },
  // Kept for longer than a handshake takes, and not for longer than a test waits.
  'revoke oneself in authorize': {
    when: 'authorize',
    run: ({ app }) => app.wsGuard.revoke({ sub: 'mallory' }, { keepMs: 500 }),
    outcome: 'resolves 0',
    sees: '4003 revoked'
  },
  'close and terminate in a handler': {
    when: 'handler',
    run: ({ connection }) => {
      connection.close()
      connection.close(4000)
      connection.socket.terminate()
      return connection.send('said', said)
    },
    outcome: 'returns false',
    sees: '1000 '
  },
  'a message that closes its connection when it is read': {
    when: 'handler',
    run: ({ connection }) =>
      connection.send(
        'said',
        reading(() => connection.close(4000, 'no'))
      ),
    outcome: 'returns false',
    sees: '4000 no'
  },
  'a message that sends another when it is read': {
    when: 'handler',
    run: ({ connection }) =>
      connection.send(
        'said',
        reading(() => connection.send('said', said))
      ),
    outcome: 'returns true',
    sees: 'said'
  },
  'a broadcast that ends its subscriber when it is read': {
    when: 'handler',
    run: async ({ app, connection }) => {
      await connection.subscribe('topic')
      return app.wsGuard.publish(contract, 'topic', 'said', reading(() => connection.socket.terminate()) as typeof said)
    },
    outcome: 'resolves 0',
    sees: 'destroyed'
  },
  'a signal whose listener closes': {
    when: 'handler',
    run: ({ connection }) => {
      connection.signal.addEventListener('abort', () => connection.close(4001))
      connection.close(4000, 'no')
    },
    outcome: 'returns undefined',
    sees: '4000 no'
  },
  'no listener left when a frame comes that is none': {
    when: 'handler',
    run: ({ connection }) => void connection.socket.removeAllListeners(),
    outcome: 'returns undefined',
    sees: 'reply {"did":"returns undefined"}'
  }
}
