/** A guarded route with one real connection, whose parts the micro-benchmarks then call one by one. */
import { once } from 'node:events'
import { Writable } from 'node:stream'
import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import WebSocket from 'ws'
import { claimsOf, origin, secret } from './servers/messages.mjs'
import { contract } from './servers/own-app.mjs'
import { ownFile } from './servers/own-package.mjs'

const { default: wsGuard } = await ownFile('index')

/** So much that no limit is ever reached. */
const unlimited = { perSecond: 2 ** 31 - 1, burst: 2 ** 31 - 1 }

/**
 * @returns the app, the request and the connection of the handshake, its token, and what ends them all. What the
 * connection writes goes nowhere: system calls are not what is measured here.
 */
export async function openSetting() {
  const app = Fastify({ logger: false })
  await app.register(jwt, { secret })
  await app.register(wsGuard, { origins: [origin], auth: {} })
  const opened = Promise.withResolvers?.() ?? withResolvers()
  app.wsRoute('/echo', {
    contract,
    limits: { attempts: { max: 1e9 }, messages: unlimited, bytes: unlimited },
    onOpen: (connection, request) => opened.resolve({ connection, request }),
    handlers: { chat: () => {} }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const token = app.jwt.sign(claimsOf(1))
  const headers = { authorization: `Bearer ${token}` }
  const client = new WebSocket(`ws://127.0.0.1:${app.server.address().port}/echo`, 'ws-guard.v1', { origin, headers })
  await once(client, 'open')
  const { connection, request } = await opened.promise
  const raw = connection.socket._socket
  connection.socket._socket = new Writable({ decodeStrings: false, write: (_chunk, _encoding, done) => done() })
  const close = async () => {
    connection.socket._socket = raw
    client.terminate()
    await app.close()
  }
  return { app, connection, request, token, close }
}

/** For Node 20, which has no `Promise.withResolvers`. */
function withResolvers() {
  const parts = {}
  parts.promise = new Promise((resolve) => Object.assign(parts, { resolve }))
  return parts
}
