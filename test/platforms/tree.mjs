/** Copies of this project in a temporary folder, with the Node and the dependencies that a combination asks for. */
import { cp, mkdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { must } from './runner.mjs'
import { floorOf, newest } from './versions.mjs'

export const root = fileURLToPath(new URL('../..', import.meta.url))
export const manifest = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8'))

const installMs = 300_000
const quiet = '--no-audit --no-fund --loglevel=error'
const made = new Set(['.git', 'node_modules', 'dist', 'coverage'])

/** Everything whose range a user of the package gets. */
const ranges = { ...manifest.dependencies, ...manifest.peerDependencies }

/** The environment of npm without what `npm run` has said about this project. */
export function environment(nodeBin, tree) {
  const kept = Object.entries(process.env).filter(([name]) => !/^(npm_(?!config_)|INIT_CWD$|NODE$|NODE_)/.test(name))
  const paths = [nodeBin, tree && path.join(tree, 'node_modules', '.bin'), process.env.PATH]
  return { ...Object.fromEntries(kept), NO_COLOR: '1', PATH: paths.filter(Boolean).join(path.delimiter) }
}

/** Copies the project without what its scripts make, and installs what the lock file says. */
export async function lockedTree(temp) {
  const tree = path.join(temp, 'locked')
  await cp(root, tree, { recursive: true, filter: (source) => !made.has(path.relative(root, source)) })
  await must(`npm ci ${quiet}`, { cwd: tree, env: environment(), limitMs: installMs })
  return tree
}

/** A copy of that with the oldest or the newest version of each dependency that the ranges let in. */
export async function treeWith(kind, temp, locked) {
  const tree = path.join(temp, kind)
  await cp(locked, tree, { recursive: true, verbatimSymlinks: true })
  const wanted = Object.entries(ranges).map(([name, range]) => `${name}@${kind === 'floor' ? floorOf(range) : range}`)
  const list = wanted.map((spec) => `'${spec}'`).join(' ')
  await must(`npm install --no-save ${quiet} ${list}`, { cwd: tree, env: environment(), limitMs: installMs })
  return tree
}

/** What is installed in a tree of the packages that a range names. */
export async function installed(tree) {
  const read = async (name) => {
    const text = await readFile(path.join(tree, 'node_modules', name, 'package.json'), 'utf8')
    return [name, JSON.parse(text).version]
  }
  return Object.fromEntries(await Promise.all(Object.keys(ranges).map(read)))
}

/** The dependencies of a tree that are not at their floor. */
export async function aboveFloor(tree) {
  const versions = await installed(tree)
  return Object.entries(ranges)
    .filter(([name, range]) => versions[name] !== floorOf(range))
    .map(([name]) => `${name} ${versions[name]}`)
}

/**
 * Fetches the binary that the npm package `node` would install.
 * @param {string} wanted a version, or the beginning of one: then the newest that begins so
 */
export async function fetchNode(wanted, temp) {
  const name = `node-${process.platform}-${process.arch}`
  const options = { cwd: temp, env: environment(), limitMs: installMs }
  const text = await must(`npm view '${name}@${wanted}' version --json --loglevel=error 2>/dev/null`, options)
  const version = newest([JSON.parse(text)].flat())
  const folder = path.join(temp, `node-${version}`)
  await mkdir(folder)
  await must(`npm pack --loglevel=error --pack-destination '${folder}' '${name}@${version}'`, options)
  await must('tar -xzf ./*.tgz --strip-components=1 && rm ./*.tgz', { ...options, cwd: folder })
  const bin = path.join(folder, 'bin')
  const said = await must(`'${path.join(bin, 'node')}' --version`, options)
  if (said.trim() !== `v${version}`) throw new Error(`${name}@${version} says that it is ${said.trim()}`)
  return { version, bin }
}
