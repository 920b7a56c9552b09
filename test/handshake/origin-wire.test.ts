/** The Origin of a handshake as bytes on a socket, with a cookie that would let it in (threats H1 to H3). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import cookie from '@fastify/cookie'
import { handshakeRequest } from '../support/http-message.ts'
import { assertNothingHeld, assertRefused, ended, type GuardedApp, guarded, listen, rawClient } from './harness.ts'

const good = 'https://good.example'
const origins = [
  good,
  'https://port.example:8443',
  'http://[::1]:3000',
  'https://*.wild.example',
  'https://xn--bcher-kva.example'
]

interface Served extends GuardedApp {
  readonly port: number
  /** What of the developer's code has run. */
  readonly calls: string[]
}

/** A route that takes its credential from a cookie, as the one a browser would send from any page. */
async function served(t: TestContext, route: object = {}): Promise<Served> {
  const all = await guarded(t, { jwt: false, guard: { origins, limits: { attempts: { max: 1_000 } } } })
  const calls: string[] = []
  const note = (name: string) => (): void => void calls.push(name)
  await all.app.register(cookie)
  all.app.wsRoute('/ws', {
    auth: {
      from: ['cookie', 'header'],
      verify: (token: string) => {
        calls.push('verify')
        return token === 'good' ? { sub: 'alice' } : null
      }
    },
    preValidation: async () => note('preValidation')(),
    authorize: () => {
      calls.push('authorize')
      return true
    },
    handler: note('handler'),
    onClose: note('onClose'),
    ...route
  } as never)
  return { ...all, calls, port: await listen(all.app) }
}

/** UTF-8 as a browser would never send it, byte by byte. */
const utf8 = (text: string): string => Buffer.from(text).toString('latin1')

type Headers = Readonly<Record<string, string | readonly string[] | null>>

async function status(t: TestContext, { port }: Served, headers: Headers): Promise<number> {
  const client = await rawClient(t, port)
  const answer = await client.handshake({ path: '/ws', headers: { Cookie: 'token=good', ...headers } })
  if (answer.statusCode === 101) client.reset()
  else {
    assertRefused(answer, answer.statusCode)
    await ended(client)
  }
  return answer.statusCode
}

const admitted = [
  ...origins.filter((origin) => !origin.includes('*')),
  'https://a.wild.example',
  'https://a.b.wild.example',
  // HTTP itself does not count these as part of a value (RFC 9110 section 5.5).
  ` \t${good}\t `
]

test('H1: an Origin of the list, or a label below a wildcard, is admitted with a cookie', async (t) => {
  const app = await served(t)
  for (const origin of admitted) {
    app.calls.length = 0
    assert.equal(await status(t, app, { Origin: origin }), 101, origin)
    assert.deepEqual(app.calls.slice(0, 4), ['verify', 'preValidation', 'authorize', 'handler'])
    await assertNothingHeld(app.app)
  }
})

const forbidden: Record<string, string> = {
  'another site': 'https://evil.example',
  'the entry as a prefix': `${good}.evil.com`,
  'the entry as a prefix, dashed': `${good}-evil.com`,
  'the entry as a suffix': 'https://evilgood.example',
  'a label below an exact entry': 'https://a.good.example',
  'the parent of an entry': 'https://example',
  'another port': `${good}:8443`,
  'the default port, written out': `${good}:443`,
  'port 0': `${good}:0`,
  'an empty port': `${good}:`,
  'no port where there is one': 'https://port.example',
  'another port where there is one': 'https://port.example:443',
  'another scheme': 'http://good.example',
  'a websocket scheme': 'wss://good.example',
  'no scheme': 'good.example',
  'a relative scheme': '//good.example',
  'one slash': 'https:/good.example',
  'three slashes': 'https:///good.example',
  backslashes: 'https:\\\\good.example',
  'a trailing dot': `${good}.`,
  'a trailing slash': `${good}/`,
  'a path': `${good}/evil`,
  'a query': `${good}?evil`,
  'a fragment': `${good}#evil`,
  userinfo: 'https://x@good.example',
  'userinfo with a password': 'https://x:y@good.example',
  'the entry as userinfo': `${good}@evil.com`,
  'the entry as userinfo with a port': `${good}:443@evil.com`,
  'upper case': 'https://GOOD.EXAMPLE',
  'an upper-case scheme': 'HTTPS://good.example',
  'one upper-case letter': 'https://gooD.example',
  'IDN in UTF-8': utf8('https://bücher.example'),
  'IDN in Latin-1': 'https://b\xfccher.example',
  'Punycode in upper case': 'https://XN--BCHER-KVA.example',
  'a Cyrillic o': utf8('https://gоod.example'),
  'a full-width dot': utf8('https://good。example'),
  'a soft hyphen': utf8('https://go\u00adod.example'),
  'a zero-width space': utf8(`${good}\u200b`),
  'a no-break space before': `\xa0${good}`,
  'percent encoding': 'https://good%2eexample',
  'an encoded NUL': `${good}%00`,
  null: 'null',
  'null in upper case': 'NULL',
  empty: '',
  undefined: 'undefined',
  'a star': '*',
  'two in one header': `${good}, ${good}`,
  'two, the second foreign': `${good}, https://evil.example`,
  'two, the first foreign': `https://evil.example, ${good}`,
  'two with a space, as old browsers did': `${good} https://evil.example`,
  'a comma after': `${good},`,
  quotes: `"${good}"`,
  'IPv6 in another spelling': 'http://[0:0:0:0:0:0:0:1]:3000',
  'IPv6 with a zone': 'http://[::1%25lo]:3000',
  'IPv6 without brackets': 'http://::1:3000',
  'IPv4 mapped': 'http://[::ffff:127.0.0.1]:3000',
  'the loopback as IPv4': 'http://127.0.0.1:3000',
  'the wildcard itself': 'https://*.wild.example',
  'the base of a wildcard': 'https://wild.example',
  'no dot before the base': 'https://evilwild.example',
  'an empty label below': 'https://.wild.example',
  'an empty label between': 'https://a..wild.example',
  'the base as a prefix': 'https://a.wild.example.evil.com',
  'below, with a trailing dot': 'https://a.wild.example.',
  'below, with a port': 'https://a.wild.example:8443',
  'below, with another scheme': 'http://a.wild.example',
  'below, with userinfo': 'https://x@a.wild.example',
  'below, in upper case': 'https://A.wild.example',
  'a path that ends as the base': 'https://evil.com/.wild.example',
  'a query that ends as the base': 'https://evil.com?.wild.example',
  'a fragment that ends as the base': 'https://evil.com#.wild.example',
  'a port that ends as the base': 'https://evil.com:443.wild.example',
  'userinfo that ends as the base': 'https://evil.com@.wild.example',
  'a file': 'file://',
  'a path of a file': 'file:///etc/passwd',
  'a data URL': 'data:text/html,x',
  'a blob': `blob:${good}/1`,
  'an extension of Chromium': 'chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb',
  'an extension of Firefox': 'moz-extension://6e1d5f4c-5b0e-4b0e-8b0e-5f4c6e1d5f4c',
  'an app of Electron': 'app://good.example',
  'a Capacitor app': 'capacitor://localhost',
  'very long': `https://${'a'.repeat(4_000)}.example`
}

test('H1, H2: any other Origin is 403 with a good cookie, and nothing of the developer’s runs', async (t) => {
  const app = await served(t)
  for (const [name, origin] of Object.entries(forbidden)) {
    assert.equal(await status(t, app, { Origin: origin }), 403, name)
    assert.equal(await status(t, app, { Origin: origin, Authorization: 'Bearer good', Cookie: null }), 403, name)
  }
  assert.deepEqual(app.calls, [])
  assert.deepEqual(new Set(app.reasons()), new Set(['origin_forbidden']))
  await assertNothingHeld(app.app)
})

test('H2: two Origin headers are 400, also two of the list, whatever their case', async (t) => {
  const app = await served(t)
  for (const pair of [
    [good, good],
    [good, 'https://evil.example'],
    ['https://evil.example', good],
    [good, ''],
    ['', good]
  ]) {
    assert.equal(await status(t, app, { Origin: pair }), 400, pair.join())
    assert.equal(await status(t, app, { Origin: pair[0] as string, oRIGIN: pair[1] as string }), 400, pair.join())
  }
  assert.deepEqual(app.calls, [])
  assert.deepEqual(new Set(app.reasons()), new Set(['duplicate_header']))
})

const unreadable: Record<string, string> = {
  'a line feed': `${good}\nX: y`,
  'a line feed before the base of a wildcard': 'https://evil.com\n.wild.example',
  'a carriage return': `${good}\rX: y`,
  NUL: `${good}\0`,
  'a vertical tab': `${good}\x0b`,
  DEL: `${good}\x7f`,
  'a folded line': `\r\n ${good}`,
  'a folded line behind a good one': `${good}\r\n https://evil.example`
}

test('H2: an Origin that no HTTP header can have never reaches the app', async (t) => {
  const app = await served(t)
  for (const [name, origin] of Object.entries(unreadable)) {
    const client = await rawClient(t, app.port)
    await client.write(handshakeRequest({ path: '/ws', headers: { Cookie: 'token=good', Origin: origin } }))
    assert.equal((await client.answer()).statusCode, 400, name)
    await ended(client)
  }
  assert.deepEqual(app.calls, [])
  assert.deepEqual(app.reasons(), [])
})

test('H2: another name than Origin says nothing', async (t) => {
  const app = await served(t)
  for (const name of ['Sec-WebSocket-Origin', 'Referer', 'X-Origin', 'X-Forwarded-Origin', 'Origin-']) {
    assert.equal(await status(t, app, { [name]: good }), 403, name)
    assert.equal(await status(t, app, { Origin: 'https://evil.example', [name]: good }), 403, name)
  }
  assert.deepEqual(app.calls, [])
})

const bearer = { Cookie: null, Authorization: 'Bearer good' }
const withoutOrigin: readonly [name: string, headers: Headers, status: number, calls: number][] = [
  ['a cookie', {}, 403, 0],
  ['nothing', { Cookie: null }, 403, 0],
  ['a bearer token', bearer, 101, 1],
  ['a bad bearer token', { ...bearer, Authorization: 'Bearer bad' }, 401, 1],
  ['a bearer token and a cookie', { ...bearer, Cookie: 'token=good' }, 400, 0],
  ['another scheme and a cookie', { Authorization: 'Basic good' }, 403, 0],
  ['an empty bearer and a cookie', { Authorization: 'Bearer ' }, 403, 0],
  ['an empty Authorization and a cookie', { Authorization: '' }, 403, 0]
]

for (const [name, headers, expected, calls] of withoutOrigin) {
  test(`H3: no Origin and ${name} is ${expected}`, async (t) => {
    const app = await served(t)
    assert.equal(await status(t, app, headers), expected)
    assert.equal(app.calls.filter((call) => call === 'verify').length, calls)
    assert.equal(app.calls.includes('handler'), expected === 101)
  })
}

test("H3: missingOrigin: 'refuse' admits nobody without an Origin", async (t) => {
  const app = await served(t, { missingOrigin: 'refuse' })
  for (const headers of [{}, bearer, { Cookie: null }]) assert.equal(await status(t, app, headers), 403)
  assert.equal(await status(t, app, { ...bearer, Origin: good }), 101)
  assert.deepEqual(app.reasons(), Array(3).fill('origin_missing'))
  assert.equal(app.calls.filter((call) => call === 'verify').length, 1)
})
