/** Clients that ask for the URL of a WebSocket as for any other (threat H11). */
import assert from 'node:assert/strict'
import { get, type IncomingHttpHeaders } from 'node:http'
import { type TestContext, test } from 'node:test'
import { fetch as undiciFetch } from 'undici'
import { within } from '../support/wait.ts'
import { bodyOf, type GuardedApp, guarded, listen } from './harness.ts'

interface Served extends GuardedApp {
  readonly url: string
  /** What reached the developer's code. */
  readonly seen: string[]
}

async function served(t: TestContext): Promise<Served> {
  const all = await guarded(t)
  const seen: string[] = []
  all.app.addHook('onRequest', async ({ url }) => void seen.push(url))
  all.app.wsRoute('/ws', { handler: () => void seen.push('handler') })
  return { ...all, seen, url: `http://127.0.0.1:${await listen(all.app)}/ws` }
}

/** The headers of the three commonest ways to ask for the URL of a WebSocket. */
const plainHeaders: Record<string, Record<string, string>> = {
  curl: { 'user-agent': 'curl/8.5.0', accept: '*/*' },
  'a browser’s address bar': { accept: 'text/html', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' },
  'a proxy that drops the upgrade': { 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' }
}

for (const [who, headers] of Object.entries(plainHeaders)) {
  test(`H11: a GET of ${who} is 426 and says what to do`, async (t) => {
    const app = await served(t)
    const answer = await within(
      new Promise<{ status: number; head: IncomingHttpHeaders; body: string }>((resolve, reject) => {
        get(app.url, { headers }, (response) => {
          let body = ''
          response.setEncoding('utf8')
          response.on('data', (chunk: string) => {
            body += chunk
          })
          response.on('end', () => resolve({ status: response.statusCode ?? 0, head: response.headers, body }))
        }).on('error', reject)
      })
    )
    assert.deepEqual([answer.status, answer.body], [426, bodyOf(426)])
    const { upgrade, connection, 'sec-websocket-version': version } = answer.head
    assert.deepEqual([upgrade, version, connection], ['websocket', '13', 'close'])
    assert.deepEqual(app.seen, [])
  })
}

test('H11: so is that of fetch', async (t) => {
  const app = await served(t)
  for (const one of [fetch, undiciFetch]) {
    const response = await one(app.url, { headers: { authorization: 'Bearer x' } })
    assert.equal(response.status, 426)
    assert.equal(await response.text(), bodyOf(426))
    const names = ['upgrade', 'sec-websocket-version', 'connection', 'x-content-type-options']
    assert.deepEqual(
      names.map((name) => response.headers.get(name)),
      ['websocket', '13', 'close', 'nosniff']
    )
  }
  assert.deepEqual(app.seen, [])
  assert.deepEqual(app.reasons(), ['no_upgrade', 'no_upgrade'])
})
