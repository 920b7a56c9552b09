/** Files of lib/ by themselves: none needs another one to be imported first, and entry points export what is documented. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { repositoryRoot } from '../support/readme.ts'
import { exportsOf, libFiles } from './tables.ts'

/**
 * Imports each file with instances of its own of everything in lib/: the mark of the first import is handed on to what
 * it imports. In a process of its own, because coverage cannot tell the instances apart.
 */
const importer = `
import { register } from 'node:module'
register('data:text/javascript,' + encodeURIComponent(\`
  export async function resolve(specifier, context, next) {
    const result = await next(specifier, context)
    const mark = /[?&]alone=\\\\d+/.exec(context.parentURL ?? '')?.[0]
    if (mark === undefined || !result.url.startsWith(\${JSON.stringify(process.env.LIB)})) return result
    return { ...result, url: result.url.replace(/\\\\?.*$/, '') + mark.replace('&', '?') }
  }
\`))
const failed = {}
for (const [index, file] of JSON.parse(process.env.FILES).entries()) {
  await import(file + '?alone=' + index).catch((error) => { failed[file] = String(error?.stack ?? error) })
}
console.log(JSON.stringify(failed))
`

/** @returns what each file that cannot be imported failed with */
function importAlone(folder: URL, files: readonly string[]): Promise<Readonly<Record<string, string>>> {
  const { NODE_V8_COVERAGE: _, NODE_TEST_CONTEXT: __, ...inherited } = process.env
  const tsx = new URL('node_modules/tsx/dist/loader.mjs', repositoryRoot).href
  const env = { ...inherited, LIB: folder.href, FILES: JSON.stringify(files.map((file) => new URL(file, folder).href)) }
  const args = ['--import', tsx, '--input-type=module', '-e', importer]
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { env, timeout: 120_000 }, (error, stdout, stderr) => {
      if (error !== null) reject(new Error(stderr))
      else resolve(JSON.parse(stdout))
    })
  })
}

const files = libFiles()
let failed: Readonly<Record<string, string>> = {}

before(async () => {
  failed = await importAlone(repositoryRoot, files)
})

test('a file that depends on the order of imports would be found', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'import-order-'))
  t.after(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  writeFileSync(join(folder, 'a.ts'), "import { B } from './b.ts'\nexport class A extends B {}\n")
  writeFileSync(join(folder, 'b.ts'), "import './a.ts'\nexport class B {}\n")
  const found = await importAlone(pathToFileURL(`${folder}/`), ['a.ts', 'b.ts'])
  assert.deepEqual(
    Object.keys(found).map((url) => url.slice(-4)),
    ['b.ts']
  )
})

for (const file of files) {
  test(`${file} can be imported by itself`, () => {
    assert.equal(failed[new URL(file, repositoryRoot).href], undefined)
  })
}

test('what the source of an entry point exports is what it exports', async () => {
  for (const file of ['lib/index.ts', 'lib/contract.ts', 'lib/redis.ts', 'lib/testing.ts']) {
    const names = Object.keys(await import(new URL(file, repositoryRoot).href))
    assert.deepEqual(names.sort(), exportsOf(file).values, file)
  }
})
