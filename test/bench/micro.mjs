/**
 * What each hot piece of the package costs, in ns per operation: `npm run bench:micro`. All pieces are measured in
 * turns, a few ms each, so that what else the machine does falls on all of them; a ratio compares neighbours in time.
 * With `-- --short` it only shows that every piece runs.
 *
 * Plain JavaScript on purpose: what a loader does to functions would be measured, too.
 */
import { availableParallelism, cpus } from 'node:os'
import jsonwebtoken from 'jsonwebtoken'
import { Bench } from 'tinybench'
import { z } from 'zod'
import { piecesOf } from './micro-pieces.mjs'
import { openSetting } from './micro-setting.mjs'

const { rounds, taskMs, warmUpMs } = process.argv.includes('--short')
  ? { rounds: 2, taskMs: 1, warmUpMs: 2 }
  : { rounds: 40, taskMs: 6, warmUpMs: 40 }
/** A sample is many operations: one alone takes less time than reading the clock. */
const sampleUs = 30

/** What operations return ends up here, so that none of them can be left out as useless. */
const seen = { last: undefined }

/** @returns how often an operation has to be repeated for one sample */
async function countPerSample(run) {
  for (let count = 1; ; count *= 2) {
    const startedAt = performance.now()
    const repeated = repeat(run, count)()
    if (repeated !== undefined) await repeated
    if ((performance.now() - startedAt) * 1_000 >= sampleUs) return count
  }
}

function repeat(run, count) {
  if (run() instanceof Promise) {
    return async () => {
      for (let left = count; left > 0; left--) seen.last = await run()
    }
  }
  return () => {
    for (let left = count; left > 0; left--) seen.last = run()
  }
}

/** @returns an operation, to which its samples in ns and their median of each round are added */
async function prepare({ name, run }) {
  // Warm: the count is that of optimized code.
  const soon = performance.now() + warmUpMs
  while (performance.now() < soon) seen.last = await run()
  await countPerSample(run)
  return { name, run, count: await countPerSample(run), samples: [], medians: [] }
}

async function measure(operations) {
  const bench = new Bench({ time: taskMs, iterations: 1, warmup: false, retainSamples: true })
  for (const [index, { run, count }] of operations.entries()) bench.add(String(index), repeat(run, count))
  const tasks = await bench.run()
  for (const [index, { result }] of tasks.entries()) {
    if (result.state !== 'completed') throw result.error ?? new Error(`${operations[index].name}: ${result.state}`)
    const { count, samples, medians } = operations[index]
    const nsOf = (ms) => (ms * 1e6) / count
    samples.push(...result.latency.samples.map(nsOf))
    medians.push(nsOf(result.latency.p50))
  }
}

function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) * share)]
}

/** The median of what the rounds say. */
function ratioOf(own, plain) {
  const ratios = own.medians.map((median, round) => median / plain.medians[round])
  return quantile(ratios, 0.5)
}

const shown = (ns) => (ns < 100 ? ns.toFixed(1) : Math.round(ns).toLocaleString('en-US'))

function lineOf({ piece, own, plain }) {
  const at = ({ samples }, share) => shown(quantile(samples, share))
  const cells = [piece, at(own, 0.05), `**${at(own, 0.5)}**`, at(own, 0.75)]
  if (plain === undefined) return `| ${[...cells, '', '', '', ''].join(' | ')} |`
  const ratio = `${ratioOf(own, plain).toFixed(2)} ×`
  return `| ${[...cells, plain.name, at(plain, 0.5), at(plain, 0.75), ratio].join(' | ')} |`
}

const setting = await openSetting()
try {
  const rows = []
  for (const { piece, run, plain } of piecesOf(setting, { jsonwebtoken, z })) {
    const own = await prepare({ name: piece, run })
    rows.push({ piece, own, plain: plain && (await prepare(plain)) })
  }
  const operations = rows.flatMap(({ own, plain }) => (plain === undefined ? [own] : [own, plain]))
  for (let round = 0; round < rounds; round++) await measure(operations)
  console.log(
    `Node ${process.version}, ${availableParallelism()} × ${cpus()[0]?.model}; ns per operation, of all samples`
  )
  console.log(
    `of ${rounds} rounds; p5: the machine undisturbed. Beside a piece: the plain way, or what nobody can do without.\n`
  )
  console.log('| piece | p5 | p50 | p75 | beside it | p50 | p75 | ratio |')
  console.log('| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |')
  for (const row of rows) console.log(lineOf(row))
} finally {
  await setting.close()
}
