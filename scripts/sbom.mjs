/**
 * Writes what the package is made of and tested with, as CycloneDX, to sbom.cdx.json or to the file it is given. It
 * goes beside the tarball of a release and not into it: what an app runs with is decided by the app's own lock file.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

const text = execFileSync('npm', ['sbom', '--sbom-format=cyclonedx', '--loglevel=error'], {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 64 * 1024 * 1024,
  stdio: ['ignore', 'pipe', 'inherit']
})
const sbom = forUsers(JSON.parse(text))
writeFileSync(process.argv[2] ?? path.join(root, 'sbom.cdx.json'), `${JSON.stringify(sbom, null, 2)}\n`)

/**
 * Leaves what a user of the package gets: its dependencies and peers, and theirs. `--omit=dev` would take out every
 * package that is developed with as well, Fastify among them.
 */
function forUsers(sbom) {
  const uses = new Map(sbom.dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]))
  const self = sbom.metadata.component['bom-ref']
  // By version: an alias among the development dependencies has the name of what it stands for.
  const names = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })
  const direct = names.map((name) => `${name}@${installedVersion(name)}`)
  const reached = new Set()
  const visit = (ref) => {
    if (reached.has(ref)) return
    reached.add(ref)
    for (const next of uses.get(ref) ?? []) visit(next)
  }
  for (const ref of direct) visit(ref)
  return {
    ...sbom,
    metadata: { ...sbom.metadata, component: { ...sbom.metadata.component, name: manifest.name } },
    components: sbom.components.filter((component) => reached.has(component['bom-ref'])).map(unmarked),
    dependencies: [
      { ref: self, dependsOn: direct },
      ...sbom.dependencies.filter(({ ref }) => ref !== self && reached.has(ref))
    ]
  }
}

/** npm marks what is developed with; to a user of the package it is a peer like any other. */
function unmarked(component) {
  const properties = component.properties.filter(({ name }) => name !== 'cdx:npm:package:development')
  return { ...component, properties }
}

function installedVersion(name) {
  return JSON.parse(readFileSync(path.join(root, 'node_modules', name, 'package.json'), 'utf8')).version
}
