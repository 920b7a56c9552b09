/** A program whose subscriber throws; with `handled` as argument, one that handles uncaught exceptions. */
import { subscribe } from 'node:diagnostics_channel'
import { injectWs } from '../../lib/testing.ts'
import { buildApp, echo, tokenFor } from '../support/app.ts'

let heard = 0
let uncaught = 0
if (process.argv[2] === 'handled') process.on('uncaughtException', () => void uncaught++)
for (const event of ['ws.open', 'ws.invalid', 'ws.close']) {
  subscribe(`fastify-ws-guard:${event}`, () => {
    throw new Error('the subscriber failed')
  })
  subscribe(`fastify-ws-guard:${event}`, () => void heard++)
}
const app = await buildApp({ server: { logger: true } })
app.wsRoute('/echo', {
  contract: echo,
  handlers: { say: ({ text }, connection) => void connection.send('said', { text }), ask: () => ({ items: [] }) }
})
const ws = await injectWs(app, '/echo', { contract: echo, token: tokenFor(app) })
ws.sendRaw('{"type":"x"}')
await ws.receive('error')
ws.send('say', { text: 'hello' })
const { text } = await ws.receive('said')
ws.close()
await app.close()
console.log(JSON.stringify({ served: text, heard, uncaught }))
