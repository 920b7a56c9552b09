/** DEMO ONLY: what the attack console needs to show its work. Never have these routes in your app. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { FastifyInstance } from 'fastify'
import { neverCache, requireToken } from './session.ts'

interface Refused {
  status: number
  reason: string
  ip: string
}

const channel = 'fastify-ws-guard:ws.refused'

export async function demoRoutes(app: FastifyInstance): Promise<void> {
  app.addHook('onRequest', neverCache)

  // The caller's own token, as it will look when it has expired.
  app.post('/demo/expired-token', { preValidation: requireToken }, async (request) => {
    const { sub, rooms } = request.user
    const yesterday = Math.floor(Date.now() / 1000) - 86_400
    return { token: app.jwt.sign({ sub, rooms, iat: yesterday }) }
  })

  // Why the last handshake from the caller's address was refused. Clients are never told, so this reads the guard's
  // own events, as your metrics would. A hundred addresses are remembered.
  const refusals = new Map<string, Refused>()
  const remember = (event: unknown) => {
    const { status, reason, ip } = event as Refused
    refusals.delete(ip)
    refusals.set(ip, { status, reason, ip })
    for (const oldest of refusals.keys()) if (refusals.size > 100) refusals.delete(oldest)
  }
  subscribe(channel, remember)
  app.addHook('onClose', async () => {
    unsubscribe(channel, remember)
  })
  app.get('/demo/last-refusal', { preValidation: requireToken }, async (request) => {
    const { status, reason } = refusals.get(request.ip) ?? { status: 0, reason: 'nothing refused yet' }
    return { status, reason }
  })
}
