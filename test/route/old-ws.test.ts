/** The guard in a tree whose ws is older than 8.23: what an override or an old lockfile makes of it. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import Fastify from 'fastify'
import type wsGuard from '../../lib/index.ts'

const root = join(import.meta.dirname, '..', '..')
const modules = join(root, 'node_modules')
const parent = '@fastify/websocket'
const currentWs = join(modules, 'ws')
/** A real ws, of the last line without a bound on the pongs that wait. */
const oldWs = dirname(createRequire(import.meta.url).resolve('ws-old/package.json'))

/** Puts every entry of a folder into another one, except those that are to be something else. */
function link(from: string, to: string, except: readonly string[]): void {
  mkdirSync(to, { recursive: true })
  for (const name of readdirSync(from)) if (!except.includes(name)) symlinkSync(join(from, name), join(to, name))
}

/**
 * A tree of its own. A package finds its dependencies where it really lies, so lib and the parent are copies.
 * @returns the version of ws that the parent finds there, and the plugin
 */
async function plant(
  t: TestContext,
  place: (modulesOfTree: string) => void
): Promise<{ version: string; plugin: typeof wsGuard }> {
  const tree = mkdtempSync(join(tmpdir(), 'ws-guard-'))
  t.after(() => rmSync(tree, { recursive: true, force: true }))
  const into = join(tree, 'node_modules')
  link(modules, into, ['ws', '@fastify'])
  link(join(modules, '@fastify'), join(into, '@fastify'), ['websocket'])
  cpSync(join(modules, parent), join(into, parent), { recursive: true })
  cpSync(join(root, 'lib'), join(tree, 'lib'), { recursive: true })
  writeFileSync(join(tree, 'package.json'), '{ "type": "module" }')
  place(into)
  const { version } = createRequire(join(into, parent, 'index.js'))('ws/package.json')
  return { version, plugin: (await import(pathToFileURL(join(tree, 'lib', 'index.ts')).href)).default }
}

async function boot(t: TestContext, plugin: typeof wsGuard): Promise<void> {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(plugin, { origins: false, auth: false })
  app.wsRoute('/', { handler() {} })
  await app.ready()
}

const trees: Readonly<Record<string, (modulesOfTree: string) => void>> = {
  'as the one ws of the tree': (into) => symlinkSync(oldWs, join(into, 'ws')),
  'below @fastify/websocket only': (into) => {
    symlinkSync(currentWs, join(into, 'ws'))
    mkdirSync(join(into, parent, 'node_modules'), { recursive: true })
    symlinkSync(oldWs, join(into, parent, 'node_modules', 'ws'))
  }
}

for (const [where, place] of Object.entries(trees)) {
  test(`P7: a real ws before 8.23, ${where}, does not boot, and the error names it`, async (t) => {
    const { version, plugin } = await plant(t, place)
    assert.match(version, /^8\.(1\d|2[0-2])\./)
    await assert.rejects(boot(t, plugin), {
      code: 'WSG_ERR_OPTION',
      message: /\bws is older than 8\.23\b.*update it \(npm ls ws /
    })
  })
}

test('P7: the same tree boots with the ws that is required', async (t) => {
  const { version, plugin } = await plant(t, (into) => symlinkSync(currentWs, join(into, 'ws')))
  assert.match(version, /^8\.(2[3-9]|[3-9]\d)\./)
  await boot(t, plugin)
})
