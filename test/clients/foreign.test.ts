/** Clients nobody here wrote: each signs in, sends a message, gets its reply, an error message, and a close code. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { FastifyInstance } from 'fastify'
import { WebSocket as UndiciWebSocket } from 'undici'
import { WebSocket as Ws } from 'ws'
import { buildApp } from '../../example-app/server.ts'
import { launchChromium } from '../browser/chromium.ts'
import { freePort, python, skipWithout } from '../proxies/processes.ts'

/** What each client reports, whatever it is written in. */
interface Report {
  readonly protocol: string
  /** Whatever came before the close, in order. */
  readonly messages: ReadonlyArray<{ type: string; ref?: unknown; [key: string]: unknown }>
  readonly close: { readonly code: number; readonly reason: string }
}

// What every client sends: a message with a ref, a message that is wrong, and after their answers something that is
// not even JSON.
const script = ['{"type":"history","limit":5,"ref":7}', '{"type":"chat","text":7,"ref":"b"}', 'not JSON']

function check(report: Report): void {
  assert.equal(report.protocol, 'ws-guard.v1')
  const reply = report.messages.find(({ type }) => type === 'reply')
  assert.deepEqual(reply, { type: 'reply', ref: 7, data: { items: [] } })
  const error = report.messages.find(({ type }) => type === 'error')
  assert.equal(error?.code, 'invalid_message')
  assert.equal(error?.ref, 'b')
  assert.deepEqual(report.close, { code: 1007, reason: 'invalid_json' })
}

/** The part that the browser, `ws` and undici share: the standard's interface. */
interface StandardSocket {
  readonly protocol: string
  onopen: unknown
  onmessage: unknown
  onclose: unknown
  onerror: unknown
  send(data: string): void
}

// Runs in Node and, as text, in Chromium: nothing from outside it may be used.
function converse(socket: StandardSocket, frames: readonly string[]): Promise<Report> {
  return new Promise((resolve, reject) => {
    const messages: Array<{ type: string }> = []
    socket.onopen = () => {
      for (const frame of frames.slice(0, -1)) socket.send(frame)
    }
    socket.onmessage = (event: { data: string }) => {
      messages.push(JSON.parse(event.data))
      const answers = messages.filter(({ type }) => type === 'reply' || type === 'error')
      if (answers.length === frames.length - 1) socket.send(frames.at(-1) as string)
    }
    socket.onerror = () => {
      if (messages.length === 0) reject(new Error('no connection'))
    }
    socket.onclose = ({ code, reason }: { code: number; reason: string }) =>
      resolve({ protocol: socket.protocol, messages, close: { code, reason } })
  })
}

describe('clients nobody here wrote', { timeout: 60_000 }, () => {
  let app: FastifyInstance
  let port: number
  let origin: string
  let token: string

  before(async () => {
    port = await freePort()
    origin = `http://127.0.0.1:${port}`
    app = await buildApp({ origins: [origin] })
    await app.listen({ port, host: '127.0.0.1' })
    const answer = await app.inject({ method: 'POST', url: '/login', payload: { name: 'Ada' } })
    token = answer.json().token
  })
  after(() => app.close())

  const url = () => `ws://127.0.0.1:${port}/chat/lobby`
  const protocols = () => ['ws-guard.v1', `bearer.${token}`]

  test('ws, with the token as a subprotocol', async () => {
    check(await converse(new Ws(url(), protocols(), { origin }), script))
  })

  test('ws, with the token in the Authorization header and no Origin', async () => {
    check(await converse(new Ws(url(), ['ws-guard.v1'], { headers: { authorization: `Bearer ${token}` } }), script))
  })

  test('ws, refused: the status and the one body of refusals come through', async () => {
    const socket = new Ws(url(), ['ws-guard.v1', 'bearer.nonsense'], { origin })
    const answer = await new Promise<{ status: number | undefined; body: string }>((resolve) => {
      socket.once('unexpected-response', async (_request, response) => {
        let body = ''
        for await (const chunk of response) body += chunk
        resolve({ status: response.statusCode, body })
      })
    })
    assert.equal(answer.status, 401)
    assert.deepEqual(JSON.parse(answer.body), { statusCode: 401, error: 'Unauthorized', code: 'unauthorized' })
  })

  test("undici, the WebSocket of Node's own, with the token as a subprotocol", async () => {
    check(await converse(new UndiciWebSocket(url(), { protocols: protocols(), headers: { origin } }), script))
  })

  test('undici, with the token in the Authorization header and no Origin', async () => {
    const headers = { authorization: `Bearer ${token}` }
    check(await converse(new UndiciWebSocket(url(), { protocols: ['ws-guard.v1'], headers }), script))
  })

  test('Chromium', { skip: skipWithout('chromium') }, async () => {
    const browser = await launchChromium()
    try {
      const page = await browser.newPage()
      await page.goto(origin)
      // The text of the function, because esbuild's helpers are not there in the page.
      const socket = `new WebSocket(${JSON.stringify(url())}, ${JSON.stringify(protocols())})`
      check(await page.evaluate<Report>(`(${converse})(${socket}, ${JSON.stringify(script)})`))
    } finally {
      await browser.close()
    }
  })

  for (const how of ['subprotocol', 'header'] as const) {
    test(`Python's websockets, with the token in the ${how}`, { skip: skipWithout('python3-websockets') }, async () => {
      const file = fileURLToPath(new URL('client.py', import.meta.url))
      const args = [file, url(), how, token, origin, ...script]
      const { stdout } = await promisify(execFile)(python, args, { timeout: 15_000 })
      check(JSON.parse(stdout))
    })
  }
})
