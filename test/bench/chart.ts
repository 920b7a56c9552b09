/** The ratios as a picture for the README: one panel for each load, one bar for each server. It brings no fonts. */
import { base, guarded } from './contestants.ts'
import type { LoadResult, Metric } from './load.ts'
import { factor } from './numbers.ts'
import { ratiosOf, type Spread, spread } from './rounds.ts'

const width = 880
const margin = 24
const gap = 32
const columns = 2
const panelWidth = (width - 2 * margin - (columns - 1) * gap) / columns
const labelWidth = 108
const valueWidth = 52
const barLength = panelWidth - labelWidth - valueWidth
const barHeight = 14
const rowHeight = 22
const headHeight = 52
const panelGap = 24
const titleHeight = 72
const footHeight = 36

/** Of the light page, then of the dark one: page, text, quiet text, lines, other servers, this package. */
const style = `
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 18px; font-weight: 600 }
  .panel { font-size: 14px; font-weight: 600 }
  .quiet { fill: #59636e; font-size: 12px }
  .own { font-weight: 600 }
  .value { stroke: #ffffff; stroke-width: 4; paint-order: stroke; stroke-linejoin: round }
  .page { fill: #ffffff; stroke: #d1d9e0 }
  .bar { fill: #b3bcc6 }
  .bar.own { fill: #0969da }
  .one { stroke: #59636e; stroke-dasharray: 3 3 }
  .reach { stroke: #1f2328; stroke-width: 1.2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .quiet { fill: #9198a1 }
    .value { stroke: #0d1117 }
    .page { fill: #0d1117; stroke: #3d444d }
    .bar { fill: #5a636e }
    .bar.own { fill: #4493f8 }
    .one { stroke: #9198a1 }
    .reach { stroke: #f0f6fc }
  }`

interface Bar extends Spread {
  readonly name: string
}

type Scale = (value: number) => number

interface Panel {
  readonly title: string
  readonly unit: string
  readonly bars: readonly Bar[]
}

export function chartOf(results: readonly LoadResult[], names: readonly string[], foot: string): string {
  const panels = results.flatMap((result) => panelsOf(result, names))
  const rows: Panel[][] = []
  for (let at = 0; at < panels.length; at += columns) rows.push(panels.slice(at, at + columns))
  let top = titleHeight
  const drawn = rows.map((row) => {
    const shapes = row.map((panel, column) => drawPanel(panel, margin + column * (panelWidth + gap), top))
    top += Math.max(...row.map(heightOf)) + panelGap
    return shapes.join('\n')
  })
  const height = top + footHeight - panelGap
  const shapes = [
    `<rect class="page" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="6"/>`,
    text(margin, 32, 'title', 'A guarded route beside its peers'),
    text(
      margin,
      54,
      'quiet',
      `Ratio to ${base}, a bare echo on @fastify/websocket that checks nothing (dashed line): median, least and most.`
    ),
    ...drawn,
    text(margin, height - 16, 'quiet', foot)
  ]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>Ratios to a bare echo, by load and server</title>`,
    `<style>${style}\n</style>`,
    ...shapes,
    '</svg>\n'
  ].join('\n')
}

/** One for each metric that is compared: the rate of a load, or heap and RSS. CPU time says the same as the rate. */
function panelsOf({ load, runs }: LoadResult, names: readonly string[]): Panel[] {
  const compared = load.metrics.filter(({ isCompared, key }) => isCompared === true && key !== 'cpuUs')
  return compared.flatMap((metric) => {
    const bars = names.flatMap((name) => {
      const ratios = spread(ratiosOf(runs, name, base, metric.key))
      return ratios === undefined || name === base ? [] : [{ name, ...ratios }]
    })
    return bars.length === 0 ? [] : [{ title: load.title, unit: unitOf(metric), bars }]
  })
}

function unitOf({ title, better }: Metric): string {
  return `${title}, ${better} is better`
}

function heightOf({ bars }: Panel): number {
  return headHeight + bars.length * rowHeight
}

function drawPanel({ title, unit, bars }: Panel, left: number, top: number): string {
  const most = Math.max(1, ...bars.map(({ max }) => max))
  const from = left + labelWidth
  const x: Scale = (value) => from + (value / most) * barLength
  const end = top + headHeight + bars.length * rowHeight
  const shapes = bars.map((bar, at) => drawBar(bar, left, top + headHeight + at * rowHeight, x))
  const values = bars.map((bar, at) => drawValue(bar, top + headHeight + at * rowHeight, x))
  const one = `<line class="one" x1="${round(x(1))}" y1="${top + headHeight - 6}" x2="${round(x(1))}" y2="${end}"/>`
  return [text(left, top + 16, 'panel', title), text(left, top + 34, 'quiet', unit), ...shapes, one, ...values].join(
    '\n'
  )
}

function drawBar(bar: Bar, left: number, top: number, x: Scale): string {
  const middle = top + barHeight / 2
  const length = round(Math.max(1, x(bar.median) - x(0)))
  return [
    text(left, baseline(top), kindOf(bar), bar.name),
    `<rect class="bar ${kindOf(bar)}" x="${round(x(0))}" y="${top}" width="${length}" height="${barHeight}" rx="2"/>`,
    `<line class="reach" x1="${round(x(bar.min))}" y1="${middle}" x2="${round(x(bar.max))}" y2="${middle}"/>`
  ].join('\n')
}

function drawValue(bar: Bar, top: number, x: Scale): string {
  return text(round(x(bar.max) + 6), baseline(top), `value ${kindOf(bar)}`, `${factor(bar.median)}×`)
}

function kindOf({ name }: Bar): string {
  return name === guarded ? 'own' : 'other'
}

function baseline(top: number): number {
  return top + barHeight / 2 + 4.5
}

function text(x: number, y: number, kind: string, content: string): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text class="${kind}" x="${x}" y="${y}">${escaped}</text>`
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
