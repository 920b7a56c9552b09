/** DEMO ONLY: what the attack console needs to show its work. Never have these routes in your app. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { FastifyInstance } from 'fastify'
import { neverCache, requireToken } from './session.ts'

interface Refused {
  status: number
  reason: string
}

/** The last refusal of each address. */
export interface Refusals {
  remember(ip: string, refused: Refused): unknown
  last(ip: string): Refused | null | Promise<Refused | null>
}

const channel = 'fastify-ws-guard:ws.refused'

export async function demoRoutes(app: FastifyInstance, { refusals = inMemory() }: { refusals?: Refusals }) {
  app.addHook('onRequest', neverCache)

  // The caller's own token, as it will look when it has expired.
  app.post('/demo/expired-token', { preValidation: requireToken }, async (request) => {
    const { sub, rooms } = request.user
    const yesterday = Math.floor(Date.now() / 1000) - 86_400
    return { token: app.jwt.sign({ sub, rooms, iat: yesterday }) }
  })

  // Why the last handshake from the caller's address was refused. Clients are never told, so this reads the guard's
  // own events, as your metrics would.
  const remember = (event: unknown) => {
    const { ip, status, reason } = event as Refused & { ip: string }
    refusals.remember(ip, { status, reason })
  }
  subscribe(channel, remember)
  app.addHook('onClose', async () => {
    unsubscribe(channel, remember)
  })
  app.get('/demo/last-refusal', { preValidation: requireToken }, async (request) => {
    return (await refusals.last(request.ip)) ?? { status: 0, reason: 'nothing refused yet' }
  })
}

/** A hundred addresses are remembered. */
function inMemory(): Refusals {
  const byAddress = new Map<string, Refused>()
  return {
    remember(ip, refused) {
      byAddress.delete(ip)
      byAddress.set(ip, refused)
      for (const oldest of byAddress.keys()) if (byAddress.size > 100) byAddress.delete(oldest)
    },
    last: (ip) => byAddress.get(ip) ?? null
  }
}
