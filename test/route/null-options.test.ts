/** `null` is not "not given": an option that is null must not fall back to what holds elsewhere. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { optionTable } from '../../lib/route/option-table.ts'
import type { WsGuardOptions } from '../../lib/route/options.ts'
import { buildApp } from '../support/app.ts'

function nested(path: string): object {
  return path.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), null) as object
}

/** `auth` itself is no row of the table. */
const paths = [...optionTable.map(({ path }) => path), 'auth']

for (const path of paths) {
  test(`L4: ${path}: null does not boot`, async () => {
    const isNamed = (error: Error & { code?: string }): boolean =>
      error.code === 'WSG_ERR_OPTION' && error.message.includes(path.split('.')[0] as string)
    await assert.rejects(buildApp({ guard: nested(path) as WsGuardOptions }), isNamed)
    const app = await buildApp()
    assert.throws(() => app.wsRoute('/ws', { ...nested(path), handler() {} } as never), isNamed)
    await app.close()
  })
}
