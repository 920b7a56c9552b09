/** What comes with the package, and what its installation runs (threat P7). Nothing here asks a registry. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseMarkdown, tableUnder } from '../support/readme.ts'
import { compare, floorOf } from '../support/versions.ts'
import { readText } from './tables.ts'

type Ranges = Readonly<Record<string, string>>
interface Manifest {
  readonly version: string
  readonly scripts: Ranges
  readonly engines: { readonly node: string }
  readonly dependencies: Ranges
  readonly devDependencies: Ranges
  readonly peerDependencies: Ranges
  readonly peerDependenciesMeta: object
}
interface Locked extends Partial<Manifest> {
  readonly version: string
  readonly integrity?: string
  readonly license?: string
  readonly optional?: boolean
  readonly optionalDependencies?: Ranges
  readonly hasInstallScript?: boolean
}
interface Lock {
  readonly name: string
  readonly lockfileVersion: number
  readonly packages: Readonly<Record<string, Locked>>
}
const manifest = JSON.parse(readText('package.json')) as Manifest
const lockText = readText('package-lock.json')
const lock = JSON.parse(lockText) as Lock

/** Where node would find a dependency of the package at `from`: in its own folder, or in one above. */
function find(name: string, from: string): string | undefined {
  const chain = from.split(/\/?node_modules\//).slice(1)
  for (let depth = chain.length; depth >= 0; depth--) {
    const path = [...chain.slice(0, depth), name].map((part) => `node_modules/${part}`).join('/')
    if (path in lock.packages) return path
  }
  return undefined
}

/** Every package that a user of ours gets: dependencies and peers, and theirs. */
function production(): Map<string, Locked> {
  const found = new Map<string, Locked>()
  const visit = (name: string, from: string): void => {
    const path = find(name, from)
    if (path === undefined || found.has(path)) return
    const locked = lock.packages[path] as Locked
    found.set(path, locked)
    const { dependencies, optionalDependencies, peerDependencies } = locked
    for (const next of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) visit(next, path)
  }
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })) visit(name, '')
  return found
}

/** The version of a package that is installed at the top. */
function lockedVersion(name: string): string {
  const locked = lock.packages[`node_modules/${name}`]
  assert.ok(locked, `${name} is not in the lock file`)
  return locked.version
}

test('P7: installing the package runs no script of ours', () => {
  const hooks = ['preinstall', 'install', 'postinstall', 'prepare', 'preprepare', 'postprepare', 'dependencies']
  assert.deepEqual(
    hooks.filter((name) => name in manifest.scripts),
    []
  )
})

test('P7: nothing that a user gets runs a script when it is installed', () => {
  const found = production()
  for (const name of ['fastify', 'ws', 'fast-jwt', '@fastify/proxy-addr', 'duplexify', 'ajv']) {
    assert.ok(found.has(`node_modules/${name}`), `${name} belongs to what a user gets`)
  }
  assert.ok(!found.has('node_modules/typescript'))
  const scripted = [...found].filter(([, { hasInstallScript }]) => hasInstallScript === true)
  assert.deepEqual(
    scripted.map(([path]) => path),
    []
  )
})

test('P7: the lock file is of version 3 and in step with package.json', () => {
  assert.equal(lock.lockfileVersion, 3)
  const root = lock.packages[''] as Locked
  const kinds = ['version', 'dependencies', 'devDependencies', 'peerDependencies', 'peerDependenciesMeta', 'engines']
  for (const kind of kinds as (keyof Manifest)[]) assert.deepEqual(root[kind], manifest[kind], kind)
  for (const [name, range] of Object.entries({
    ...manifest.dependencies,
    ...manifest.peerDependencies,
    ...manifest.devDependencies
  })) {
    if (range.startsWith('npm:')) continue
    assert.ok(compare(lockedVersion(name), floorOf(range)) >= 0, `${name} ${lockedVersion(name)} is below ${range}`)
  }
})

test('P7: what the lock file names comes from whichever registry npm is set to, and is what was published', () => {
  assert.doesNotMatch(lockText, /"resolved":/)
  const others = Object.entries(lock.packages).filter(([path]) => path !== '')
  assert.ok(others.length > 100, 'the packages must be found')
  const unchecked = others.filter(([, { integrity }]) => !/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity ?? ''))
  // npm has not seen those of other platforms. Only linting needs them.
  const platforms = /^node_modules\/@biomejs\/cli-(android|darwin|linux|win32)-(arm64|x64)(-musl)?$/
  const unexpected = unchecked.filter(([path, { optional }]) => !platforms.test(path) || optional !== true)
  assert.deepEqual(
    unexpected.map(([path]) => path),
    []
  )
  assert.ok(unchecked.length <= 8)
})

test('P7: the licences of what a user gets ask for no more than to be kept', () => {
  const permissive = new Set(['MIT', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', 'Apache-2.0', '0BSD', 'BlueOak-1.0.0'])
  const others = [...production()].filter(([, { license }]) => !permissive.has(license ?? ''))
  assert.deepEqual(
    others.map(([path, { license }]) => `${path}: ${license}`),
    []
  )
})

/** The oldest versions without an advisory that concerns what we promise. */
const fixed: Ranges = {
  ws: '8.23.0',
  fastify: '5.12.6',
  '@fastify/websocket': '11.3.6',
  'fast-jwt': '6.3.0',
  '@fastify/proxy-addr': '5.1.1'
}

test('P7: no range lets a version with a known vulnerability in, and none is locked', () => {
  for (const name of ['ws', 'fastify', '@fastify/websocket']) {
    const range = { ...manifest.dependencies, ...manifest.peerDependencies }[name] as string
    assert.ok(compare(floorOf(range), fixed[name] as string) >= 0, `${name} ${range}`)
  }
  for (const [path, { version }] of Object.entries(lock.packages)) {
    const least = fixed[path.replace(/^.*node_modules\//, '')]
    if (least !== undefined) assert.ok(compare(version, least) >= 0, `${path} ${version}`)
  }
  for (const name of Object.keys(fixed)) assert.ok(lockedVersion(name))
  // Ours is the oldest @fastify/jwt that asks for it.
  const range = lock.packages['node_modules/@fastify/jwt']?.dependencies?.['fast-jwt'] as string
  assert.ok(compare(floorOf(range), fixed['fast-jwt'] as string) >= 0, range)
  assert.ok(compare(floorOf(manifest.peerDependencies['@fastify/jwt'] as string), '10.2.7') >= 0)
})

test('P7: the ranges that SECURITY.md gives reasons for are those of package.json', () => {
  const { rows } = tableUnder(parseMarkdown(readText('SECURITY.md')), 'Supported ranges')
  const stated = rows.map(({ what = '', range = '' }) => [what.replaceAll('`', ''), range.replaceAll('`', '')])
  const { ws, '@fastify/websocket': websocket, '@fastify/rate-limit': rateLimit } = manifest.dependencies
  assert.deepEqual(Object.fromEntries(stated), {
    'Node.js': manifest.engines.node,
    ...manifest.peerDependencies,
    ws,
    '@fastify/websocket': websocket,
    '@fastify/rate-limit': rateLimit
  })
  assert.equal(new Set(stated.map(([what]) => what)).size, stated.length)
  for (const row of rows) assert.match(row['why not older'] ?? '', /\w/, row.what ?? '')
})

test('P7, L4: the plugin asks at boot for the Fastify that the package asks npm for', async () => {
  const { default: plugin } = await import('../../lib/index.ts')
  const meta = (plugin as unknown as Record<symbol, Ranges>)[Symbol.for('plugin-meta')]
  assert.equal(meta?.fastify, manifest.peerDependencies.fastify)
})
