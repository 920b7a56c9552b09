import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkClaims, maxClockSkewMs } from '../../lib/handshake/claims.ts'

const wallMs = 1_900_000_000_000

test('A3: a token is over in the millisecond of its exp', () => {
  const rules = { identity: undefined, maxTokenAgeMs: undefined }
  assert.equal(checkClaims({ exp: (wallMs + 1) / 1000 }, rules, wallMs), undefined)
  assert.equal(checkClaims({ exp: wallMs / 1000 }, rules, wallMs), 'EXPIRED')
  assert.equal(checkClaims({ exp: (wallMs - 1) / 1000 }, rules, wallMs), 'EXPIRED')
})

test('A3, A10: maxTokenAgeMs is the last age that is admitted, and maxClockSkewMs the last time that has yet to come', () => {
  const rules = { identity: undefined, maxTokenAgeMs: 5_000 }
  const issuedAt = (ms: number): string | undefined => checkClaims({ iat: ms / 1000 }, rules, wallMs)
  assert.equal(issuedAt(wallMs - 5_000), undefined)
  assert.equal(issuedAt(wallMs - 5_001), 'TOO_OLD')
  assert.equal(issuedAt(wallMs + maxClockSkewMs), undefined)
  assert.equal(issuedAt(wallMs + maxClockSkewMs + 1), 'TOO_OLD')
  assert.equal(checkClaims({}, rules, wallMs), 'TOO_OLD')
})
