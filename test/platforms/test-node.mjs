/**
 * Runs the whole test command on every Node that is supported, and with the oldest and the newest versions of the
 * dependencies that package.json lets in. Takes long and needs the registry, so it is run on demand:
 *
 *     npm run test:node                    all combinations
 *     npm run test:node -- 22 24.1.0       the newest 22, and exactly 24.1.0, with the dependencies of the lock file
 *     npm run test:node -- floor newest    the oldest and the newest dependencies
 *     npm run test:node -- audit           what the registry knows about the versions in the lock file
 */
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { run, stopAll } from './runner.mjs'
import { aboveFloor, environment, fetchNode, installed, lockedTree, manifest, treeWith } from './tree.mjs'
import { floorOf } from './versions.mjs'

const floorNode = floorOf(manifest.engines.node)
/** The lines of Node above the floor. */
const lines = ['22', '24', '26']
const minute = 60_000
const scripts = {
  // Coverage is a question of the tests, not of the platform, and each V8 counts branches in its own way.
  unit: { command: manifest.scripts['test:unit'].replace(/^c8 /, ''), limitMs: 30 * minute },
  input: { command: manifest.scripts['test:input'], limitMs: 30 * minute },
  load: { command: manifest.scripts['test:load'], limitMs: 30 * minute },
  package: { command: 'npm run test:package', limitMs: 10 * minute }
}
const unlockedPackage = { ...scripts.package, command: `${scripts.package.command} -- --without-sbom` }
const typecheck = { typecheck: { command: 'npm run typecheck', limitMs: 5 * minute } }

const temp = await mkdtemp(path.join(tmpdir(), 'test-node-'))
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    stopAll()
    void rm(temp, { recursive: true, force: true }).finally(() => process.exit(1))
  })
}
let failed = 0
const nodes = new Map()
const asked = process.argv.slice(2)
const locked = await lockedTree(temp)
for (const name of asked.length > 0 ? asked : ['audit', floorNode, ...lines, 'floor', 'newest']) {
  try {
    const line = name === 'audit' ? await audit() : await combination(name)
    console.log(line)
  } catch (error) {
    failed++
    console.log(`✖ ${name}: ${error.message}`)
  }
}
// The logs of what failed are there.
if (failed === 0) await rm(temp, { recursive: true, force: true })
process.exitCode = failed === 0 ? 0 : 1

async function combination(name) {
  const kind = name === 'floor' || name === 'newest' ? name : 'locked'
  const { version, bin } = await nodeOf({ floor: floorNode, newest: lines.at(-1) }[name] ?? name)
  const tree = kind === 'locked' ? locked : await treeWith(kind, temp, locked)
  const title = `Node ${version}, ${kind} dependencies`
  if (kind === 'floor') {
    const above = await aboveFloor(tree)
    if (above.length > 0) throw new Error(`not at the floor: ${above.join(', ')}`)
  }
  if (kind !== 'locked') {
    const list = Object.entries(await installed(tree)).map((pair) => pair.join(' '))
    console.log(`  ${kind}: ${list.join(', ')}`)
  }
  const isFirst = nodes.size === 1
  const env = environment(bin, tree)
  const log = path.join(temp, `${kind}-${version}.log`)
  const start = performance.now()
  const results = []
  const steps = { ...(isFirst && typecheck), ...scripts, ...(kind !== 'locked' && { package: unlockedPackage }) }
  for (const [script, step] of Object.entries(steps)) {
    results.push(`${script} ${await passed(step, { cwd: tree, env, log })}`)
  }
  return `✔ ${title}: ${results.join(', ')}, ${Math.round((performance.now() - start) / 1000)} s`
}

/** Each is fetched once. */
async function nodeOf(wanted) {
  if (!nodes.has(wanted)) nodes.set(wanted, await fetchNode(wanted, temp))
  return nodes.get(wanted)
}

/** @returns how many tests passed, and which files did so only by themselves; throws for those that did not */
async function passed({ command, limitMs }, options) {
  const { code, output } = await run(command, { ...options, limitMs })
  const count = /^(?:ℹ pass (\d+)|(\d+) passed)/m.exec(output)?.slice(1).find(Boolean) ?? ''
  if (code === 0) return count || 'ok'
  if (code === null) throw new Error(`${command}: stopped after ${limitMs / minute} min, see ${options.log}`)
  const files = new Set(Array.from(output.matchAll(/^test at (.+?):\d+:\d+$/gm), ([, file]) => file))
  if (files.size === 0) throw new Error(`${command}: failed, see ${options.log}`)
  // A machine that is busy makes tests late; what does not run on this platform fails by itself as well.
  for (const file of files) {
    if (!existsSync(path.join(options.cwd, file))) throw new Error(`${command}: failed, see ${options.log}`)
    const alone = command.replace(/ test\/\S+$/, ` '${file}'`)
    const again = await run(alone, { ...options, limitMs })
    if (again.code !== 0) throw new Error(`${file}: failed twice, see ${options.log}`)
  }
  return `${count} (passed by themselves only: ${[...files].join(', ')})`
}

/** Needs a registry that answers. Everything is looked at: npm takes Fastify for a development dependency only. */
async function audit() {
  const { output } = await run('npm audit --json 2>/dev/null', { cwd: locked, env: environment(), limitMs: minute })
  const { metadata, vulnerabilities, message } = JSON.parse(output)
  if (metadata === undefined) return `– npm audit: not known, ${message}`
  // An alias is an old version on purpose, for the tests of what is done about it.
  const aliases = Object.entries(manifest.devDependencies).filter(([, range]) => range.startsWith('npm:'))
  const onPurpose = new Set(aliases.map(([name]) => `node_modules/${name}`))
  const isNews = ({ nodes }) => nodes.some((node) => !onPurpose.has(node))
  const names = Object.keys(vulnerabilities).filter((name) => isNews(vulnerabilities[name]))
  if (names.length > 0) throw new Error(`advisories for ${names.join(', ')}; npm audit says more`)
  return `✔ npm audit: no advisory for the ${metadata.dependencies.total} packages of the lock file`
}
