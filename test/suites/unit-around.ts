import { importTests } from '../support/import-tests.ts'

await importTests('browser', 'clients', 'coexistence', 'load', 'proxies', 'repo')
