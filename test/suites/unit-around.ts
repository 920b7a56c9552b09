import { importTests } from '../support/import-tests.ts'

await importTests('bench', 'browser', 'clients', 'coexistence', 'load', 'proxies', 'repo')
