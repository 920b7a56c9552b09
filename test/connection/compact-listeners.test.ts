/** Threat L1: an emitter whose listeners were copied behaves as before, and keeps what was off out of the copy. */
import assert from 'node:assert/strict'
import { EventEmitter, getEventListeners } from 'node:events'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import { listenerCompactor } from '../../lib/connection/compact-listeners.ts'
import type { GuardedSocket } from '../../lib/connection/guarded-socket.ts'
import { Target } from '../attack/harness.ts'
import { until } from '../support/wait.ts'

const kOwn = Symbol('own')

test('L1: order, once, symbols and counts are those of before', () => {
  const emitter = new EventEmitter()
  const heard: string[] = []
  const hear = (name: string) => (): void => void heard.push(name)
  emitter.on('news', hear('first')).once('news', hear('once')).on('news', hear('last'))
  emitter.on('single', hear('single')).on(kOwn, hear('symbol'))
  const before = emitter.eventNames().map((name) => [name, emitter.rawListeners(name)])
  listenerCompactor()(emitter)
  assert.deepEqual(
    emitter.eventNames().map((name) => [name, emitter.rawListeners(name)]),
    before
  )
  for (const name of ['news', 'news', 'single', kOwn]) emitter.emit(name)
  assert.deepEqual(heard, ['first', 'once', 'last', 'first', 'last', 'single', 'symbol'])
})

test('L1: listeners are added, taken off and found missing as before', () => {
  const emitter = new EventEmitter()
  const one = (): void => {}
  const two = (): void => {}
  emitter.on('news', one).on('news', two)
  listenerCompactor()(emitter)
  assert.equal(emitter.emit('toString'), false, 'no event is found on a prototype')
  assert.throws(() => emitter.emit('error', new Error('unheard')), /unheard/)
  emitter.off('news', one).on('more', one)
  assert.deepEqual(emitter.listeners('news'), [two])
  emitter.off('news', two).removeAllListeners('more')
  assert.deepEqual(emitter.eventNames(), [])
  emitter.on('news', one).removeAllListeners()
  assert.equal(emitter.emit('news'), false)
})

test('L1: what listens while an event is being told hears what it would have heard', () => {
  const emitter = new EventEmitter()
  const compact = listenerCompactor()
  const heard: string[] = []
  emitter.on('news', () => {
    heard.push('first')
    compact(emitter)
    emitter.on('news', () => heard.push('later'))
  })
  emitter.on('news', () => heard.push('second'))
  emitter.emit('news')
  assert.deepEqual(heard, ['first', 'second'])
  emitter.emit('news')
  assert.deepEqual(heard, ['first', 'second', 'first', 'second', 'later'])
})

test('L1: events without a listener are no longer kept room for', () => {
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const end = (): void => {}
  stream.on('end', end).on('pause', end).off('pause', end)
  listenerCompactor()(stream)
  assert.deepEqual(Reflect.ownKeys(Reflect.get(stream, '_events')), ['end'])
  assert.deepEqual(getEventListeners(stream, 'end'), [end])
})

test('H10, L1: an open connection keeps ws’s error listener on its socket, and no event that nobody listens to', async (t) => {
  const target = await Target.start(t)
  await target.open()
  const socket = target.socket as GuardedSocket
  const { _socket: rawSocket } = socket
  assert.equal(rawSocket.listenerCount('error'), 1)
  for (const emitter of [rawSocket, socket, socket._receiver]) {
    const events = Reflect.get(emitter, '_events') as Record<string | symbol, unknown>
    assert.deepEqual(
      Reflect.ownKeys(events).filter((name) => events[name] === undefined),
      []
    )
  }
  rawSocket.destroy(new Error('the network is gone'))
  await until(() => target.closes.length === 1)
  assert.equal(target.closes[0]?.cause, 'lost')
})
