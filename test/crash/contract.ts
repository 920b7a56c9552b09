/** What the parent and the child process share; it loads no server. */
import { Type } from '@sinclair/typebox'
import { defineContract } from '../../lib/contract.ts'

export const origin = 'https://app.example.com'

export const contract = defineContract({
  name: 'crash',
  clientToServer: {
    say: Type.Object({ text: Type.String({ maxLength: 100 }) }),
    ask: { message: Type.Object({}), reply: Type.Object({ text: Type.Unknown() }) },
    locked: Type.Object({}),
    costly: Type.Object({}),
    join: { message: Type.Object({}), reply: Type.Boolean() },
    send: {
      message: Type.Object({ how: Type.String({ maxLength: 20 }) }),
      reply: Type.Object({ text: Type.Unknown() })
    },
    guard: { message: Type.Object({ what: Type.String({ maxLength: 20 }) }), reply: Type.Unknown() },
    shaped: Type.Object({ text: Type.String({ format: 'crash', maxLength: 100 }) }),
    act: { message: Type.Object({ what: Type.String({ maxLength: 100 }) }), reply: Type.Object({ did: Type.String() }) }
  },
  serverToClient: { said: Type.Object({ text: Type.Unknown() }) }
})
