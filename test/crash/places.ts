/** Every place of a route where code of a developer's runs, and how a client comes there. */
import { firstMessage, goodbye, handshake, messages, reauthorized } from './drives.ts'
import { auth, ended, failed, internal, open, type Place, slow, timeout, unavailable } from './outcomes.ts'

export const handshakePlaces: Readonly<Record<string, Place>> = {
  'auth.verify': {
    drive: handshake('/full'),
    fails: unavailable,
    hangs: timeout,
    nothing: ['401', 'ws.refused invalid_credential']
  },
  'auth.identity': {
    drive: handshake('/full'),
    fails: unavailable,
    nothing: ['401', 'ws.refused invalid_credential'],
    promise: unavailable
  },
  authorize: { drive: handshake('/full'), fails: failed, hangs: timeout, nothing: ['403', 'ws.refused forbidden'] },
  'authorize (refuse: close)': {
    drive: handshake('/close'),
    fails: ['1011 internal', 'ws.refused hook_failed'],
    hangs: ['1013 unavailable', 'ws.refused handshake_timeout'],
    nothing: ['4003 forbidden', 'ws.refused forbidden']
  },
  data: { drive: handshake('/full'), fails: failed, hangs: timeout, nothing: open },
  keyGenerator: { drive: handshake('/full'), fails: unavailable, hangs: timeout, nothing: open },
  allowList: { drive: handshake('/full'), fails: unavailable, hangs: timeout, nothing: open },
  ...Object.fromEntries(
    ['onRequest', 'preParsing', 'preValidation', 'preHandler', 'preHandler.second'].map((name): [string, Place] => [
      name,
      { drive: handshake('/full'), fails: failed, hangs: timeout, nothing: timeout, isHook: true, falsy: open }
    ])
  )
}

export const connectionPlaces: Readonly<Record<string, Place>> = {
  'auth.verify (first message)': {
    drive: firstMessage,
    fails: ended('ws.auth_failed unavailable'),
    hangs: ended('ws.close unavailable'),
    nothing: ['4001 unauthorized', 'ws.auth_failed unauthorized']
  },
  'auth.identity (first message)': {
    drive: firstMessage,
    fails: ended('ws.auth_failed unavailable'),
    nothing: ['4001 unauthorized', 'ws.auth_failed unauthorized'],
    promise: ended('ws.auth_failed unavailable')
  },
  'authorize (first message)': {
    drive: firstMessage,
    fails: ['1011 internal', 'ws.handler_error authorize'],
    hangs: ended('ws.close unavailable'),
    nothing: ['4003 forbidden', 'ws.forbidden forbidden']
  },
  'data (first message)': {
    drive: firstMessage,
    fails: ['1011 internal', 'ws.handler_error data'],
    hangs: ended('ws.close unavailable'),
    nothing: ['auth_ok']
  },
  'auth.verify (refresh)': {
    drive: messages(auth),
    fails: ended('ws.auth_failed unavailable'),
    hangs: slow,
    nothing: ['4001 unauthorized', 'ws.auth_failed unauthorized']
  },
  'authorize (refresh)': {
    drive: messages(auth),
    fails: ended('ws.handler_error authorize'),
    hangs: slow,
    nothing: ['4003 forbidden', 'ws.forbidden refresh']
  },
  'authorize (again)': {
    drive: reauthorized,
    fails: ended('ws.handler_error authorize'),
    hangs: ended('ws.close unavailable'),
    nothing: ['4003 forbidden', 'ws.forbidden reauthorize']
  },
  'handler.authorize': {
    drive: messages({ type: 'locked', ref: 1 }),
    fails: internal,
    hangs: slow,
    nothing: ['forbidden', 'ws.forbidden handler']
  },
  topics: {
    drive: messages({ type: 'join', ref: 1 }),
    fails: ['reply false', 'ws.handler_error topics'],
    nothing: ['reply false'],
    promise: ['reply false']
  },
  'topics (refresh)': {
    drive: messages({ type: 'join', ref: 1 }, auth),
    fails: ['auth_ok', 'ws.handler_error topics'],
    nothing: ['auth_ok'],
    promise: ['auth_ok']
  },
  onOpen: {
    drive: async (visit) => {
      const shake = handshake('/full')
      await visit.arm()
      if (visit.expected !== 'said') return shake(visit)
      await shake({ ...visit, expected: 'open' })
      await visit.client.sendJson({ type: 'say', text: 'x' })
      return (await visit.client.nextJson<{ type: string }>()).type
    },
    fails: ['1011 internal', 'ws.handler_error onOpen'],
    hangs: slow,
    nothing: ['said']
  },
  rawHandler: {
    drive: handshake('/raw'),
    fails: ['1011 internal', 'ws.handler_error onOpen'],
    hangs: open,
    nothing: open
  },
  handler: {
    drive: messages({ type: 'say', text: 'x', ref: 1 }),
    fails: internal,
    hangs: slow,
    nothing: ['reply null']
  },
  'handler.reply': { drive: messages({ type: 'ask', ref: 1 }), fails: internal, hangs: slow, nothing: internal },
  onError: {
    drive: messages({ type: 'say', text: 'fail' }),
    fails: ['internal', 'ws.handler_error onError'],
    hangs: internal,
    nothing: internal
  },
  onClose: {
    drive: goodbye,
    fails: ['1000 ', 'ws.handler_error onClose'],
    hangs: ['1000 '],
    nothing: ['1000 ']
  },
  format: {
    drive: messages({ type: 'shaped', text: 'x', ref: 1 }),
    fails: ['invalid_message', 'ws.invalid invalid_message'],
    nothing: ['invalid_message', 'ws.invalid invalid_message'],
    isSync: true
  },
  ...Object.fromEntries(
    ['send', 'reply', 'publish'].flatMap((how): [string, Place][] =>
      ['getter', 'toJSON'].map((what) => [
        `${what} (${how})`,
        {
          drive: messages(
            { type: 'join', ref: 1 },
            { type: 'send', how: `${how} ${what === 'toJSON' ? 'json' : ''}`, ref: 1 }
          ),
          fails: internal,
          // JSON leaves out what says that it is nothing.
          ...(what === 'getter' && { nothing: internal }),
          isSync: true
        }
      ])
    )
  )
}
