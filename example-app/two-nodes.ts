/**
 * The chat as two nodes behind nginx, with Redis between them: `npm run example:two`. Whatever it starts it stops again.
 * PORT is where people open it; REDIS_URL a Redis of yours, otherwise one is started that keeps nothing.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import process, { env, execArgv, execPath } from 'node:process'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const port = Number(env.PORT ?? 3000)
const origins = `http://127.0.0.1:${port},http://localhost:${port}`
const startMs = 60_000
/** The guard's own shutdown has ended by then: `shutdown.timeoutMs`. */
const stopMs = 12_000

const folder = mkdtempSync(join(tmpdir(), 'guarded-chat-'))
const running = new Map<string, ChildProcess>()
let stopping: Promise<void> | undefined

async function run(): Promise<void> {
  console.log('Starting two nodes and nginx …')
  await mustBeFree(port)
  const redisUrl = env.REDIS_URL || (await startRedis())
  const secret = env.JWT_SECRET || randomBytes(32).toString('base64url')
  const nodes = await Promise.all(['node 1', 'node 2'].map((name) => startNode(name, redisUrl, secret)))
  await startNginx(nodes)
  const started = [...running].map(([name, { pid }]) => `${name}: pid ${pid}`).join(', ')
  console.log(`
  The chat is at http://127.0.0.1:${port} (open it in two windows)

  Who answered is in the header x-node: curl -sI http://127.0.0.1:${port} | grep -i x-node
  Kill a node, and the other goes on. Ctrl-C stops all of them.
  ${started}
`)
}

async function startRedis(): Promise<string> {
  const redisPort = await freePort()
  const keepsNothing = ['--save', '', '--appendonly', 'no', '--dir', folder, '--logfile', 'redis.log']
  const args = ['--bind', '127.0.0.1', '--port', String(redisPort), ...keepsNothing]
  await start('redis', 'redis-server', args, redisPort)
  return `redis://127.0.0.1:${redisPort}`
}

/** @returns where it listens */
async function startNode(name: string, redisUrl: string, secret: string): Promise<string> {
  const nodePort = await freePort()
  const address = { PORT: String(nodePort), HOST: '127.0.0.1', ORIGINS: origins, BEHIND_PROXY: '1' }
  const server = fileURLToPath(new URL('server.ts', import.meta.url))
  const shared = { REDIS_URL: redisUrl, JWT_SECRET: secret }
  await start(name, execPath, [...execArgv, server], nodePort, { ...address, ...shared })
  return `127.0.0.1:${nodePort}`
}

async function startNginx(nodes: string[]): Promise<void> {
  const values: Record<string, string> = { PORT: String(port), FOLDER: folder }
  for (const [index, node] of nodes.entries()) values[`NODE_${index + 1}`] = node
  const template = readFileSync(new URL('deploy/two-nodes.conf', import.meta.url), 'utf8')
  const config = join(folder, 'nginx.conf')
  writeFileSync(
    config,
    template.replace(/\b(?:PORT|FOLDER|NODE_\d)\b/g, (name) => values[name] as string)
  )
  chmodSync(folder, 0o755) // when started by root, nginx works as another user
  await start('nginx', 'nginx', ['-e', 'stderr', '-p', folder, '-c', config], port)
}

const packages: Record<string, string> = { nginx: 'nginx-light', 'redis-server': 'redis-server' }

/** Resolves when it listens. Its output comes out with its name before each line. */
async function start(name: string, command: string, args: string[], listensOn: number, settings = {}): Promise<void> {
  if (stopping) throw new Error('stopped')
  const child = spawn(command, args, {
    // Debian keeps nginx where only root's PATH looks.
    env: { ...env, PATH: [env.PATH, '/usr/sbin'].join(delimiter), ...settings },
    // Its own process group: Ctrl-C reaches us alone, and we stop one after the other.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe']
  })
  for (const output of [child.stdout, child.stderr]) {
    createInterface({ input: output }).on('line', (line) => console.log(`${name} | ${line}`))
  }
  const missing = new Promise<never>((_resolve, reject) => {
    child.once('error', () => reject(new Error(`needs ${command}: sudo apt-get install ${packages[command]}`)))
  })
  if (child.pid !== undefined) running.set(name, child)
  child.once('exit', () => ended(name))
  await Promise.race([missing, listening(name, listensOn)])
}

function ended(name: string): void {
  running.delete(name)
  if (stopping) return
  const left = [...running.keys()].filter((other) => other.startsWith('node'))
  console.log(`${name} has ended${left.length > 0 && name.startsWith('node') ? `; ${left} goes on` : ''}`)
  if (!name.startsWith('node') || left.length === 0) void stop(1)
}

async function listening(name: string, listensOn: number): Promise<void> {
  const deadline = performance.now() + startMs
  for (;;) {
    await pause(50)
    if (!running.has(name)) throw new Error(`${name} ended before it was ready`)
    if (performance.now() > deadline) throw new Error(`${name} was not ready within ${startMs} ms`)
    const socket = connect(listensOn, '127.0.0.1')
    const answer = await Promise.race([once(socket, 'connect').catch(() => undefined), pause(1_000)])
    socket.destroy()
    if (answer) return
  }
}

/** The nodes first, so that they can say goodbye through nginx and give back on Redis what they hold. */
function stop(exitCode: number): Promise<void> {
  stopping ??= (async () => {
    process.exitCode = exitCode
    await Promise.all([end('node 1'), end('node 2')])
    await end('nginx')
    await end('redis')
  })()
  return stopping
}

async function end(name: string): Promise<void> {
  const child = running.get(name)
  if (!child) return
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMs)
  await exit
  clearTimeout(timer)
}

/** Below those that the system gives to outgoing connections: it stays free until its server is there. */
async function freePort(): Promise<number> {
  for (;;) {
    const candidate = randomInt(20_000, 30_000)
    const isFree = await mustBeFree(candidate).then(
      () => true,
      () => false
    )
    if (isFree) return candidate
  }
}

async function mustBeFree(candidate: number): Promise<void> {
  const server = createServer().listen(candidate, '127.0.0.1')
  await once(server, 'listening')
  server.close()
  await once(server, 'close')
}

// Whatever ends this process: nothing of it stays behind. SIGKILL alone cannot be answered.
process.on('exit', () => {
  for (const child of running.values()) child.kill('SIGTERM')
  rmSync(folder, { recursive: true, force: true })
})
// Nobody reads any more, as after `| head`.
for (const output of [process.stdout, process.stderr]) output.on('error', () => void stop(1))
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void stop(0))
try {
  await run()
} catch (error) {
  if (!stopping) console.error(`\n  ${(error as Error).message}\n`)
  await stop(1)
}
