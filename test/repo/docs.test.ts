import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { readReadme, repositoryRoot } from '../support/readme.ts'

interface Manifest {
  readonly name: string
  readonly version: string
  readonly exports: Readonly<Record<string, unknown>>
  readonly scripts: Readonly<Record<string, string>>
}
const manifest = JSON.parse(readText('package.json')) as Manifest

function readText(path: string): string {
  return readFileSync(new URL(path, repositoryRoot), 'utf8')
}

test('every code block of the README says its language', () => {
  const silent = readReadme().codeBlocks.filter(({ language }) => language === '')
  assert.deepEqual(
    silent.map(({ line }) => line),
    []
  )
})

test('every relative link of the README leads somewhere', () => {
  const { links, headings } = readReadme()
  const anchors = new Set(headings.map(({ anchor }) => anchor))
  const broken = links.filter(({ target }) => {
    if (/^[a-z]+:/.test(target)) return false
    if (target.startsWith('#')) return !anchors.has(target.slice(1))
    return !existsSync(new URL(target.replace(/#.*$/, ''), repositoryRoot))
  })
  assert.deepEqual(broken, [])
})

test('the README names every entry point, and only those that exist', () => {
  const entries = Object.keys(manifest.exports).filter((entry) => entry !== './package.json')
  const expected = new Set(entries.map((entry) => manifest.name + entry.slice(1)))
  const named = new Set(readText('README.md').match(/(?<=['"`])fastify-ws-guard(?:\/[a-z-]+)?(?=['"`])/g))
  assert.deepEqual([...named].sort(), [...expected].sort())
})

test('every npm script the README tells to run exists', () => {
  const scripts = Array.from(readText('README.md').matchAll(/\bnpm run ([a-z:-]+)/g), ([, name = '']) => name)
  assert.deepEqual(
    scripts.filter((name) => !(name in manifest.scripts)),
    []
  )
  for (const needed of ['example', 'verify']) assert.ok(scripts.includes(needed), `npm run ${needed} is not mentioned`)
})

test('the changelog has a section for the version, or an open one', () => {
  const sections = Array.from(readText('CHANGELOG.md').matchAll(/^## \[(.+?)\]/gm), ([, name]) => name)
  assert.ok(sections.includes(manifest.version) || sections[0] === 'Unreleased')
})

test('the changelog names what an app calls', () => {
  const [, unreleased = ''] = /^## \[Unreleased\]([\s\S]*?)(?=^## |(?![\s\S]))/m.exec(readText('CHANGELOG.md')) ?? []
  const features = ['app.wsRoute()', 'defineContract', 'injectWs', 'MessageError', 'CloseError', 'app.wsGuard.publish']
  assert.deepEqual(
    features.filter((name) => !unreleased.includes(`\`${name}\``)),
    []
  )
})

test('no line of prose in the README, the changelog or the policy is wider than 120 characters', () => {
  for (const file of ['README.md', 'CHANGELOG.md', 'SECURITY.md']) {
    const wide = readText(file)
      .split('\n')
      .map((line, index) => ({ line, number: index + 1 }))
      .filter(({ line }) => line.length > 120 && !/^(\||[→←✕] |\{)/.test(line))
    assert.deepEqual(wide, [], file)
  }
})

test('the README comes in the order in which a newcomer reads it', () => {
  const titles = readReadme()
    .headings.filter(({ level }) => level === 2)
    .map(({ title }) => title)
  assert.deepEqual(titles, [
    ...['Install', 'A route', 'The two commands', 'Why', 'Threats', 'Options', 'Choosing a credential'],
    ...['When a credential ends', 'Contracts'],
    ...['Handlers, replies and errors', 'Limits', 'The connection', 'app.wsGuard', 'The wire', 'Close codes'],
    ...['Refusals', 'Events', 'Testing', 'TLS and proxies', 'Shutdown', 'Several nodes', 'Memory'],
    'Under attack',
    'Speed',
    'What is not covered',
    'Compatibility'
  ])
})

test('no text tells which tools or threat rows it was made with', () => {
  for (const file of ['README.md', 'CHANGELOG.md', 'SECURITY.md']) {
    assert.doesNotMatch(readText(file), /\b[THAZMROLPN]\d{1,2}\b|\/work\/|\/tmp\//, file)
  }
})

/** The first table of servers, as it is written. */
function serverTable(markdown: string): string {
  const [table] = /^\| server \|.*(?:\n\|.*)+/m.exec(markdown) ?? []
  assert.ok(table !== undefined, 'there is no table of servers')
  return table
}

test('the README shows the measured ratios as they were written, and no goal is missed without a reason', () => {
  const [, speed = ''] = /^## Speed$([\s\S]*?)^## /m.exec(readText('README.md')) ?? []
  const measured = readText('docs/benchmark.md')
  assert.equal(serverTable(speed), serverTable(measured))
  assert.match(measured, /^## Goals$/m)
  assert.doesNotMatch(measured, /not known yet|A short run/)
})
