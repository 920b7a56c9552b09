/** Elysia on Bun: the JWT plugin and the TypeBox check that it brings along. Runs on Bun only. */
import { jwt } from '@elysiajs/jwt'
import { Elysia, t } from 'elysia'
import { maxText, secret } from './messages.mjs'
import { answerAsks, seen } from './serve.mjs'

const { Bun } = globalThis
globalThis.gc ??= () => Bun.gc(true)

const chat = t.Object(
  {
    type: t.Literal('chat'),
    room: t.String({ format: 'uuid' }),
    seq: t.Integer({ minimum: 0 }),
    text: t.String({ maxLength: maxText })
  },
  { additionalProperties: false }
)

const rebuild = ({ type, room, seq, text }) => ({ type, room, seq, text })

const app = new Elysia()
  .use(jwt({ name: 'jwt', secret }))
  .onBeforeHandle(async ({ jwt, headers, status }) => {
    seen.handshakes++
    const [scheme, token] = (headers.authorization ?? '').split(' ')
    if (scheme !== 'Bearer' || (await jwt.verify(token, { algorithms: ['HS256'] })) === false) return status(401)
  })
  .ws('/echo', {
    body: chat,
    message(ws, message) {
      seen.messages++
      ws.send(rebuild(message))
    }
  })
  .ws('/fan', {
    body: chat,
    open(ws) {
      ws.subscribe('fan')
    },
    message(_ws, message) {
      seen.messages++
      app.server.publish('fan', JSON.stringify(rebuild(message)))
    }
  })

app.listen({ port: 0, hostname: '127.0.0.1' }, ({ port }) => answerAsks(port))
