/** Versions and ranges, as `npm run test:node` and the tests of the dependencies compare them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compare, floorOf, newest } from '../support/versions.ts'

test('versions are ordered by number, not by letter', () => {
  assert.ok(compare('8.23.0', '8.9.9') > 0)
  assert.ok(compare('5.12.6', '5.12.10') < 0)
  assert.ok(compare('6.0.0', '10.0.0') < 0)
  assert.equal(compare('6.3.0', '6.3.0'), 0)
  assert.throws(() => compare('6.3', '6.3.0'), /6\.3 is not a version/)
})

test('the floor of a range is the oldest version that it lets in', () => {
  const floors = {
    '^11': '11.0.0',
    '^0.34': '0.34.0',
    '^5.12.6': '5.12.6',
    '~5.9': '5.9.0',
    '>=20.19': '20.19.0',
    '>=1 <3': '1.0.0'
  }
  for (const [range, floor] of Object.entries(floors)) assert.equal(floorOf(range), floor, range)
  for (const range of ['*', '^1 || ^2', '<3', '>1 <3', 'latest', '']) assert.throws(() => floorOf(range), range)
})

test('the newest of a list is a release, wherever it stands', () => {
  assert.equal(newest(['5.12.8', '6.0.0-alpha.4', '5.9.0', '5.12.10']), '5.12.10')
  assert.throws(() => newest(['6.0.0-alpha.4']), /no such release/)
})
