/** Runs commands with a bound, each in a process group of its own, of which nothing is left when it is over. */
import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { finished } from 'node:stream/promises'

const running = new Set()
/** What a command's last output may take after its end. */
const graceMs = 2_000

/**
 * Runs a line of shell; what it prints goes to `log`.
 * @returns its exit code and all that it printed; the code is null when it was stopped after `limitMs`
 */
export async function run(command, { cwd, env, log, limitMs }) {
  const child = spawn('sh', ['-c', command], { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  const file = log === undefined ? undefined : createWriteStream(log, { flags: 'a' })
  file?.write(`\n$ ${command}\n`)
  const chunks = []
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      chunks.push(chunk)
      file?.write(chunk)
    })
  }
  const timer = setTimeout(() => stop(child), limitMs)
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
    // Somebody whom it left behind may hold its output open.
    child.on('exit', (exitCode) => setTimeout(resolve, graceMs, exitCode))
  })
  stop(child)
  clearTimeout(timer)
  running.delete(child)
  if (file) await finished(file.end())
  return { code, output: Buffer.concat(chunks).toString() }
}

/** Runs a line that has to succeed. @returns what it printed */
export async function must(command, options) {
  const { code, output } = await run(command, options)
  if (code !== 0) throw new Error(`${command}: ${code === null ? 'stopped, it took too long' : output}`)
  return output
}

/** Stops everything that still runs. */
export function stopAll() {
  for (const child of running) stop(child)
}

function stop(child) {
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}
