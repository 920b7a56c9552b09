import { importTests } from '../support/import-tests.ts'

await importTests('fuzz', 'mutants', 'platforms', 'protocol')
