/** The list of faults fits the code, and trying one works. All of them are tried on demand: `npm run mutants`. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { type Mutant, mutants } from './mutants.ts'
import { mutate, testFiles, Workbench } from './workbench.ts'

let bench: Workbench | undefined
after(() => bench?.remove())

test('there are enough faults, each named once, with the row it breaks', () => {
  const names = mutants.map(({ name }) => name)
  assert.equal(new Set(names).size, names.length)
  assert.ok(names.length >= 30, `${names.length}`)
  for (const name of names) assert.match(name, /^[A-Z]\d{1,2}(, [A-Z]\d{1,2})*: /)
  assert.ok(mutants.filter(({ fuzzedBy }) => fuzzedBy !== undefined).length >= 10)
})

test('every fault changes the code it means, and names tests that exist', () => {
  for (const mutant of mutants) {
    assert.notEqual(mutate(mutant), mutate({ ...mutant, replace: mutant.find }), mutant.name)
    for (const pattern of mutant.killedBy) assert.notDeepEqual(testFiles(pattern), [], `${mutant.name}: ${pattern}`)
  }
})

test('a fault that tests notice is told from one that they do not, and from one that does not load', async () => {
  bench = new Workbench()
  const bucket = {
    file: 'limits/token-bucket.ts',
    find: 'if (elapsedMs <= 0) return',
    killedBy: ['limits/token-bucket.test.ts']
  }
  const results: string[] = []
  for (const replace of ['return', 'if (elapsedMs < 0 || elapsedMs === 0) return', 'if (']) {
    const mutant: Mutant = { name: `R3: ${replace}`, ...bucket, replace }
    results.push((await bench.try(mutant)).result)
  }
  assert.deepEqual(results, ['killed', 'survived', 'broken'])
})
