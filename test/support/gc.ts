/** The garbage collector, in a process that was not started with `--expose-gc`. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')

export const gc: () => void = runInNewContext('gc')
