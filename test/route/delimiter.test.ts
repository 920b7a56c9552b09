/** An app whose router begins a query at `;` too, as that of Fastify 4 did. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildApp } from '../support/app.ts'

const servers: Readonly<Record<string, object>> = {
  'routerOptions.useSemicolonDelimiter': { routerOptions: { useSemicolonDelimiter: true } },
  useSemicolonDelimiter: { useSemicolonDelimiter: true }
}
for (const [name, server] of Object.entries(servers)) {
  test(`A6, P1: with ${name} no route takes a credential from the URL`, async (t) => {
    const app = await buildApp({ server })
    t.after(() => app.close())
    for (const source of ['query', 'ticket'] as const) {
      const declare = () => app.wsRoute('/ws', { auth: { from: ['header', source] }, handler() {} })
      assert.throws(declare, { code: 'WSG_ERR_OPTION', message: new RegExp(`'${source}': .*useSemicolonDelimiter`) })
    }
    app.wsRoute('/ws', { auth: { from: ['header', 'subprotocol'] }, handler() {} })
    app.wsRoute('/open', { auth: false, handler() {} })
  })
}
