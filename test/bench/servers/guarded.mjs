/**
 * A contract route of this package, every protection at its default. Raised are only the limits that the load itself
 * would run into: it comes from one address, as fast as it can.
 */
import { topic } from './messages.mjs'
import { contract, ownApp } from './own-app.mjs'
import { seen, serveFastify } from './serve.mjs'

const app = await ownApp()

app.wsRoute('/echo', {
  contract,
  onOpen() {
    seen.handshakes++
  },
  handlers: {
    chat({ room, seq, text }, connection) {
      seen.messages++
      connection.send('chat', { room, seq, text })
    }
  }
})

app.wsRoute('/fan', {
  contract,
  async onOpen(connection) {
    seen.handshakes++
    await connection.subscribe(topic)
  },
  handlers: {
    chat({ room, seq, text }) {
      seen.messages++
      app.wsGuard.publish(contract, topic, 'chat', { room, seq, text })
    }
  }
})

await serveFastify(app)
