/** What JSON leaves out is not there: a required property that vanishes is a violation. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from '@sinclair/typebox'
import { compileEncoder } from '../../lib/messages/encode.ts'

const vanishing = { toJSON: () => undefined }

test('O3: a required property of which JSON leaves nothing does not leave without it', () => {
  const encode = compileEncoder('message "said"', Type.Object({ what: Type.Unknown() }))
  assert.throws(() => encode({ what: vanishing }), { name: 'EncodeError', message: /\/what/ })
  assert.equal(encode({ what: null }), '{"what":null}')
})

test('O3: an optional one may', () => {
  const encode = compileEncoder('message "said"', Type.Object({ what: Type.Optional(Type.Unknown()) }))
  assert.equal(encode({ what: vanishing }), '{}')
})
