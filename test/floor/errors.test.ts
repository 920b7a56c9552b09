import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as entry from '../../lib/index.ts'
import { CloseError, errorCodes, MessageError, OptionError } from '../../lib/index.ts'

test('OptionError is a TypeError with a code', () => {
  const error = new OptionError('option "x" is wrong')
  assert.ok(error instanceof TypeError)
  assert.equal(error.code, 'WSG_ERR_OPTION')
  assert.equal(error.message, 'fastify-ws-guard: option "x" is wrong')
})

test('MessageError carries what the client gets', () => {
  const error = new MessageError('room.full', 'the room is full', { max: 3 })
  assert.ok(error instanceof Error)
  assert.deepEqual(
    [error.name, error.code, error.message, error.details],
    ['MessageError', 'room.full', 'the room is full', { max: 3 }]
  )
  assert.equal(new MessageError('x', '').details, undefined)
  for (const code of Object.keys(errorCodes)) assert.equal(new MessageError(code, '').code, code)
  for (const code of ['', ' ', '1a', '_a', 'a b', 'a\n', 'é', 'a'.repeat(65), undefined, null, {}]) {
    assert.throws(() => new MessageError(code as string, 'x'), TypeError)
  }
  assert.equal(new MessageError('a'.repeat(64), '').code.length, 64)
})

test('CloseError carries a code and a reason', () => {
  const error = new CloseError(4000, 'bye')
  assert.deepEqual([error.name, error.closeCode, error.reason, error.message], ['CloseError', 4000, 'bye', 'bye'])
  const bare = new CloseError(4000)
  assert.deepEqual([bare.reason, bare.message], ['', 'close 4000'])
})

test('the entry point exports what is public, and nothing else', () => {
  assert.deepEqual(Object.keys(entry).sort(), [
    'CloseError',
    'EncodeError',
    'MemoryStore',
    'MessageError',
    'OptionError',
    'StoreDownError',
    'StoreFullError',
    'closeCauses',
    'closeCodes',
    'default',
    'defineContract',
    'errorCodes',
    'eventFields',
    'eventTable',
    'optionTable',
    'refusalReasons',
    'refusalStatuses'
  ])
})
