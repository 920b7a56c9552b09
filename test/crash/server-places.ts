/** The places of the app that the guard is registered with, and of its store. */
import { abandoned, firstMessage, goodbye, handshake, leaves, messages, nowhere, refused, ticket } from './drives.ts'
import {
  auth,
  ended,
  failed,
  internal,
  type Outcome,
  open,
  type Place,
  revoked,
  slow,
  timeout,
  unavailable
} from './outcomes.ts'

export const appPlaces: Readonly<Record<string, Place>> = {
  ...Object.fromEntries(
    ['genReqId', 'rewriteUrl'].map((name): [string, Place] => [
      name,
      { drive: abandoned('/full'), fails: ['gone'], nothing: ['gone'], isSync: true }
    ])
  ),
  trustProxy: {
    drive: handshake('/full', { 'X-Forwarded-For': '203.0.113.9' }),
    fails: unavailable,
    nothing: open,
    isSync: true
  },
  'serializers.req (unknown path)': { drive: abandoned('/nowhere'), fails: ['gone'], nothing: ['gone'], isSync: true },
  'serializers.err': {
    drive: handshake('/full', { 'x-fail': 'yes' }),
    fails: failed,
    nothing: failed,
    isSync: true
  },
  ...Object.fromEntries(
    ['onRequest', 'preParsing', 'preValidation', 'preHandler'].map((name): [string, Place] => [
      `app.${name}`,
      { drive: handshake('/full'), fails: failed, hangs: timeout, nothing: timeout, isHook: true, falsy: open }
    ])
  ),
  // As any answer of Fastify's: one that a hook fails at is a 500.
  'app.onSend': { drive: refused, fails: failed, hangs: timeout, nothing: timeout, isHook: true, falsy: ['403'] },
  'app.onResponse': {
    drive: refused,
    fails: ['403'],
    hangs: ['403'],
    nothing: ['403'],
    isHook: true,
    isLogged: true
  },
  'app.onError': {
    drive: handshake('/full', { 'x-fail': 'yes' }),
    fails: failed,
    hangs: timeout,
    nothing: timeout,
    isHook: true,
    falsy: failed
  },
  // Node calls no request aborted that has asked for an upgrade: also without the guard this never runs.
  'app.onRequestAbort': {
    drive: leaves,
    fails: ['destroyed'],
    hangs: ['destroyed'],
    nothing: ['destroyed'],
    isHook: true,
    isNeverReached: true
  },
  setErrorHandler: {
    drive: handshake('/full', { 'x-fail': 'yes' }),
    fails: failed,
    hangs: failed,
    nothing: failed,
    isNeverReached: true
  },
  setNotFoundHandler: {
    drive: nowhere,
    fails: ['404', 'ws.refused not_found'],
    hangs: ['404', 'ws.refused not_found'],
    nothing: ['404', 'ws.refused not_found'],
    isNeverReached: true
  },
  'websocket.errorHandler': {
    // Of the app's plain routes, where @fastify/websocket leaves the socket to it and does not wait for a promise: one
    // that rejects ends the process, also without the guard.
    drive: handshake('/plain'),
    fails: open,
    nothing: open,
    isSync: true
  }
}

function stored(name: string, fails: Outcome, hangs: Outcome, nothing: Outcome): [string, Place] {
  return [`store.${name}`, { drive: messages({ type: 'guard', what: name, ref: 1 }), fails, hangs, nothing }]
}

export const storePlaces: Readonly<Record<string, Place>> = {
  'store.acquireSlot': {
    drive: handshake('/full'),
    fails: unavailable,
    hangs: timeout,
    nothing: ['429', 'ws.refused per_ip']
  },
  'store.acquireSlot (of the user)': {
    drive: handshake('/full'),
    skip: 1,
    fails: unavailable,
    hangs: timeout,
    nothing: ['429', 'ws.refused per_user']
  },
  'store.releaseSlot': { drive: goodbye, fails: ['1000 '], nothing: ['1000 '], promise: ['1000 '] },
  'store.takeUserBudget': {
    drive: messages({ type: 'say', text: 'x', ref: 1 }),
    fails: ended('ws.close unavailable'),
    hangs: ended('ws.close unavailable'),
    nothing: ['rate_limited', 'ws.rate_limited dropped'],
    thenable: ended('ws.close unavailable')
  },
  'store.chargeUserBudget': {
    drive: messages({ type: 'costly', ref: 1 }),
    fails: ended('ws.close unavailable'),
    nothing: ['reply null'],
    thenable: ended('ws.close unavailable'),
    promise: ['reply null']
  },
  'store.isRefused': { drive: handshake('/full'), fails: unavailable, hangs: timeout, nothing: revoked },
  'store.isRefused (after the 101)': {
    drive: handshake('/full'),
    skip: 1,
    fails: ended('ws.auth_failed unavailable'),
    hangs: ended('ws.close unavailable'),
    nothing: ['4003 revoked', 'ws.auth_failed revoked']
  },
  'store.isRefused (first message)': {
    drive: firstMessage,
    fails: ended('ws.auth_failed unavailable'),
    hangs: ended('ws.close unavailable'),
    nothing: ['4003 revoked', 'ws.auth_failed revoked']
  },
  'store.isRefused (refresh)': {
    drive: messages(auth),
    fails: ended('ws.auth_failed unavailable'),
    hangs: slow,
    nothing: ['4003 revoked', 'ws.auth_failed revoked']
  },
  'store.takeTicket': {
    drive: ticket,
    fails: unavailable,
    hangs: timeout,
    nothing: ['401', 'ws.refused invalid_credential']
  },
  'store.Attempts.incr': { drive: handshake('/full'), fails: unavailable, hangs: timeout, nothing: timeout },
  ...Object.fromEntries([
    stored('putTicket', internal, slow, ['reply']),
    stored('revoke', internal, slow, ['reply']),
    stored('block', internal, slow, ['reply']),
    stored('disconnect', internal, slow, ['reply']),
    stored('unblock', internal, slow, ['reply'])
  ]),
  'store.sizes': {
    drive: messages({ type: 'guard', what: 'sizes', ref: 1 }),
    fails: internal,
    nothing: internal,
    promise: ['reply']
  }
}
