import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { takeSecrets, takeSecretsOut, withSecrets } from '../../lib/handshake/url-secrets.ts'

const names = new Set(['token', 'ticket'])

function taken(url: string): [string, Record<string, readonly string[]>] {
  const secrets = takeSecrets(url, names)
  return [secrets.url, Object.fromEntries(secrets.taken)]
}

test('A6: named parameters leave the URL, what stays keeps its spelling', () => {
  assert.deepEqual(taken('/a'), ['/a', {}])
  assert.deepEqual(taken('/a?'), ['/a?', {}])
  assert.deepEqual(taken('/a?x=%41&y=+&z'), ['/a?x=%41&y=+&z', {}])
  assert.deepEqual(taken('/a?token=s'), ['/a', { token: ['s'] }])
  assert.deepEqual(taken('/a?x=1&token=s&y=2'), ['/a?x=1&y=2', { token: ['s'] }])
  assert.deepEqual(taken('/a?ticket=t&token=s'), ['/a', { ticket: ['t'], token: ['s'] }])
})

test('A6: no spelling of the name hides it, and each value is kept', () => {
  assert.deepEqual(taken('/a?%74oken=s%20t'), ['/a', { token: ['s t'] }])
  assert.deepEqual(taken('/a?tok%65n=s'), ['/a', { token: ['s'] }])
  assert.deepEqual(taken('/a??token=s'), ['/a', { token: ['s'] }])
  assert.deepEqual(taken('/a?token=1&token=2&token'), ['/a', { token: ['1', '2', ''] }])
  assert.deepEqual(taken('/a?token=a=b'), ['/a', { token: ['a=b'] }])
})

test('a name that only looks like it stays', () => {
  assert.deepEqual(taken('/a?Token=s&tokens=s&token[]=s'), ['/a?Token=s&tokens=s&token[]=s', {}])
  assert.deepEqual(taken('/a?&&=x'), ['/a?&&=x', {}])
})

test('A6: the raw request is rewritten', () => {
  const request = { url: '/a?token=s&b=1' } as IncomingMessage
  assert.deepEqual([...takeSecretsOut(request, names)], [['token', ['s']]])
  assert.equal(request.url, '/a?b=1')
  const without = {} as IncomingMessage
  assert.equal(takeSecretsOut(without, names).size, 0)
})

test('L3: what was taken is given back as it came, or added to what rewriteUrl has made of the URL', () => {
  const given = (url: string, now: string): string => withSecrets(now, { url, secrets: takeSecrets(url, names).taken })
  assert.equal(given('/a?b=1', '/a?b=1'), '/a?b=1')
  assert.equal(given('/a?x&token=%73&b=1', '/a?x&b=1'), '/a?x&token=%73&b=1')
  assert.equal(given('/old?token=a+b&token=c', '/new'), '/new?token=a+b&token=c')
  assert.equal(given('/old?b=1&token=s', '/new?b=1'), '/new?b=1&token=s')
})
