/** Threat L4: every option, given what it cannot be, keeps the app from booting, by the real registration. */
import assert from 'node:assert/strict'
import { after, type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import wsGuard, { OptionError, optionTable, type WsGuardOptions } from '../../lib/index.ts'
import { buildApp, echo } from '../support/app.ts'

type Options = Record<string, unknown>

const contractRoute = { contract: echo, handlers: { say: () => {}, ask: () => ({ items: [] }) } }

/** What no option may be. */
const nonsense: readonly unknown[] = [Number.NaN, -1, Symbol('x')]

/** `{ a: { b: value } }` for `a.b`. */
function at(path: string, value: unknown): Options {
  return path.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Options
}

/** Options that this one has to stand beside, so that it is the one that is wrong. */
function beside(path: string): Options {
  return { origins: false, ...(path.startsWith('auth.') ? {} : { auth: false }) }
}

/** Errors name the option in quotes, or with an index. */
function assertNames(error: unknown, path: string, where: string, allowed: string): true {
  assert.ok(error instanceof OptionError, String(error))
  const { message } = error
  assert.ok(message.startsWith(`fastify-ws-guard: ${where}: `), message)
  assert.match(message, new RegExp(`(option "${path}[".]|: ${path}\\b)`))
  // And the way out: what is allowed, or the name that was meant.
  assert.ok(message.includes(allowed) || /there is no option|must be|must list|list the/.test(message), message)
  return true
}

let refused = 0

async function assertPluginRefuses(t: TestContext, path: string, value: unknown, allowed: string): Promise<void> {
  const app = Fastify() as unknown as FastifyInstance
  t.after(() => app.close())
  const register = async (): Promise<void> => {
    await app.register(wsGuard, { ...beside(path), ...at(path, value) } as WsGuardOptions)
  }
  await assert.rejects(register, (error) => assertNames(error, path, 'register(wsGuard)', allowed))
  refused++
}

/** What is refused leaves nothing behind: one app for all routes. */
const guarded = await buildApp({ jwt: false, guard: { auth: false } })
after(() => guarded.close())

for (const { path, check, pluginOnly } of optionTable) {
  test(`L4: ${path}: nonsense does not boot, and the error says what is allowed`, async (t) => {
    for (const value of nonsense) {
      await assertPluginRefuses(t, path, value, check.allowed)
      if (pluginOnly) continue
      const route = { ...contractRoute, ...beside(path), ...at(path, value) }
      assert.throws(
        () => guarded.wsRoute('/x', route as never),
        (error) => assertNames(error, path, "wsRoute('/x')", check.allowed)
      )
      refused++
    }
  })
}

test('L4: that were all options, and more than forty configurations', () => {
  assert.ok(optionTable.length > 50)
  assert.ok(refused >= nonsense.length * optionTable.length, `${refused} were refused`)
})
