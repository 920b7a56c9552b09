/**
 * A node whose subscribers ask for their topic, or whose one client makes the app publish to it. With BENCH_REDIS, the
 * URL of a Redis, it is one of several. Raised are only the limits that the load itself would run into.
 */
import { topic } from './messages.mjs'
import { contract, ownApp } from './own-app.mjs'
import { ownFile } from './own-package.mjs'
import { seen, serveFastify } from './serve.mjs'

const app = await ownApp(await sharedStore(process.env.BENCH_REDIS))

/** What comes back says that from now on everything that is published to the topic is delivered. */
app.wsRoute('/subscribe', {
  contract,
  onOpen() {
    seen.handshakes++
  },
  handlers: {
    async chat({ room, seq, text }, connection) {
      await connection.subscribe(topic)
      connection.send('chat', { room, seq, text })
    }
  }
})

app.wsRoute('/publish', {
  contract,
  handlers: {
    chat({ room, seq, text }) {
      seen.messages++
      app.wsGuard.publish(contract, topic, 'chat', { room, seq, text })
    }
  }
})

await serveFastify(app)

async function sharedStore(url) {
  if (url === undefined) return {}
  const [{ Redis }, { redisStore }] = await Promise.all([import('ioredis'), ownFile('redis')])
  const redis = new Redis(url)
  // Its end is this process's end, too: nobody has to be told.
  redis.on('error', () => {})
  return { store: redisStore(redis) }
}
