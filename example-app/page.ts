/** The page: static files, a strict Content-Security-Policy, and the contract as a module that a browser can load. */
import { fileURLToPath } from 'node:url'
import helmet from '@fastify/helmet'
import staticFiles from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import { closeCauses, closeCodes } from '../lib/close-codes.ts' // in your app: 'fastify-ws-guard'
import { chat, rooms } from './contract.ts'

// TypeBox schemas are JSON Schema, and the close codes are a table: JSON is all it takes to share them.
const contractModule = Object.entries({ contract: chat, rooms, closeCodes, closeCauses })
  .map(([name, value]) => `export const ${name} = ${JSON.stringify(value, null, 2)}\n`)
  .join('\n')

/** Nothing from other places, nothing inline, nobody frames it. `'self'` covers ws: and wss: of the same origin. */
const contentSecurityPolicy = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'"],
    connectSrc: ["'self'"],
    formAction: ["'self'"],
    baseUri: ["'none'"],
    frameAncestors: ["'none'"],
    requireTrustedTypesFor: ["'script'"]
  }
}

export async function page(app: FastifyInstance): Promise<void> {
  await app.register(helmet, { contentSecurityPolicy, xFrameOptions: { action: 'deny' } })
  await app.register(staticFiles, { root: fileURLToPath(new URL('public', import.meta.url)), maxAge: 0 })
  app.get('/contract.js', async (_request, reply) => reply.type('text/javascript').send(contractModule))
}
