/** What a process holds that cannot be collected. It need not have been started with `--expose-gc`. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')

export const gc: () => void = runInNewContext('gc')

/** Collections, each after a few turns of the loop: what a turn lets go may hold more. */
const collections = 3
const turnsBetween = 4

export async function collectGarbage(): Promise<void> {
  for (let count = 0; count < collections; count++) {
    for (let turn = 0; turn < turnsBetween; turn++) await nextTurn()
    gc()
  }
}

/** Heap and external memory in use. Ask after a collection. */
export function heapBytes(): number {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
