/** What a client sends on an open connection is as secret as what it sent in the handshake. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { echo, secret } from '../support/app.ts'
import { findSecrets, recordChannels } from '../support/canary.ts'
import { closeOf, type FrameOptions, frame, opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { claims, signJwt, tamper } from '../support/tokens.ts'
import { goodHeaders, guarded, listen, rawClient } from './harness.ts'

const canary = 'canary-of-the-peer'

interface Watched {
  readonly app: FastifyInstance
  readonly open: (token?: string) => Promise<RawClient>
  /** The log at trace level, and what the channels carried. */
  readonly everything: () => string
  readonly reasons: (event: string) => unknown[]
}

async function watched(t: TestContext, verify?: (token: string) => unknown): Promise<Watched> {
  const { app, logs } = await guarded(t)
  const published = recordChannels(t)
  app.wsRoute('/ws', {
    contract: echo,
    auth: { from: ['header', 'message'], ...(verify !== undefined && { verify: verify as never }) },
    // A route whose handlers tell nothing of a message, so that what is found would be ours.
    handlers: {
      say: () => {
        throw new Error('the handler failed')
      },
      ask: { authorize: () => false, handler: () => ({ items: [] }) }
    }
  })
  const port = await listen(app)
  return {
    app,
    everything: () => logs.text() + JSON.stringify(published),
    reasons: (event) => logs.filter(event).map(({ reason }) => reason),
    open: async (token) => {
      const client = await rawClient(t, port)
      const headers = token === undefined ? goodHeaders() : goodHeaders(token)
      assert.equal((await client.handshake({ path: '/ws', headers })).statusCode, 101)
      return client
    }
  }
}

/** Everything that came back, as text. */
function received(client: RawClient): string {
  return client.frames.map(({ payload }) => payload.toString('latin1')).join('\n')
}

const hostile: Readonly<Record<string, { frames: readonly FrameOptions[]; code: number }>> = {
  'a bad token': { frames: [{ payload: JSON.stringify({ type: 'auth', token: canary }) }], code: 4001 },
  'a token with another signature': {
    frames: [{ payload: JSON.stringify({ type: 'auth', token: tamper(signJwt(claims(), secret), { sub: canary }) }) }],
    code: 4001
  },
  'a signed token that has expired': {
    frames: [{ payload: JSON.stringify({ type: 'auth', token: signJwt(claims({ sub: canary, exp: 1 }), secret) }) }],
    code: 4001
  },
  'a token that is no string': { frames: [{ payload: JSON.stringify({ type: 'auth', token: [canary] }) }], code: 4001 },
  'another message': { frames: [{ payload: JSON.stringify({ type: 'say', text: canary }) }], code: 4001 },
  'no JSON': { frames: [{ payload: `{"type":"auth","token":"${canary}` }], code: 4001 },
  'a binary frame': { frames: [{ opcode: opcodes.binary, payload: canary }], code: 1003 },
  'too large a message': { frames: [{ payload: canary.repeat(5_000) }], code: 1009 },
  'no UTF-8': { frames: [{ payload: Buffer.concat([Buffer.from(canary), Buffer.from([0xff])]) }], code: 1007 },
  'an unmasked frame': { frames: [{ masked: false, payload: canary }], code: 1002 }
}
test('P1: nothing of a first message is in a log, an event or an answer', async (t) => {
  const { open, everything, reasons } = await watched(t)
  for (const [name, { frames, code }] of Object.entries(hostile)) {
    const client = await open()
    for (const options of frames) await client.sendFrame(options)
    const close = closeOf(await client.nextFrame({ opcode: opcodes.close }))
    assert.equal(close.code, code, name)
    client.halfClose()
    await client.closed
    assert.deepEqual(findSecrets(received(client), [canary]), [], name)
    assert.deepEqual(findSecrets(everything(), [canary]), [], name)
  }
  assert.equal(reasons('ws.close').length, Object.keys(hostile).length)
})

test('P1: nor of a token that a verifier of one’s own failed with', async (t) => {
  const errors = [
    new Error(`cannot verify ${canary}`),
    Object.assign(new Error(canary), { statusCode: 401 }),
    Object.assign(new Error('x', { cause: new Error(canary) }), { token: canary })
  ]
  const { open, everything } = await watched(t, () => Promise.reject(errors.shift()))
  for (const code of [1013, 4001, 1013]) {
    const client = await open()
    await client.sendJson({ type: 'auth', token: canary })
    assert.equal(closeOf(await client.nextFrame({ opcode: opcodes.close })).code, code)
    assert.deepEqual(findSecrets(received(client) + everything(), [canary]), [])
  }
})

test('P1: nor of a token that was good, or that was to take its place', async (t) => {
  const { open, everything, reasons } = await watched(t)
  const good = signJwt(claims({ jti: 'the-jti' }), secret)
  const better = signJwt(claims({ jti: 'the-jti-2', exp: Math.floor(Date.now() / 1000) + 7_200 }), secret)
  const client = await open()
  for (const token of [good, better]) {
    await client.sendJson({ type: 'auth', token })
    assert.equal((await client.nextJson<{ type: string }>()).type, 'auth_ok')
  }
  await client.sendJson({ type: 'auth', token: signJwt(claims({ sub: canary }), secret) })
  assert.equal(closeOf(await client.nextFrame({ opcode: opcodes.close })).code, 4003)
  assert.deepEqual(reasons('ws.forbidden'), ['refresh_subject'])
  const secrets = [good, better, 'the-jti', canary]
  assert.deepEqual(findSecrets(received(client) + everything(), secrets), [])
})

test('P1: nor of any message that follows, whatever is wrong with it', async (t) => {
  const { open, everything, reasons } = await watched(t)
  const client = await open(signJwt(claims(), secret))
  const messages = [
    { type: 'say', text: [canary] },
    { type: 'say', text: canary },
    { type: 'say', text: 'x', ref: { canary } },
    { type: 'ask', count: canary },
    { type: 'ask', count: 1, ref: 7 },
    { type: canary }
  ]
  for (const message of messages) {
    await client.sendJson(message)
    assert.equal((await client.nextJson<{ type: string }>()).type, 'error')
  }
  await client.sendFrame({ opcode: opcodes.ping, payload: 'a ping' })
  await client.nextFrame({ opcode: opcodes.pong })
  await client.write(
    frame({ opcode: opcodes.close, payload: Buffer.concat([Buffer.from([0x0f, 0xa5]), Buffer.from(canary)]) })
  )
  await client.nextFrame({ opcode: opcodes.close })
  client.halfClose()
  await client.closed
  // ws answers a close frame with a copy of it: that one goes back to who sent it.
  const answers = client.frames.filter(({ opcode }) => opcode !== opcodes.close)
  assert.deepEqual(findSecrets(answers.map(({ payload }) => payload).join('\n') + everything(), [canary]), [])
  assert.deepEqual(reasons('ws.invalid'), ['invalid_message', 'invalid_message', 'invalid_message', 'unknown_type'])
  assert.deepEqual(reasons('ws.handler_error'), ['handler'])
})
