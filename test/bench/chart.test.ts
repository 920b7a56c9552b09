import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chartOf } from './chart.ts'
import type { LoadResult, Metric } from './load.ts'

const rate: Metric = { key: 'rate', title: 'messages/s', better: 'more', digits: 0, isCompared: true }
const p50: Metric = { key: 'p50', title: 'p50 ms', better: 'less', digits: 2 }

function resultOf(title: string, rates: Readonly<Record<string, readonly number[]>>): LoadResult {
  const runs = Object.entries(rates).flatMap(([server, list]) =>
    list.map((value, round) => ({ server, round, values: { rate: value, p50: 1 }, disturbed: [], tries: 1 }))
  )
  return { load: { name: 'echo', title, about: '', metrics: [rate, p50] }, runs }
}

interface Bar {
  readonly own: boolean
  readonly x: number
  readonly width: number
}

function barsOf(chart: string): Bar[] {
  return Array.from(chart.matchAll(/<rect class="bar (\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"/g), (found) => ({
    own: found[1] === 'own',
    x: Number(found[2]),
    width: Number(found[3])
  }))
}

const names = ['c', 'guarded', 'straightforward']

test('bars are as long as their ratios say, and the base is a line at 1', () => {
  const chart = chartOf([resultOf('Echo', { c: [100], guarded: [300], straightforward: [75] })], names, '')
  const [guarded, straightforward, ...more] = barsOf(chart)
  assert.ok(guarded && straightforward)
  assert.deepEqual(more, [])
  assert.deepEqual([guarded.own, straightforward.own], [true, false])
  assert.ok(Math.abs(guarded.width / straightforward.width - 4) < 0.01)
  const one = Number(/class="one" x1="([\d.]+)"/.exec(chart)?.[1])
  assert.ok(Math.abs((one - guarded.x) * 3 - guarded.width) < 1)
  assert.match(chart, />3\.00×</)
  assert.match(chart, />0\.75×</)
})

test('a line reaches from the least to the most', () => {
  const chart = chartOf([resultOf('Echo', { c: [100, 100, 100], guarded: [50, 100, 200] })], names, '')
  const [, from, to] = /class="reach" x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"/.exec(chart) ?? []
  const [bar] = barsOf(chart)
  assert.ok(bar)
  assert.ok(Math.abs(Number(from) - bar.x - bar.width / 2) < 1)
  assert.ok(Math.abs(Number(to) - bar.x - bar.width * 2) < 1)
})

test('nothing is drawn outside of the picture, however large a ratio is', () => {
  const results = ['A', 'B', 'C'].map((title) => resultOf(title, { c: [1, 1], guarded: [900, 1_500] }))
  const chart = chartOf(results, names, 'foot')
  const [, width = 0, height = 0] = /viewBox="0 0 (\d+) (\d+)"/.exec(chart)?.map(Number) ?? []
  for (const { x, width: length } of barsOf(chart)) assert.ok(x + length <= width)
  const texts = Array.from(chart.matchAll(/<text class="[\w ]+" x="([\d.]+)" y="([\d.]+)">([^<]*)/g), (found) => found)
  for (const [, x, y, content = ''] of texts) {
    // No character is wider than 7 px at this size, on average.
    assert.ok(Number(x) + content.length * 7 <= width, content)
    assert.ok(Number(y) < height, content)
  }
})

test('a load without a ratio has no panel, and a server that was not measured has no bar', () => {
  const alone = { ...resultOf('Alone', { guarded: [1] }) }
  const uncompared = resultOf('Uncompared', { c: [1], guarded: [1] })
  const chart = chartOf(
    [
      alone,
      { ...uncompared, load: { ...uncompared.load, metrics: [p50] } },
      resultOf('Echo', { c: [1], guarded: [1] })
    ],
    names,
    ''
  )
  assert.equal(barsOf(chart).length, 1)
  assert.doesNotMatch(chart, />Alone<|>Uncompared<|>straightforward</)
})

test('it is readable on a light and on a dark page, and loads nothing', () => {
  const chart = chartOf([resultOf('Echo', { c: [1], guarded: [1] })], names, 'A & B <c>')
  assert.match(chart, /@media \(prefers-color-scheme: dark\)/)
  assert.match(chart, /A &amp; B &lt;c>/)
  assert.doesNotMatch(chart.replace('xmlns="http://www.w3.org/2000/svg"', ''), /https?:|url\(|@import|<script/)
})
