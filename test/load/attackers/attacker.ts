/** The attacker's process: one attack at a time, begun and let go of when the parent says so. */
import { constants, setPriority } from 'node:os'
import { answer } from '../answer.ts'
import { Attack, type AttackSettings } from './attack.ts'
import { contents } from './content.ts'
import { floods } from './floods.ts'
import { holders } from './holders.ts'
import { storms } from './storms.ts'

// What is measured is the server, not how the scheduler of this machine shares its cores between it and its attacker.
setPriority(constants.priority.PRIORITY_LOW)

const attacks: Readonly<Record<string, (attack: Attack) => void>> = { ...floods, ...holders, ...contents, ...storms }

let current: Attack | undefined

function attack({ name, ...settings }: AttackSettings & { readonly name: string }): Promise<void> {
  current = new Attack(settings)
  attacks[name]?.(current)
  return current.end()
}

/** As busy as an attack, with nobody attacked. */
async function spin({ seconds }: { readonly seconds: number }): Promise<void> {
  const endsAt = performance.now() + seconds * 1_000
  while (performance.now() < endsAt) await new Promise((resolve) => setImmediate(resolve))
}

answer({
  spin,
  names: () => Object.keys(attacks),
  attack,
  report: () => current?.soFar(),
  release: () => current?.release()
})
