import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from '@sinclair/typebox'
import { defineContract } from '../../lib/contract.ts'
import { buildApp, echo, origin } from '../support/app.ts'
import { Target } from './harness.ts'

const silent = defineContract({ name: 'silent', clientToServer: {}, serverToClient: { tick: Type.Object({}) } })

test('L4, A3: tokens without a subject do not boot, unless auth.identity says who is who', async (t) => {
  const app = await buildApp()
  t.after(() => app.close())
  const route = { contract: silent, handlers: {} }
  assert.throws(() => app.wsRoute('/none', { ...route, auth: { requiredClaims: ['exp'] } }), {
    code: 'WSG_ERR_OPTION',
    message: /"auth\.requiredClaims" must have 'sub'/
  })
  const identity = (): { subject: string } => ({ subject: 'everybody' })
  app.wsRoute('/own', { ...route, auth: { requiredClaims: ['exp'], identity } })
  app.wsRoute('/verified', { ...route, auth: { verify: () => ({ sub: 'a' }) } })
  await app.ready()
})

test('L4, A3: a user without a subject is not admitted: no limit, kick or expiry could find it', async (t) => {
  const expired = Math.floor(Date.now() / 1000) - 1
  const target = await Target.start(t, { guard: { auth: { verify: async () => ({ id: 5, exp: expired }) } } })
  assert.equal(await target.knock('/echo', { Origin: origin, Authorization: 'Bearer any' }), 401)
  assert.equal(target.logs.find('ws.auth_failed')?.errorCode, 'NO_SUBJECT')
  assert.equal(target.app.wsGuard.connections, 0)
})

test('L4, A3: the same in the first message', async (t) => {
  const target = await Target.start(t, { guard: { auth: { from: ['message'], verify: () => ({ id: 5 }) } } })
  const client = await target.open('/echo', { Origin: origin })
  await client.sendJson({ type: 'auth', token: 'any' })
  const { payload } = await client.nextFrame({ opcode: 8 })
  assert.equal(payload.readUInt16BE(0), 4001)
  assert.equal(target.logs.find('ws.auth_failed')?.errorCode, 'NO_SUBJECT')
})

test('L4, A6: no ticket is issued to a user without a subject', async (t) => {
  const target = await Target.start(t, {
    guard: { auth: { from: ['ticket'], verify: () => ({ sub: 'a' }) } },
    declare: (app) => {
      const auth = { from: ['ticket'], verify: () => ({}), identity: () => ({ subject: 'everybody' }) } as const
      app.wsRoute('/own', { contract: echo, handlers: { say: () => {}, ask: () => ({ items: [] }) }, auth })
    }
  })
  const { issueTicket } = target.app.wsGuard
  await assert.rejects(issueTicket({ user: { id: 5 }, route: '/echo' }), { code: 'WSG_ERR_OPTION', message: /"user"/ })
  const { ticket } = await issueTicket({ user: { id: 5 }, route: '/own' })
  assert.equal(await target.knock(`/own?ticket=${ticket}`, { Origin: origin }), 101)
})
