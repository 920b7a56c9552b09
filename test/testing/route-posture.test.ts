import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import { findRoute } from '../../lib/testing/route-posture.ts'

const cases: ReadonlyArray<readonly [path: string, pattern: string | undefined]> = [
  ['/', '/'],
  ['/chat/a', '/chat/:room'],
  ['/chat/a?token=/x', '/chat/:room'],
  ['/chat/lobby', '/chat/lobby'],
  ['/chat/a/b', undefined],
  ['/chat/', undefined],
  ['/files/a/b/c', '/files/*'],
  ['/files/a', '/files/*'],
  ['/at/12h30m', '/at/:hour(^\\d{2})h:minute(^\\d{2})m'],
  ['/img/cat.png', '/img/:name.png'],
  ['/number/7', '/number/:n(^(?:\\d+|[a-f/])$)'],
  ['/optional', '/optional/:page?'],
  ['/optional/2', '/optional/:page?'],
  ['/name:verb', '/name::verb'],
  ['/caf%C3%A9/1', '/café/:n'],
  ['/a.b', '/a.b'],
  ['/axb', undefined],
  ['/%', undefined]
]
const patterns = [...new Set(cases.map(([, pattern]) => pattern).filter((pattern) => pattern !== undefined))]
const routes = patterns.map((path) => ({ path, origins: false as const }))

test('a path belongs to the route that Fastify itself would choose', async () => {
  const app = Fastify()
  for (const pattern of patterns) app.get(pattern, async () => pattern)
  for (const order of [routes, routes.toReversed()]) {
    for (const [path, pattern] of cases) {
      const response = await app.inject(path)
      const chosen = response.statusCode === 200 && !path.startsWith('/chat/?') ? response.body : undefined
      if (path !== '/chat/') assert.equal(chosen, pattern, `Fastify: ${path}`)
      assert.equal(findRoute(order, path)?.path, pattern, path)
    }
  }
  await app.close()
})

test('a slash at the end is forgiven', () => {
  assert.equal(findRoute([{ path: '/chat', origins: false }], '/chat/')?.path, '/chat')
  assert.equal(findRoute([{ path: '/chat/', origins: false }], '/chat')?.path, '/chat/')
})

test('of two equal patterns the first one counts', () => {
  const [first, second] = [
    { path: '/a', origins: false as const },
    { path: '/a', origins: false as const }
  ]
  assert.equal(findRoute([first, second], '/a'), first)
})
