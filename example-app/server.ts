/**
 * A guarded chat. Start it with `npm run example` and open the address it prints; settings are environment variables,
 * see README.md beside this file.
 */
import { randomBytes } from 'node:crypto'
import { argv, env } from 'node:process'
import { pathToFileURL } from 'node:url'
import jwt from '@fastify/jwt'
import rateLimit from '@fastify/rate-limit'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
// In your app this is 'fastify-ws-guard'; here it is the source beside us, so that the example runs without a build.
import wsGuard, { type WsGuardOptions } from '../lib/index.ts'
import { chat } from './contract.ts'
import { demoRoutes } from './demo.ts'
import { page } from './page.ts'
import { openRooms, type Room, type Rooms } from './rooms.ts'
import { sessionRoutes, tokenLifetimeSeconds } from './session.ts'

export interface ExampleOptions {
  /** The addresses at which people open the page, such as `https://chat.example.com`. */
  origins: string[]
  /** Signs the tokens. Default: random, so that a restart signs everybody out. */
  secret?: string
  /** Addresses of your own proxies; only they are believed about the client's address and TLS. Default: none. */
  trustedProxies?: string[]
  /** For several nodes: the Redis they share. They need the same `secret`. Default: everything is in memory. */
  redisUrl?: string
  /** Default: the defaults of the plugin. */
  limits?: WsGuardOptions['limits']
  logger?: FastifyServerOptions['logger']
}

export async function buildApp(options: ExampleOptions): Promise<FastifyInstance> {
  const proxies = options.trustedProxies ?? []
  const behindTls = proxies.length > 0 && options.origins.every((origin) => origin.startsWith('https:'))
  const secret = options.secret ?? randomBytes(32).toString('base64url')
  const app: FastifyInstance = Fastify({
    logger: options.logger ?? false,
    bodyLimit: 16_384,
    trustProxy: proxies.length > 0 ? proxies : false
  })

  const shared = options.redisUrl ? (await import('./redis.ts')).openRedis(app, options.redisUrl, secret) : undefined

  await app.register(rateLimit, { global: false, ...(shared && { store: shared.store.Attempts }) })
  await app.register(jwt, {
    secret,
    sign: { algorithm: 'HS256', expiresIn: tokenLifetimeSeconds }
  })
  await app.register(wsGuard, {
    origins: options.origins,
    auth: { from: ['header', 'subprotocol'] },
    ...(behindTls && { requireTls: true }), // the proxies end it; elsewhere the default holds
    limits: { ...options.limits, maxPayloadBytes: 4096 }, // a chat line is 500 characters
    ...(shared && { store: shared.store })
  })
  await app.register(page)
  await app.register(sessionRoutes)
  await app.register(demoRoutes, { ...(shared && { refusals: shared.refusals }) })
  chatRoute(app, shared?.rooms ?? openRooms())
  return app
}

function chatRoute(app: FastifyInstance, rooms: Rooms): void {
  const topic = (room: string) => `room:${room}`
  const roomOf = (id: string) => rooms.get(id) as Room // authorize has let only rooms of the token through
  const announce = async (id: string) => {
    app.wsGuard.publish(chat, topic(id), 'presence', await roomOf(id).presence())
  }
  rooms.watch?.(announce)

  app.wsRoute('/chat/:room', {
    contract: chat,
    schema: { params: Type.Object({ room: Type.String({ maxLength: 32 }) }) },
    authorize: (user, request) => rooms.has(request.params.room) && user.rooms.includes(request.params.room),
    async onOpen(connection) {
      const { room } = connection.params
      await roomOf(room).enter(connection.user.sub) // the first thing awaited: onClose always comes after
      await connection.subscribe(topic(room))
      await announce(room)
    },
    handlers: {
      async chat(message, connection) {
        const { room } = connection.params
        const line = await roomOf(room).say(connection.user.sub, message.text)
        app.wsGuard.publish(chat, topic(room), 'chat', line)
        return { id: line.id }
      },
      history: {
        cost: 5,
        handler: async (message, connection) => ({ items: await roomOf(connection.params.room).last(message.limit) })
      }
    },
    async onClose(connection) {
      const { room } = connection.params
      await roomOf(room).leave(connection.user.sub)
      await announce(room)
    }
  })
}

const list = (value: string | undefined) => (value ? value.split(',').map((item) => item.trim()) : undefined)

async function start(): Promise<void> {
  const port = Number(env.PORT ?? 3000)
  const host = env.HOST ?? '127.0.0.1'
  // BEHIND_PROXY=1 trusts a proxy on this machine; BEHIND_PROXY=10.0.0.5,10.0.0.6 trusts those.
  const proxies = env.BEHIND_PROXY === '1' ? ['127.0.0.1', '::1'] : list(env.BEHIND_PROXY)
  if (env.REDIS_URL && !env.JWT_SECRET) throw new Error('REDIS_URL needs a JWT_SECRET, the same on all nodes')
  const app = await buildApp({
    origins: list(env.ORIGINS) ?? [`http://127.0.0.1:${port}`, `http://localhost:${port}`],
    logger: { level: env.LOG_LEVEL ?? 'info' },
    ...(env.JWT_SECRET && { secret: env.JWT_SECRET }),
    ...(env.REDIS_URL && { redisUrl: env.REDIS_URL }),
    ...(proxies && { trustedProxies: proxies })
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => app.close())
  await app.listen({ port, host })
  if (!proxies) console.log(`\n  The chat is at http://${host}:${port} (open it in two windows)\n`)
}

if (import.meta.url === pathToFileURL(argv[1] ?? '').href) await start()
