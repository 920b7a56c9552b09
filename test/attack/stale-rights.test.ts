/** What a refresh takes away is gone, and nobody sees a frame that the guard has not let through. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deferred } from '../connection/harness.ts'
import { echo } from '../support/app.ts'
import { jsonFrame } from '../support/frames.ts'
import { handshakeRequest } from '../support/http-message.ts'
import { until } from '../support/wait.ts'
import { bearer, tokenWith } from './credentials.ts'
import { Target, turns } from './harness.ts'

const isAdmin = (user: unknown): boolean => (user as { admin?: boolean }).admin === true
const said = (text: string): object => ({ type: 'said', text })

test('Z9, Z5: a topic that the refreshed user may not have is left, one they may have is kept', async (t) => {
  const asked: unknown[] = []
  const joined: boolean[] = []
  const target = await Target.start(t, {
    route: {
      topics: ({ user }, topic) => {
        asked.push([topic, isAdmin(user)])
        if (topic === 'broken' && !isAdmin(user)) throw new Error('the rule')
        return topic === 'lobby' || isAdmin(user)
      },
      onOpen: async (connection) => {
        for (const topic of ['admins', 'broken', 'lobby']) joined.push(await connection.subscribe(topic))
      }
    }
  })
  const client = await target.open('/echo', bearer(tokenWith({ admin: true })))
  const { wsGuard } = target.app
  await until(() => joined.length === 3)
  assert.equal(wsGuard.publish(echo, 'admins', 'said', { text: 'for admins' }), 1)
  assert.deepEqual(await client.nextJson(), said('for admins'))
  asked.length = 0
  await client.sendJson({ type: 'auth', token: tokenWith({ admin: false }) })
  assert.equal((await client.nextJson<{ type: string }>()).type, 'auth_ok')
  const delivered = ['admins', 'broken', 'lobby'].map((topic) => wsGuard.publish(echo, topic, 'said', { text: topic }))
  assert.deepEqual(delivered, [0, 0, 1])
  assert.deepEqual(await client.nextJson(), said('lobby'))
  assert.deepEqual(asked.sort(), [
    ['admins', false],
    ['broken', false],
    ['lobby', false]
  ])
  assert.equal(wsGuard.stats().topics, 1)
  assert.equal(target.logs.filter('ws.handler_error').length, 1)
  assert.equal(target.logs.find('ws.handler_error')?.reason, 'topics')
})

test('Z9, Z5: a refresh that is refused leaves no topic', async (t) => {
  const joined = deferred<boolean>()
  const target = await Target.start(t, {
    route: {
      topics: ({ user }) => isAdmin(user),
      onOpen: async (connection) => joined.resolve(await connection.subscribe('admins'))
    }
  })
  const client = await target.open('/echo', bearer(tokenWith({ admin: true })))
  assert.equal(await joined.promise, true)
  const soon = Math.floor(Date.now() / 1000) + 60
  await client.sendJson({ type: 'auth', token: tokenWith({ admin: false, exp: soon }) })
  assert.equal((await client.nextJson<{ code: string }>()).code, 'forbidden')
  assert.equal(target.app.wsGuard.publish(echo, 'admins', 'said', { text: 'x' }), 1)
})

test("A1, P1: a listener of anybody else's on the socket of a contract route sees no message, nor a credential", async (t) => {
  const seen: string[] = []
  const verifying = deferred()
  const target = await Target.start(t, {
    guard: { auth: { from: ['message'], verify: () => verifying.promise.then(() => ({ sub: 'alice' })) } },
    route: {
      onOpen: ({ socket }) => {
        socket.on('message', (data) => seen.push(`onOpen ${data}`))
        socket.addEventListener('message', ({ data }) => seen.push(`event ${data}`))
      }
    }
  })
  target.app.websocketServer.on('connection', (socket) =>
    socket.on('message', (data) => seen.push(`connection ${data}`))
  )
  const client = await target.dial()
  const messages = [
    { type: 'auth', token: 'secret' },
    { type: 'say', text: 'of nobody yet' }
  ]
  const request = handshakeRequest({ path: '/echo', headers: bearer() })
  await client.write(Buffer.concat([request, ...messages.map(jsonFrame)]))
  assert.equal((await client.answer()).statusCode, 101)
  await turns(20)
  assert.deepEqual(seen, [])
  verifying.resolve()
  assert.equal((await client.nextJson<{ type: string }>()).type, 'auth_ok')
  assert.deepEqual(await client.nextJson(), said('of nobody yet'))
  await client.sendJson({ type: 'say', text: 'now alice' })
  assert.deepEqual(await client.nextJson(), said('now alice'))
  assert.deepEqual(seen, [])
})

test('M1: the listeners on the socket of a raw route see what it was sent', async (t) => {
  const seen: string[] = []
  const target = await Target.start(t, {
    declare: (app) =>
      app.wsRoute('/raw', { handler: ({ socket }) => void socket.on('message', (data) => seen.push(String(data))) })
  })
  const client = await target.open('/raw')
  await client.sendText('anything')
  await until(() => seen.length > 0)
  assert.deepEqual(seen, ['anything'])
})
