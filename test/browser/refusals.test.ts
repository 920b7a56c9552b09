/** What a script in a real page learns of a refusal: nothing by default, the reason with `refuse: 'close'`. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import jwt from '@fastify/jwt'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Browser, Page } from 'playwright-core'
import wsGuard from '../../lib/index.ts'
import { freePort, skipWithout } from '../proxies/processes.ts'
import { secret, tokenFor } from '../support/app.ts'
import { launchChromium } from './chromium.ts'

/** Paths below `/close` and `/http`, and what the page of the first reads; `good` stands for a token that is. */
const refusals: ReadonlyArray<readonly [path: string, token: string | undefined, close: readonly [number, string]]> = [
  ['/ws', 'rubbish', [4001, 'unauthorized']],
  ['/ws', undefined, [4001, 'unauthorized']],
  ['/ws?token=good&n=1', 'good', [1008, 'bad_request']],
  ['/foreign', 'good', [4003, 'forbidden']],
  ['/not-allowed', 'good', [4003, 'forbidden']],
  ['/once', 'good', [1013, 'too_many_requests']],
  ['/broken', 'good', [1011, 'internal']],
  ['/down', 'good', [1013, 'unavailable']]
]

/** Run in the page: opens a socket and tells everything that a script can see of it. */
const knock = `(url, protocols) => new Promise((resolve) => {
  const seen = { opened: 0, messages: [] }
  const socket = new WebSocket(url, protocols)
  socket.onopen = () => { seen.opened++; socket.send('{"type":"hello"}') }
  socket.onmessage = ({ data }) => seen.messages.push(data)
  socket.onclose = ({ code, reason, wasClean }) => resolve({ ...seen, code, reason, wasClean })
})`

interface Seen {
  readonly opened: number
  readonly messages: readonly string[]
  readonly code: number
  readonly reason: string
  readonly wasClean: boolean
}

describe('refusals in Chromium', { skip: skipWithout('chromium'), timeout: 60_000 }, () => {
  let app: FastifyInstance
  let browser: Browser
  let page: Page
  let port: number
  const called: string[] = []

  const declare = (refuse: 'http' | 'close', own: string): void => {
    const from = ['subprotocol', 'query'] as const
    const handler = (): void => void called.push(refuse)
    const at = (path: string, options: object): void => {
      app.wsRoute(`/${refuse}${path}`, { refuse, auth: { from }, handler, ...options } as { handler: () => void })
    }
    at('/ws', {})
    at('/foreign', { origins: [own.replace('127.0.0.1', 'localhost')] })
    at('/not-allowed', { authorize: () => false })
    // Whoever was here before has used it up.
    at('/once', { limits: { attempts: { max: 1, timeWindow: 3_600_000, keyGenerator: () => refuse } } })
    at('/broken', { preHandler: async () => Promise.reject(new Error('canary')) })
    at('/down', { auth: { from, verify: async () => Promise.reject(new Error('canary')) } })
  }

  const open = async (path: string, token: string | undefined): Promise<Seen> => {
    const protocols = token === undefined ? ['ws-guard.v1'] : ['ws-guard.v1', `bearer.${token}`]
    const url = `ws://127.0.0.1:${port}${path}`
    return page.evaluate<Seen>(`(${knock})(${JSON.stringify(url)}, ${JSON.stringify(protocols)})`)
  }

  before(async () => {
    port = await freePort()
    const own = `http://127.0.0.1:${port}`
    app = Fastify() as unknown as FastifyInstance
    await app.register(jwt, { secret })
    await app.register(wsGuard, { origins: [own], auth: {} })
    app.get('/', (_request, reply) => reply.type('text/html').send('<!doctype html><title>A page</title>'))
    declare('http', own)
    declare('close', own)
    await app.listen({ port, host: '127.0.0.1' })
    browser = await launchChromium()
    page = await (await browser.newContext()).newPage()
    await page.goto(own)
  })
  after(async () => {
    await browser?.close()
    await app?.close()
  })

  test('what is refused below would open with its token, and does so once', async () => {
    const token = tokenFor(app)
    for (const refuse of ['http', 'close']) {
      for (const path of ['/ws', '/once']) {
        const protocols = JSON.stringify(['ws-guard.v1', `bearer.${token}`])
        const url = `ws://127.0.0.1:${port}/${refuse}${path}`
        const opened = await page.evaluate<string>(`new Promise((resolve) => {
          const socket = new WebSocket(${JSON.stringify(url)}, ${protocols})
          socket.onopen = () => { resolve(socket.protocol); socket.close() }
          socket.onclose = ({ code }) => resolve(String(code))
        })`)
        assert.equal(opened, 'ws-guard.v1', url)
      }
    }
    assert.equal(called.length, 4)
    called.length = 0
  })

  for (const [path, token, [code, reason]] of refusals) {
    test(`H13: ${path} with ${token ?? 'no token'}: a script reads 1006 with 'http', ${code} ${reason} with 'close'`, async () => {
      const real = token === 'good' ? tokenFor(app) : token
      const closed = await open(`/close${path}`, real)
      assert.deepEqual(closed, { opened: 1, messages: [], code, reason, wasClean: true })
      const refused = await open(`/http${path}`, real)
      assert.deepEqual(refused, { opened: 0, messages: [], code: 1006, reason: '', wasClean: false })
      assert.deepEqual(called, [], 'nobody came in')
    })
  }
})
