/** A hole in a list is an entry like any other: one that nobody meant. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { buildApp } from '../support/app.ts'

/** A list whose second entry is a hole. */
function holed(entry: string): string[] {
  const list = [entry]
  list.length = 2
  return list
}

const cases: Readonly<Record<string, object>> = {
  origins: { origins: holed('https://app.example.com') },
  hosts: { origins: 'same-origin', hosts: holed('app.example.com') },
  protocols: { protocols: holed('chat.v1') },
  'auth.from': { auth: { from: holed('header') } },
  'auth.requiredClaims': { auth: { requiredClaims: holed('sub') } },
  'auth.algorithms': { auth: { algorithms: holed('HS256') } },
  'limits.attempts.allowList': { limits: { attempts: { allowList: holed('127.0.0.1') } } }
}

for (const [name, guard] of Object.entries(cases)) {
  test(`L4: a hole in ${name} does not boot`, async () => {
    await assert.rejects(buildApp({ guard: guard as WsGuardOptions }), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'WSG_ERR_OPTION')
      assert.ok(error.message.includes(name), error.message)
      return true
    })
  })
}
