import assert from 'node:assert/strict'
import { test } from 'node:test'
import { patternProblem } from '../../lib/messages/pattern-lint.ts'

test('M7: exponential patterns are refused, also those that safe-regex2 lets pass', () => {
  const patterns = ['^(a+)+$', '(a*)*', '^(a|a)*$', '^(?:a|ab)+$', '^((a|a)b?){20,}$', '^(?:(x|x)y)*$', '^(a|a){11}$']
  for (const pattern of patterns) {
    assert.match(patternProblem(pattern, '', 10)?.problem ?? '', /exponential/, pattern)
  }
})

test('M7: patterns of polynomial time are bounded by maxLength', () => {
  assert.equal(patternProblem('^[a-z]+@[a-z]+$', '', 2000), undefined)
  assert.match(patternProblem('^[a-z]+@[a-z]+$', '', 5000)?.fix ?? '', /maxLength of at most 2449,/)
  assert.match(patternProblem('^[a-z]+@[a-z]+$', '', undefined)?.problem ?? '', /1 × length\^2 steps/)
  assert.match(patternProblem('a+b', '', 65_536)?.problem ?? '', /1 × length\^2 steps/)
  assert.match(patternProblem('^a+|b+', '', 65_536)?.problem ?? '', /2 × length\^3 steps/)
  assert.match(patternProblem('^a{3,}b{0,99}$', '', undefined)?.problem ?? '', /1 × length\^2 steps/)
})

test('M7: choices that multiply are counted', () => {
  const choices = (pattern: string): string =>
    patternProblem(pattern, '', 1e6)?.problem.replace(/^.* take (.*) ×.*$/, '$1') ?? ''
  assert.equal(choices('^[a-z]{1,64}[a-z]{1,64}[a-z]{1,64}[a-z]{1,64}$'), '16777216')
  assert.equal(choices(`^${'(a|a)'.repeat(24)}$`), '16777216')
  assert.equal(choices(`^${'a?'.repeat(24)}b$`), '16777216')
  assert.equal(choices('^(?:a|b|c|d){9}(((a|b)|c)x){9}(?:e){0}$'), String(4 ** 9 * 4 ** 9))
  assert.match(patternProblem('^[a-z]{1,64}[a-z]{1,64}.*$', '', 1e6)?.fix ?? '', /at most 732,/)
  const most = patternProblem(`^${'(a|a)'.repeat(24)}$`, '', 1)
  assert.equal(most?.fix, 'anchor the pattern, repeat less, or check the text in the handler')
  for (const fine of ['^\\d{1,3}(?:\\.\\d\\d\\d){3}$', '^a??b*?$', '^[a-z]{2}-[A-Z]{2,3}$'])
    assert.equal(choices(fine), '')
})

test('M7: linear patterns pass at any length', () => {
  const patterns = [
    '^[a-z]+$',
    '^(foo|bar)$',
    '^(?:a|b){2}$',
    '^\\p{L}{1,64}$',
    'abc',
    '^[(|*+{1,}\\]]+$',
    '^\\(\\*\\+x$',
    '^a{b$'
  ]
  for (const pattern of patterns) {
    assert.equal(patternProblem(pattern, pattern.includes('\\p') ? 'u' : '', undefined), undefined, pattern)
  }
})

test('M7: a pattern that is no expression, or keeps state, is refused', () => {
  assert.match(patternProblem('(', '', 1)?.problem ?? '', /not a valid/)
  for (const flags of ['g', 'y', 'ig', 'v']) assert.match(patternProblem('a', flags, 1)?.problem ?? '', /flags/)
  assert.equal(patternProblem('^a$', 'imsu', 1), undefined)
})
