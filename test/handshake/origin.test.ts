import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compileOrigins, type OriginPolicy } from '../../lib/handshake/origin.ts'

const listed = ['https://good.example', 'https://app.example.com:8443', 'http://localhost:3000']
const wildcards = ['https://*.example.com', 'https://*.example.org:8443', 'http://*.localhost:3000']

function admits(origin: string | undefined, origins: OriginPolicy = [...listed, ...wildcards]): boolean {
  return compileOrigins(origins, undefined, 'origins').admits({ origin, protocol: 'https', host: 'good.example' })
}

for (const origin of [
  ...listed,
  'https://a.example.com',
  'https://a.b.example.com',
  'https://xn--bcher-kva.example.com',
  'https://-a_b.example.com',
  'https://a.example.org:8443',
  'http://a.localhost:3000'
]) {
  test(`H1: ${origin} is admitted`, () => assert.equal(admits(origin), true))
}

const hostile: [name: string, origin: string][] = [
  ['another site', 'https://evil.example'],
  ['a listed name as a prefix', 'https://good.example.evil.com'],
  ['a listed name as a suffix', 'https://evilgood.example'],
  ['a label below an exact entry', 'https://sub.good.example'],
  ['another port', 'https://good.example:8443'],
  ['the default port', 'https://good.example:443'],
  ['a missing port', 'https://app.example.com.:8443'],
  ['another scheme', 'http://good.example'],
  ['a scheme that only begins so', 'httpsx://good.example'],
  ['a trailing dot', 'https://good.example.'],
  ['a trailing slash', 'https://good.example/'],
  ['a path', 'https://good.example/x'],
  ['a query', 'https://good.example?x'],
  ['userinfo', 'https://x@good.example'],
  ['a listed name as userinfo', 'https://good.example@evil.com'],
  ['upper case', 'https://GOOD.example'],
  ['an upper-case scheme', 'HTTPS://good.example'],
  ['IDN in Unicode', 'https://göod.example'],
  ['a full-width dot', 'https://good。example'],
  ['a Cyrillic o', 'https://gоod.example'],
  ['null', 'null'],
  ['empty', ''],
  ['a space before', ' https://good.example'],
  ['a space after', 'https://good.example '],
  ['two, as Node joins them', 'https://good.example, https://good.example'],
  ['two, the second of them foreign', 'https://good.example, https://evil.example'],
  ['a star', '*'],
  ['the wildcard itself', 'https://*.example.com'],
  ['no label below a wildcard', 'https://example.com'],
  ['an empty label below a wildcard', 'https://.example.com'],
  ['an empty label between', 'https://a..example.com'],
  ['a wildcard base without its dot', 'https://evilexample.com'],
  ['a wildcard base as a prefix', 'https://a.example.com.evil.com'],
  ['below a wildcard with http', 'http://a.example.com'],
  ['below a wildcard with a port', 'https://a.example.com:8443'],
  ['below a wildcard without its port', 'https://a.example.org'],
  ['below a wildcard in upper case', 'https://A.example.com'],
  ['below a wildcard with userinfo', 'https://x@a.example.com'],
  ['a host that ends before the wildcard base: /', 'https://evil.com/.example.com'],
  ['a host that ends before the wildcard base: #', 'https://evil.com#.example.com'],
  ['a host that ends before the wildcard base: ?', 'https://evil.com?.example.com'],
  ['a host that ends before the wildcard base: \\', 'https://evil.com\\.example.com'],
  ['a host that ends before the wildcard base: :', 'https://evil.com:443.example.com'],
  ['a host that ends before the wildcard base: line feed', 'https://evil.com\n.example.com'],
  ['a host that ends before the wildcard base: NUL', 'https://evil.com\0.example.com'],
  ['two joined, the second below a wildcard', 'https://evil.com, https://a.example.com'],
  ['percent encoding below a wildcard', 'https://evil%2ecom.example.com'],
  ['a label above 63 characters', `https://${'a'.repeat(64)}.example.com`],
  ['a host above 253 characters', `https://${'a.'.repeat(127)}a.example.com`]
]
for (const [name, origin] of hostile) {
  test(`H2: ${name} is refused: ${JSON.stringify(origin.slice(0, 60))}`, () => assert.equal(admits(origin), false))
}

test('H3: a missing Origin is not admitted by a list', () => assert.equal(admits(undefined), false))

test('H1: what a list admits does not depend on the Host header or the scheme of the request', () => {
  const compiled = compileOrigins(['https://good.example'], undefined, 'origins')
  assert.equal(compiled.admits({ origin: 'https://good.example', protocol: 'http', host: undefined }), true)
  assert.equal(compiled.admits({ origin: 'https://evil.example', protocol: 'https', host: 'evil.example' }), false)
})

test('expected: the entries as written, once each, frozen', () => {
  const compiled = compileOrigins(
    ['https://b.example', 'https://*.a.example', 'https://b.example'],
    undefined,
    'origins'
  )
  assert.deepEqual(compiled.expected, ['https://b.example', 'https://*.a.example'])
  assert.ok(Object.isFrozen(compiled.expected))
  assert.equal(compiled.checks, true)
})

test('the list is copied: pushing into it later admits nothing', () => {
  const origins = ['https://good.example']
  const compiled = compileOrigins(origins, undefined, 'origins')
  origins.push('https://evil.example')
  assert.equal(compiled.admits({ origin: 'https://evil.example', protocol: 'https', host: undefined }), false)
  assert.deepEqual(compiled.expected, ['https://good.example'])
})

test('origins: false checks nothing', () => {
  const compiled = compileOrigins(false, undefined, 'origins')
  assert.deepEqual(
    { ...compiled, admits: compiled.admits({ origin: 'null', protocol: 'http', host: undefined }) },
    {
      expected: [],
      checks: false,
      admits: true
    }
  )
})

const badEntries: [entry: unknown, message: RegExp][] = [
  ['https://app.example.com/', /origins\[1\] must be written 'https:\/\/app\.example\.com'/],
  ['https://app.example.com/chat?x#y', /must be written 'https:\/\/app\.example\.com'/],
  ['https://App.Example.com', /must be written 'https:\/\/app\.example\.com'/],
  ['https://user:secret@app.example.com', /must be written 'https:\/\/app\.example\.com'/],
  ['https://app.example.com:443', /must be written 'https:\/\/app\.example\.com'/],
  ['http://app.example.com:80', /must be written 'http:\/\/app\.example\.com'/],
  [' https://app.example.com', /must be written 'https:\/\/app\.example\.com'/],
  ['https://bücher.example', /must be written 'https:\/\/xn--bcher-kva\.example'/],
  ['app.example.com', /must be written 'https:\/\/app\.example\.com'/],
  ['localhost:3000', /must be written 'https:\/\/localhost:3000'/],
  ['wss://app.example.com', /must be written 'https:\/\/app\.example\.com'/],
  ['ws://localhost:3000', /must be written 'http:\/\/localhost:3000'/],
  ['null', /must be an origin such as/],
  ['', /must be an origin such as/],
  ['https://', /must be an origin such as/],
  ['file:///etc/hosts', /must be an origin such as/],
  ['blob:https://app.example.com/x', /must be an origin such as/],
  [undefined, /must be a string/],
  [/example/, /must be a string/],
  ['*', /may have one \*, as the first label/],
  ['https://*', /may have one \*/],
  ['https://app*.example.com', /may have one \*/],
  ['https://a.*.example.com', /may have one \*/],
  ['https://*.*.example.com', /may have one \*/],
  ['https://example.com:*', /may have one \*/],
  ['*.example.com', /may have one \*/],
  ['https://*.', /may have one \*/],
  ['https://*.exa mple.com', /must be an origin such as 'https:\/\/\*\.example\.com'/],
  ['https://*.com', /would admit all of \.com; write at least two labels/],
  ['https://*.com.', /there is nothing below com\./],
  ['https://*.192.0.2.1', /there is nothing below 192\.0\.2\.1/],
  ['https://*.[::1]', /there is nothing below \[::1\]/],
  ['https://*.Example.com', /must be written 'https:\/\/\*\.example\.com'/],
  ['https://*.example.com/', /must be written 'https:\/\/\*\.example\.com'/],
  ['https://*.example.com:443', /must be written 'https:\/\/\*\.example\.com'/],
  ['https://*.user@example.com', /must be written 'https:\/\/\*\.example\.com'/],
  ['wss://*.example.com', /must be written 'https:\/\/\*\.example\.com'/]
]
for (const [entry, message] of badEntries) {
  test(`L4: the entry ${String(entry)} does not boot`, () => {
    const origins = ['https://good.example', entry] as string[]
    assert.throws(() => compileOrigins(origins, undefined, 'origins'), { code: 'WSG_ERR_OPTION', message })
  })
}

test('L4: a password in an entry is not repeated in the error', () => {
  assert.throws(
    () => compileOrigins(['https://user:secret@app.example.com'], undefined, 'origins'),
    (error: Error) => !error.message.includes('secret')
  )
})

test('L4: an empty list, nothing at all or a lone string does not boot, and the message has the choices', () => {
  for (const origins of [[], undefined, true, 'https://app.example.com', '*'] as unknown[]) {
    assert.throws(() => compileOrigins(origins as OriginPolicy, undefined, 'wsRoute(/chat): origins'), {
      code: 'WSG_ERR_OPTION',
      message: /wsRoute\(\/chat\): origins must be a list such as .*'same-origin', or false/
    })
  }
})

test('L4: hosts without same-origin do not boot', () => {
  for (const origins of [false, ['https://good.example']] as const) {
    assert.throws(() => compileOrigins(origins, ['good.example'], 'origins'), {
      code: 'WSG_ERR_OPTION',
      message: /hosts is only used with 'same-origin'/
    })
  }
})

const hosts = ['app.example.com', 'localhost:3000', '[::1]:3000']
const sameOrigin: [origin: string | undefined, protocol: string, host: string | undefined, admitted: boolean][] = [
  ['https://app.example.com', 'https', 'app.example.com', true],
  ['https://app.example.com', 'wss', 'app.example.com', true],
  ['https://app.example.com', 'https', 'app.example.com:443', true],
  ['http://app.example.com', 'http', 'app.example.com', true],
  ['http://app.example.com', 'ws', 'app.example.com:80', true],
  ['http://localhost:3000', 'http', 'localhost:3000', true],
  ['http://[::1]:3000', 'http', '[::1]:3000', true],
  ['http://app.example.com', 'https', 'app.example.com', false],
  ['https://app.example.com', 'http', 'app.example.com', false],
  ['https://app.example.com:443', 'https', 'app.example.com:443', false],
  ['https://app.example.com', 'https', 'app.example.com:80', false],
  ['https://app.example.com', 'https', 'app.example.com:443:443', false],
  ['https://app.example.com', 'https', 'app.example.com.', false],
  ['https://app.example.com', 'https', 'App.example.com', false],
  ['https://app.example.com', 'https', 'localhost:3000', false],
  ['https://localhost:3000', 'https', 'app.example.com', false],
  ['https://evil.example', 'https', 'evil.example', false],
  ['https://app.example.com', 'gopher', 'app.example.com', false],
  ['https://app.example.com', '', 'app.example.com', false],
  ['https://app.example.com', 'https', undefined, false],
  ['https://', 'https', '', false],
  [undefined, 'https', 'app.example.com', false],
  ['null', 'https', 'app.example.com', false],
  ['', 'https', 'app.example.com', false],
  ['http://localhost', 'http', 'localhost', false]
]
for (const [origin, protocol, host, admitted] of sameOrigin) {
  test(`H1: same-origin: ${origin} at ${protocol} ${host} is ${admitted ? 'admitted' : 'refused'}`, () => {
    assert.equal(compileOrigins('same-origin', hosts, 'origins').admits({ origin, protocol, host }), admitted)
  })
}

test('same-origin expects its hosts with both schemes', () => {
  const compiled = compileOrigins('same-origin', ['app.example.com', 'app.example.com'], 'origins')
  assert.deepEqual(compiled.expected, ['https://app.example.com', 'http://app.example.com'])
  assert.equal(compiled.checks, true)
})

const badHosts: [host: unknown, message: RegExp][] = [
  ['https://app.example.com', /origins: hosts\[0\] must be written 'app\.example\.com'/],
  ['App.example.com', /must be written 'app\.example\.com'/],
  ['app.example.com/', /must be written 'app\.example\.com'/],
  ['app.example.com:443', /must be written 'app\.example\.com': no scheme, path or default port/],
  ['app.example.com:80', /must be written 'app\.example\.com'/],
  ['x@app.example.com', /must be written 'app\.example\.com'/],
  ['*.example.com', /must be a host such as/],
  ['', /must be a host such as/],
  [undefined, /must be a host such as/]
]
for (const [host, message] of badHosts) {
  test(`L4: the host ${String(host)} does not boot`, () => {
    assert.throws(() => compileOrigins('same-origin', [host] as string[], 'origins'), {
      code: 'WSG_ERR_OPTION',
      message
    })
  })
}

test('L4: same-origin without hosts does not boot', () => {
  for (const none of [undefined, [], 'app.example.com'] as unknown[]) {
    assert.throws(() => compileOrigins('same-origin', none as string[], 'origins'), {
      code: 'WSG_ERR_OPTION',
      message: /'same-origin' needs hosts/
    })
  }
})

test('L4: the canonical form is told however often it was asked for', () => {
  // URL.canParse denies it once V8 has optimized its caller: after some 6,000 calls, on Node 20 and 22.
  const text = 'https://b\u00fccher.example'
  const isHelpful = (error: Error): boolean => error.message.includes("must be written 'https://xn--bcher-kva.example'")
  for (let count = 0; count < 10_000; count++) {
    assert.throws(() => compileOrigins([text], undefined, 'origins'), isHelpful)
  }
})
