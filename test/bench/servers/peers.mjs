/**
 * The peers that are no Fastify, and what the generator has to send to each, so that the JSON inside is the same and
 * every frame comes back as it went out.
 */
import { createRequire } from 'node:module'

/** The path of Bun's binary; undefined where the optional package is not installed (it is for Linux on x64). */
export const bun = findBun()

function findBun() {
  try {
    return createRequire(import.meta.url).resolve('@oven/bun-linux-x64/bin/bun')
  } catch {
    return undefined
  }
}

/**
 * - `wrap`: the text frame that carries the JSON of one message
 * - `prelude`: sent after the 101, and how many text frames come before the connection is ready for messages
 * - `does`, `doesNot`: for the table, beside the JWT before the 101 and the echo of a message built anew
 */
export const peers = [
  {
    name: 'socket-io',
    file: 'socket-io.mjs',
    runtime: 'node',
    paths: {
      echo: '/socket.io/?EIO=4&transport=websocket',
      fan: '/socket.io/?EIO=4&transport=websocket&room=fan'
    },
    wrap: (json) => `42["chat",${json}]`,
    // The server sends 0{…} (engine open) by itself and answers 40 (connect) with 40{…}.
    prelude: { text: '40', replies: 2 },
    does: 'jsonwebtoken in allowRequest, zod',
    doesNot: 'no Origin check, no rate limit; a handshake ends at the 101, before its own connect packet'
  },
  {
    name: 'nest',
    file: 'nest.mjs',
    runtime: 'node',
    paths: { echo: '/echo', fan: '/fan' },
    wrap: (json) => `{"event":"chat","data":${json}}`,
    prelude: undefined,
    does: 'WsAdapter, jsonwebtoken in verifyClient, zod in a pipe',
    doesNot: 'no Origin check, no rate limit'
  },
  {
    name: 'elysia',
    file: 'elysia.mjs',
    runtime: 'bun',
    paths: { echo: '/echo', fan: '/fan' },
    wrap: (json) => json,
    prelude: undefined,
    does: 'its JWT plugin, its TypeBox check',
    doesNot: 'no Origin check, no rate limit; another runtime'
  }
]
