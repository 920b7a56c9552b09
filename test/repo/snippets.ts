/**
 * The code blocks of the README as files of one project, in which `fastify-ws-guard` is this repository's lib/. A block
 * that is a part of an app becomes a function of `app`, one that is a part of a page a function of `token`; the lines
 * stay where they are, so that an error points at the README.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type CodeBlock, readReadme, repositoryRoot } from '../support/readme.ts'

export interface Snippet extends CodeBlock {
  /** What a test of it is called: its heading and its title. */
  readonly name: string
  /** `title="…"` of the fence. */
  readonly title: string
}

/** Blocks that are whole files. */
const modules = new Set(['server.ts', 'contract.ts', 'chat.test.ts'])

export const secret = 'a secret of more than 32 bytes, for tests only'
export const origin = 'https://app.example.com'

/** What a part of an app is part of. */
const prelude = `
import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import wsGuard, { type WsGuardOptions } from 'fastify-ws-guard'

export async function guardedApp(options: WsGuardOptions = {}, server = {}) {
  const app = Fastify(server)
  await app.register(jwt, { secret: '${secret}' })
  await app.register(wsGuard, { origins: ['${origin}'], auth: {}, ...options })
  return app
}
export type App = Awaited<ReturnType<typeof guardedApp>>
`

/** What chat.test.ts imports: in the README it is the reader's own. */
const appModule = `
import { build } from './handlers.js'
import { guardedApp } from './prelude.js'

export async function buildApp() {
  const app = await guardedApp()
  await build(app)
  return app
}
`

const compilerOptions = {
  target: 'es2023',
  lib: ['es2023', 'dom'],
  module: 'nodenext',
  moduleDetection: 'force',
  types: ['node'],
  strict: true,
  noUncheckedIndexedAccess: true,
  exactOptionalPropertyTypes: true,
  allowJs: true,
  checkJs: true,
  // lib/ imports its own files by their real names.
  allowImportingTsExtensions: true,
  skipLibCheck: true,
  noEmit: true
}

/** Every block of the README, with a name. */
export function readSnippets(): Snippet[] {
  return readReadme().codeBlocks.map((block) => {
    const title = /title="([^"]*)"/.exec(block.info)?.[1] ?? ''
    return { ...block, title, name: title === '' ? block.heading : `${block.heading}: ${title}` }
  })
}

/** Those a compiler can check. */
export function isCode({ language }: CodeBlock): boolean {
  return ['ts', 'typescript', 'js', 'javascript', 'mjs', 'tsx', 'jsx'].includes(language)
}

/** The file a block becomes. */
function wrap({ title, code, language }: Snippet): string {
  if (modules.has(title)) return code
  const lines = code.split('\n')
  const lastImport = lines.findLastIndex((line) => line.startsWith('import '))
  const [imports, body] = [lines.slice(0, lastImport + 1), lines.slice(lastImport + 1)]
  if (language === 'js') {
    const takesToken = !/\bconst \{ token \}/.test(code)
    const start = takesToken
      ? '/** @param {string} token */ export async function run(token)'
      : 'export async function run()'
    return `${start} { ${body.join('\n')}\nreturn socket }\n`
  }
  const own = /^const app =/m.test(code)
  const start = own ? 'export async function build() {' : 'export async function build(app: App) {'
  const type = own ? '' : `import type { App } from './prelude.js'; `
  return `${type}${[...imports, start + body.join('\n')].join('\n')}\nreturn app }\n`
}

export class SnippetProject {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'readme-'))

  constructor(snippets: readonly Snippet[]) {
    const root = fileURLToPath(repositoryRoot)
    const packages = join(this.folder, 'node_modules')
    mkdirSync(join(packages, 'fastify-ws-guard'), { recursive: true })
    for (const name of readdirSync(join(root, 'node_modules'))) {
      if (!name.startsWith('.')) symlinkSync(join(root, 'node_modules', name), join(packages, name), 'junction')
    }
    symlinkSync(join(root, 'lib'), join(packages, 'fastify-ws-guard', 'lib'), 'junction')
    this.write('node_modules/fastify-ws-guard/package.json', JSON.stringify({ type: 'module', exports: sources() }))
    this.write('package.json', JSON.stringify({ private: true, type: 'module' }))
    this.write('tsconfig.json', JSON.stringify({ compilerOptions, include: ['*.ts', '*.js'] }))
    this.write('prelude.ts', prelude)
    this.write('app.ts', appModule)
    for (const snippet of snippets) this.write(snippet.title, wrap(snippet))
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.folder, file), text)
  }

  import<T>(file: string): Promise<T> {
    return import(pathToFileURL(join(this.folder, file)).href) as Promise<T>
  }

  /** What the compiler says about all of them, line by line. */
  compile(): Promise<readonly string[]> {
    const compiler = fileURLToPath(new URL('node_modules/typescript/bin/tsc', repositoryRoot))
    return new Promise((resolve, reject) => {
      execFile(
        process.execPath,
        [compiler, '-p', this.folder, '--pretty', 'false'],
        { cwd: this.folder },
        (error, out) => {
          const lines = out.split('\n').filter((line) => line.trim() !== '')
          if (error !== null && lines.length === 0) reject(error)
          else resolve(lines)
        }
      )
    })
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** package.json's `exports`, each leading to the source instead of the build. */
function sources(): Record<string, string> {
  const { exports } = JSON.parse(readFileSync(new URL('package.json', repositoryRoot), 'utf8')) as { exports: object }
  const entries = Object.keys(exports).filter((entry) => entry !== './package.json')
  return Object.fromEntries(entries.map((entry) => [entry, `./lib/${entry === '.' ? 'index' : entry.slice(2)}.ts`]))
}
