/** The one place that fails, and what it was seen to do. */
import { failures, type Later } from './failures.ts'

interface Waiting {
  readonly reject: (error: Error) => void
  readonly resolve: () => void
}

let armed: { readonly place: string; readonly failure: string } | undefined
let reached = 0
let toPass = 0
const waiting: Waiting[] = []
const hanging: Waiting[] = []

function wait(list: Waiting[]): Promise<never> {
  return new Promise((resolve, reject) => list.push({ resolve: resolve as () => void, reject }))
}

const later: Later = { rejected: () => wait(waiting), never: () => wait(hanging) }

/** Of the place that is armed what the failure makes of it; of all others what they are for. */
export function at<T>(place: string, normal: () => T): T {
  if (armed?.place !== place || toPass-- > 0) return normal()
  reached++
  return failures[armed.failure]?.run(later) as T
}

/** @param skip so many times it does what it is for before it fails */
export function arm(place: string, failure: string, skip: number): void {
  if (failures[failure] === undefined) throw new Error(`there is no failure "${failure}"`)
  armed = { place, failure }
  reached = 0
  toPass = skip
}

/** How often the armed place was come to. */
export function timesReached(): number {
  return reached
}

/** Nothing is armed, and no place was come to. */
export function reset(): void {
  armed = undefined
  reached = 0
}

/** The clients have left: what waited for that fails now. */
export function rejectLate(): number {
  const late = waiting.splice(0)
  for (const { reject } of late) reject(new Error('nobody is there any more'))
  return late.length
}

/** Nothing fails from here on; what hangs is let go. */
export function disarm(): void {
  armed = undefined
  for (const { resolve } of hanging.splice(0)) resolve()
}
