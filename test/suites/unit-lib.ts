import { importTests } from '../support/import-tests.ts'

await importTests('connection', 'floor', 'limits', 'messages', 'route', 'support', 'testing')
