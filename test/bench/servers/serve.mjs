/**
 * What all servers of the benchmark have in common: they listen on loopback, tell their port, and answer the process
 * that forked them, until it hangs up. Started from a shell, a server prints its port and its pid.
 *
 * One of them runs on Bun, so nothing but Node's own modules is imported here.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import v8 from 'node:v8'
import vm from 'node:vm'

/** Milliseconds between two looks at the event loop; they are no delay. */
const loopResolutionMs = 1
/** What a forced collection leaves to be done is done after this time. */
const settleMs = 200

/** Of these the versions are told, as far as they are installed. */
const packages = [
  'fastify',
  '@fastify/websocket',
  '@fastify/jwt',
  'ws',
  '@sinclair/typebox',
  'secure-json-parse',
  'jsonwebtoken',
  'zod',
  'socket.io',
  '@nestjs/core',
  'elysia'
]

/** What crossed a server: each of ours counts, so that the load's own count can be compared. */
export const seen = { handshakes: 0, messages: 0 }

/** Numbers that a load may set for a server, by the environment. Without them no limit stands in a load's way. */
export const settings = {
  messagesPerSecond: numberFrom('BENCH_MESSAGES_PER_SECOND', 1e9),
  messagesBurst: numberFrom('BENCH_MESSAGES_BURST', 1e9),
  heartbeatMs: numberFrom('BENCH_HEARTBEAT_MS', 30_000)
}

function numberFrom(name, fallback) {
  const number = Number(process.env[name] ?? fallback)
  if (!(number > 0)) throw new RangeError(`${name} has to be a number above 0`)
  return number
}

/** Called when a server listens. @param own answers beside those that all give, by name: `(given) => answer` */
export function answerAsks(port, own = {}) {
  if (process.send === undefined) {
    console.log(JSON.stringify({ port, pid: process.pid }))
    return
  }
  const answers = { memory, loop, versions, counts: () => seen, ...own }
  process.on('message', ({ id, ask, given }) => {
    new Promise((resolve) => resolve(answers[ask](given))).then(
      (answer) => process.send({ id, answer }),
      (error) => process.send({ id, error: error.stack })
    )
  })
  process.on('disconnect', () => process.exit(0))
  process.send({ id: 0, answer: { port } })
}

/** Starts a Fastify app. */
export async function serveFastify(app, own) {
  await app.listen({ host: '127.0.0.1', port: 0 })
  answerAsks(app.server.address().port, own)
}

/** Bytes that are in use once garbage is gone. */
async function memory() {
  const collect = globalThis.gc ?? exposedGc()
  for (let i = 0; i < 2; i++) {
    collect()
    await pause(settleMs)
  }
  const { heapUsed, rss } = process.memoryUsage()
  return { heapUsed, rss }
}

function exposedGc() {
  v8.setFlagsFromString('--expose-gc')
  return vm.runInNewContext('gc')
}

let delays

/** The longest time in ms that the event loop stood still since the last question; the first one starts the watch. */
function loop() {
  if (delays === undefined) {
    delays = monitorEventLoopDelay({ resolution: loopResolutionMs })
    delays.enable()
    return 0
  }
  const longestMs = Math.max(0, delays.max / 1e6 - loopResolutionMs)
  delays.reset()
  return longestMs
}

function versions() {
  const { node, bun } = process.versions
  const found = packages.map((name) => [name, versionOf(name)]).filter(([, version]) => version !== undefined)
  return { ...(bun === undefined ? { node } : { bun }), ...Object.fromEntries(found) }
}

/** Not every package exports its package.json, so the folders are asked. */
function versionOf(name) {
  // What a runtime has built in has none.
  for (const folder of createRequire(import.meta.url).resolve.paths(name) ?? []) {
    try {
      return JSON.parse(readFileSync(`${folder}/${name}/package.json`, 'utf8')).version
    } catch (error) {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error
    }
  }
}
