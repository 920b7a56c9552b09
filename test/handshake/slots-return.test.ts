/** Threat R2 on the wire: a full house refuses one more, and is empty again however its guests have left. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Target } from '../attack/harness.ts'
import { echo } from '../support/app.ts'
import { defaultStore } from '../support/default-store.ts'
import { handshakeRequest } from '../support/http-message.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'

const size = 2
const timeoutMs = 10_000
const bug = (): never => {
  throw new Error('a bug')
}
const fails = (): Promise<never> => Promise.reject(new Error('a bug'))
const handlers = { say: () => {}, ask: () => ({ items: [] }) }

/** How a guest leaves, or is made to. Their sockets may stay on the client's side. */
type Leave = (client: RawClient, target: Target) => unknown

/** Without a deed the guests are ended by themselves, at any time. */
const leaves: Readonly<Record<string, readonly [path: string, leave?: Leave]>> = {
  'a close frame': ['/echo', (client) => client.sendClose(1000)],
  'a FIN': ['/echo', (client) => client.halfClose()],
  'a reset': ['/echo', (client) => client.reset()],
  'a reset in the middle of a frame': [
    '/echo',
    async (client) => {
      await client.write(Buffer.from([0x81, 0xfe, 0x10]))
      client.reset()
    }
  ],
  'a malformed frame': ['/echo', (client) => client.sendFrame({ opcode: 3 })],
  'a message that is no JSON': ['/echo', (client) => client.sendText('{bad')],
  'a kick': ['/echo', (_, target) => target.app.wsGuard.disconnect({ route: '/echo' })],
  'no answer to a ping': ['/dead'],
  'an onOpen that throws': ['/open-throws'],
  'an onOpen that rejects': ['/open-rejects'],
  'an onClose that throws': ['/close-throws', (client) => client.reset()],
  'an onClose that rejects': ['/close-rejects', (client) => client.sendClose()],
  'a raw handler that throws': ['/raw-throws'],
  'a handler that hangs': ['/hangs', (client) => client.sendJson({ type: 'say', text: 'x' })]
}

const refusals: Readonly<Record<string, number>> = {
  '/verify-throws': 503,
  '/unauthorized': 401,
  '/forbidden': 403,
  '/authorize-throws': 500,
  '/data-throws': 500,
  '/hook-throws': 500,
  '/slow': 503
}

test('R2: N + 1 are refused, and the count is back at 0 whatever ends them', async (t) => {
  const store = defaultStore()
  const target = await Target.start(t, {
    guard: {
      store,
      closeTimeoutMs: 50,
      limits: { attempts: { max: 10_000 }, connections: { total: 10, perIp: size, perUser: 10 } }
    },
    declare: (app) => {
      const contract = { contract: echo, handlers }
      app.wsRoute('/dead', { ...contract, heartbeat: { intervalMs: 50, timeoutMs: 50 } })
      app.wsRoute('/open-throws', { ...contract, onOpen: bug })
      app.wsRoute('/open-rejects', { ...contract, onOpen: fails })
      app.wsRoute('/close-throws', { ...contract, onClose: bug })
      app.wsRoute('/close-rejects', { ...contract, onClose: fails })
      app.wsRoute('/raw-throws', { handler: bug })
      app.wsRoute('/hangs', {
        contract: echo,
        handlers: {
          ...handlers,
          say: (_, { signal }) =>
            new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
        },
        handlerTimeoutMs: 50
      })
      app.wsRoute('/verify-throws', { auth: { verify: bug }, handler() {} })
      app.wsRoute('/unauthorized', { auth: { verify: () => null }, handler() {} })
      app.wsRoute('/forbidden', { authorize: () => false, handler() {} })
      app.wsRoute('/authorize-throws', { authorize: bug, handler() {} })
      app.wsRoute('/data-throws', { data: fails, handler() {} })
      app.wsRoute('/hook-throws', { preHandler: fails, handler() {} })
      app.wsRoute('/slow', { preHandler: () => new Promise(() => {}), handshakeTimeoutMs: 50, handler() {} })
      app.wsRoute('/waits', { preHandler: () => new Promise(() => {}), handler() {} })
    }
  })
  const empty = async (what: string): Promise<void> => {
    const isEmpty = (): boolean => {
      const { slots, connections, handshakes } = target.app.wsGuard.stats()
      return slots === 0 && connections === 0 && handshakes === 0 && store.sizes().slots === 0
    }
    await until(isEmpty, { timeoutMs, what: `an empty house after ${what}` })
  }
  for (const [what, [path, leave]] of Object.entries(leaves)) {
    const clients: RawClient[] = []
    while (clients.length < size) clients.push(await target.open(path))
    if (leave !== undefined) {
      assert.equal(await target.knock('/echo'), 429, what)
      for (const client of clients) await leave(client, target)
    }
    await empty(what)
    for (const client of clients) client.destroy()
  }
  for (const [path, status] of Object.entries(refusals)) {
    for (let n = 0; n < size + 1; n++) assert.equal(await target.knock(path), status)
    await empty(path)
  }
  // Reset while a hook is asked.
  for (let n = 0; n < size; n++) {
    const client = await target.dial()
    await client.write(handshakeRequest({ path: '/waits', headers: target.headers() }))
    await until(() => target.app.wsGuard.stats().slots === 1, { timeoutMs })
    client.reset()
    await empty('a reset while a hook is asked')
  }
  // No slot is given back twice either: who leaves makes room for one.
  const clients: RawClient[] = []
  while (clients.length < size) clients.push(await target.open())
  assert.equal(await target.knock('/echo'), 429)
  clients[0]?.reset()
  await until(() => target.app.wsGuard.stats().slots === size - 1, { timeoutMs })
  assert.equal(await target.knock('/echo'), 101)
  assert.equal(await target.knock('/echo'), 429)
})
