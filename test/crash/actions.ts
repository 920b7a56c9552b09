/** What a test has the child do on a connection, beside failing. */
import type { FastifyInstance } from 'fastify'
import type { WsConnection } from '../../lib/connection/types.ts'
import type { CrashApp } from './app.ts'
import { type Moment, misuses, outcomeOfCall } from './misuse.ts'
import { endings, nestings } from './nesting.ts'

export function actions(
  app: FastifyInstance,
  act: CrashApp['act']
): Readonly<Record<string, (...values: never[]) => unknown>> {
  let outcome: Promise<string> | undefined
  let last: WsConnection | undefined

  const doAt = (when: Moment, run: (connection: WsConnection | undefined) => Promise<string>): void => {
    outcome = undefined
    last = undefined
    act.action = async (connection, moment) => {
      last = connection as unknown as WsConnection | undefined
      if (moment === when) outcome = run(last)
      return (await outcome) ?? ''
    }
  }
  return {
    misuse: (method: string, what: string, when: Moment) => {
      const [run] = misuses[method]?.[what] ?? []
      doAt(when, (connection) => outcomeOfCall(() => run?.({ app, connection })))
      if (when === 'after') doAt(when, async () => '')
    },
    /** Once the connection is closed. */
    misuseAfter: (method: string, what: string) => {
      const [run] = misuses[method]?.[what] ?? []
      return last?.state === 'closed' ? outcomeOfCall(() => run?.({ app, connection: last })) : undefined
    },
    nest: (name: string) => {
      const { when, run } = { ...nestings, ...endings }[name] as (typeof nestings)[string]
      doAt(when, (connection) => outcomeOfCall(() => run({ app, connection })))
    },
    outcome: () => outcome,
    lastState: () => last?.state
  }
}
