/** Which CPU each side has to itself. Where that cannot be said, nothing is pinned. */
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export interface Pinning {
  /** Of the servers, one after the other, and of the calibration. */
  readonly server: number
  /** Of the load generator. */
  readonly load: number
}

/** @returns the first two CPUs that this process may use; undefined without two, or without taskset */
export function pinningHere(): Pinning | undefined {
  if (!isOnPath('taskset')) return undefined
  const [, allowed = ''] = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  const [server, load] = cpusOf(allowed)
  return server === undefined || load === undefined ? undefined : { server, load }
}

/** The CPUs of a list such as `0-3,8`. */
export function cpusOf(list: string): number[] {
  return list
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [from, to = from] = part.split('-').map(Number) as [number, number?]
      return Array.from({ length: to - from + 1 }, (_, at) => from + at)
    })
}

function isOnPath(command: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, command)))
}
