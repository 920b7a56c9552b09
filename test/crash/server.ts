/**
 * A server in a process of its own, told by its parent what fails next. It handles no uncaught error and no unhandled
 * rejection: what nobody catches ends it, as it would end a real server.
 */
import type { AddressInfo } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { connectionsOf } from '../support/wait.ts'
import { actions } from './actions.ts'
import { buildCrashApp } from './app.ts'
import { arm, disarm, rejectLate, reset, timesReached } from './armed.ts'

interface Call {
  readonly id: number
  readonly name: keyof typeof calls
  readonly values: readonly unknown[]
}

const { app, logs, seen, act } = await buildCrashApp()

async function held(): Promise<Record<string, number>> {
  const { 'store.attempts': _, 'store.punished': __, 'store.userBudgets': ___, ...rest } = app.wsGuard.stats()
  return { ...rest, sockets: await connectionsOf(app.server) }
}

const calls = {
  /** From here on the log and the calls of `onClose` are of this case. */
  begin: () => {
    logs.clear()
    seen.closes.clear()
    reset()
  },
  arm,
  disarm,
  timesReached,
  rejectLate: async () => {
    const count = rejectLate()
    for (let turn = 0; turn < 10; turn++) await nextTurn()
    return count
  },
  held,
  closes: () => [...seen.closes.values()],
  lines: () => logs.lines,
  ticket: () => app.wsGuard.issueTicket({ user: { sub: 'mallory' }, route: '/full' }),
  hastyTicket: () => app.wsGuard.issueTicket({ user: { sub: 'mallory' }, route: '/hasty/full' }),
  ...actions(app, act)
} as Readonly<Record<string, (...values: never[]) => unknown>>

process.on('message', async ({ id, name, values }: Call) => {
  try {
    const value = await calls[name]?.(...(values as never[]))
    process.send?.({ id, value })
  } catch (error) {
    process.send?.({ id, error: String(error) })
  }
})
// Nobody is there to end it otherwise.
process.on('disconnect', () => process.exit())

await app.listen({ port: 0, host: '127.0.0.1' })
process.send?.({ port: (app.server.address() as AddressInfo).port })
