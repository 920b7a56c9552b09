/**
 * Checks the package as users get it: packs it, unpacks it beside its dependencies, loads every entry point, and
 * compiles the type tests and a strict consumer against the packed declarations, with this project's TypeScript and
 * with the oldest one supported. Needs no network; run it after `npm run build`. With --without-sbom it leaves out what
 * npm writes of the locked dependencies only, and a release is packed with no others.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))
const manifest = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8'))
const run = promisify(execFile)

/** Files of lib/ that are no entry points: the floor the stages stand on. */
const floor = ['close-codes', 'errors']
/** Entry points that a browser loads. */
const browserSafe = ['contract']
const compilers = { 'TypeScript 7': 'typescript/bin/tsc', 'TypeScript 5.9': 'typescript-5/bin/tsc' }

const entries = Object.keys(manifest.exports)
  .filter((entry) => entry !== './package.json')
  .map((entry) => ({
    entry,
    name: entry === '.' ? 'index' : entry.slice(2),
    specifier: manifest.name + entry.slice(1)
  }))

const temp = await mkdtemp(path.join(tmpdir(), 'check-package-'))
const installed = path.join(temp, 'node_modules', manifest.name)
const checks = {
  'exports are the files of lib/': checkExports,
  'the tarball has what it needs and nothing else': checkFiles,
  'every entry point loads by import and by require': checkLoading,
  'browser-safe entry points load nothing of Node or the server': checkBrowserSafety,
  'the type tests hold against the packed declarations': checkTypes,
  'the declarations compile for strict consumers': checkConsumers,
  ...(!process.argv.includes('--without-sbom') && { 'packing writes an SBOM of what users get': checkSbom })
}

let failed = 0
try {
  await install()
  for (const [title, check] of Object.entries(checks)) {
    try {
      await check()
      console.log(`✔ ${title}`)
    } catch (error) {
      failed++
      console.log(`✖ ${title}\n${error.stdout || error.stderr || error.message}`)
    }
  }
} finally {
  await rm(temp, { recursive: true, force: true })
}
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

/** Unpacks the tarball where npm would put it, and links everything else that is installed here beside it. */
async function install() {
  // The scripts are off: `prepack` would build again what was just built.
  await run('npm', ['pack', '--ignore-scripts', '--loglevel=error', '--pack-destination', temp], { cwd: root })
  const tarball = (await readdir(temp)).find((file) => file.endsWith('.tgz'))
  assert.ok(tarball, 'npm pack made no tarball')
  await mkdir(installed, { recursive: true })
  await run('tar', ['-xzf', path.join(temp, tarball), '-C', installed, '--strip-components=1'])
  for (const name of await readdir(path.join(root, 'node_modules'))) {
    if (name.startsWith('.')) continue
    await symlink(path.join(root, 'node_modules', name), path.join(temp, 'node_modules', name), 'junction')
  }
  await writeFile(path.join(temp, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
}

async function checkExports() {
  const files = (await readdir(path.join(root, 'lib'))).filter((file) => file.endsWith('.ts'))
  const expected = files.map((file) => file.slice(0, -3)).filter((name) => !floor.includes(name))
  assert.deepEqual(entries.map(({ name }) => name).sort(), expected.sort())
}

async function checkFiles() {
  const files = await readdir(installed, { recursive: true, withFileTypes: true })
  const names = files.filter((file) => file.isFile()).map((file) => path.join(file.parentPath, file.name))
  const packed = names.map((name) => path.relative(installed, name).replaceAll(path.sep, '/'))
  for (const needed of ['package.json', 'README.md', 'LICENSE'])
    assert.ok(packed.includes(needed), `${needed} is missing`)
  const extra = packed.filter((file) => !/^(package\.json|README\.md|LICENSE|dist\/.+\.(js|js\.map|d\.ts))$/.test(file))
  assert.deepEqual(extra, [], 'files that no user needs')
}

async function checkLoading() {
  for (const { specifier } of entries) {
    const names = `const names = Object.keys(entry); if (names.length === 0) throw new Error('${specifier} exports nothing')`
    await node(['--input-type=module', '-e', `const entry = await import('${specifier}'); ${names}`])
    await node(['--input-type=commonjs', '-e', `const entry = require('${specifier}'); ${names}`])
  }
  const app = `
    import Fastify from 'fastify'
    import plugin from '${manifest.name}'
    if (typeof plugin !== 'function') throw new Error('the default export is no plugin')
    const app = Fastify()
    app.register(plugin, { origins: ['https://app.example.com'], auth: false })
    await app.ready()
    if (typeof app.wsRoute !== 'function') throw new Error('app.wsRoute is missing')
    await app.close()`
  await node(['--input-type=module', '-e', app])
}

async function checkBrowserSafety() {
  for (const name of browserSafe) {
    const seen = new Set()
    const visit = async (file) => {
      if (seen.has(file)) return
      seen.add(file)
      const source = await readFile(file, 'utf8')
      for (const [, specifier] of source.matchAll(/\b(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g)) {
        assert.match(specifier, /^\.\.?\//, `${path.relative(installed, file)} imports '${specifier}'`)
        await visit(path.resolve(path.dirname(file), specifier))
      }
    }
    await visit(path.join(installed, 'dist', `${name}.js`))
  }
}

/** Compiles test/types as a user would write it: `../../lib/contract.ts` becomes `fastify-ws-guard/contract`. */
async function checkTypes() {
  const source = path.join(root, 'test', 'types')
  const target = path.join(temp, 'types')
  await cp(source, target, { recursive: true })
  let count = 0
  for (const file of await readdir(target)) {
    if (file.endsWith('.test-d.ts')) count++
    const text = await readFile(path.join(target, file), 'utf8')
    const rewritten = text.replaceAll(/(['"])\.\.\/\.\.\/lib\/([^'"]+)\.ts\1/g, (_, quote, name) => {
      const entry = entries.find((candidate) => candidate.name === name)
      assert.ok(entry, `test/types/${file} imports lib/${name}.ts, which is no entry point`)
      return quote + entry.specifier + quote
    })
    await writeFile(path.join(target, file), rewritten)
  }
  assert.ok(count > 0, 'there are no type tests')
  await compile('types', {})
}

async function checkConsumers() {
  await mkdir(path.join(temp, 'server'))
  const imports = entries.map(({ specifier, name }) => `import * as ${name} from '${specifier}'`)
  const uses = entries.map(({ name }) => `void ${name}`)
  const notAny = entries.map(
    ({ name }) => `const any_${name}: 0 extends 1 & typeof ${name} ? 'any' : 'typed' = 'typed'\nvoid any_${name}`
  )
  await writeFile(path.join(temp, 'server', 'consumer.ts'), [...imports, ...uses, ...notAny, ''].join('\n'))
  await compile('server', {})

  // A page: no Node types, a bundler's resolution.
  await mkdir(path.join(temp, 'page'))
  const page = browserSafe.map((name) => `export * as ${name} from '${manifest.name}/${name}'\n`)
  await writeFile(path.join(temp, 'page', 'consumer.ts'), `${page.join('')}export const title = document.title\n`)
  await compile('page', { lib: ['es2023', 'dom'], types: [], module: 'esnext', moduleResolution: 'bundler' })
}

async function checkSbom() {
  assert.match(manifest.scripts.prepack, /(^|&& )node scripts\/sbom\.mjs$/, 'prepack does not write it')
  const file = path.join(temp, 'sbom.cdx.json')
  await run(process.execPath, [path.join(root, 'scripts', 'sbom.mjs'), file], { cwd: temp })
  const { bomFormat, metadata, components } = JSON.parse(await readFile(file, 'utf8'))
  assert.equal(bomFormat, 'CycloneDX')
  assert.equal(metadata.component.purl, `pkg:npm/${manifest.name}@${manifest.version}`)
  // An alias has a name of its own, but not a reference.
  const listed = (name) => components.filter((component) => component['bom-ref'].startsWith(`${name}@`))
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies, 'fast-jwt': '' })) {
    const { version } = JSON.parse(await readFile(path.join(root, 'node_modules', name, 'package.json'), 'utf8'))
    const versions = listed(name).map((component) => component.version)
    assert.deepEqual(versions, [version], `${name} is not listed as it is installed`)
    assert.ok(listed(name)[0].hashes?.length > 0, `${name} has no hash`)
  }
  for (const name of ['typescript', 'tsx', '@biomejs/biome']) {
    assert.ok(name in manifest.devDependencies && listed(name).length === 0, `${name} is only developed with`)
  }
}

/** The strictest a consumer can be, dependencies included: `skipLibCheck` is off. */
async function compile(folder, options) {
  const compilerOptions = {
    target: 'es2023',
    lib: ['es2023'],
    module: 'nodenext',
    types: ['node'],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    allowImportingTsExtensions: true,
    skipLibCheck: false,
    noEmit: true,
    ...options
  }
  const project = path.join(temp, folder, 'tsconfig.json')
  await writeFile(project, JSON.stringify({ compilerOptions, include: ['.'] }))
  const compilations = Object.entries(compilers).map(async ([compiler, bin]) => {
    try {
      await run(process.execPath, [path.join(root, 'node_modules', bin), '-p', project], { cwd: temp })
    } catch (error) {
      throw new Error(`${compiler}, ${folder}:\n${error.stdout || error.message}`)
    }
  })
  for (const compilation of await Promise.allSettled(compilations)) {
    if (compilation.status === 'rejected') throw compilation.reason
  }
}

function node(args) {
  return run(process.execPath, args, { cwd: temp })
}
