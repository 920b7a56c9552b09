/** Whether the machine did something else, or was slower than it can be, while a run was taken. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Pinning } from './pinning.ts'
import { ServerProcess } from './server-process.ts'

/** A run counts as disturbed when the calibration takes longer than the best of its load by this factor. */
export const slowFactor = 1.25
/** Or when others had more than this share of the servers' CPU. */
export const otherShareMost = 0.06
/** The first ones are there to be compiled, and to find out how fast the machine can be. */
const firstSpins = 10
/** While others are busy, so long is waited between two looks, and so often. */
const quietMs = 200
const quietLooks = 2
/** Of so many the middle one counts: a single one may be interrupted by chance. */
const spinsEach = 3

export class Calibration {
  readonly #process: ServerProcess
  #bestMs = Number.POSITIVE_INFINITY

  readonly #isPatient: boolean

  private constructor(process: ServerProcess, isPatient: boolean) {
    this.#process = process
    this.#isPatient = isPatient
  }

  /** @param isPatient whether it waits for a machine that is busy */
  static async start(pinning: Pinning | undefined, isPatient: boolean): Promise<Calibration> {
    const calibration = new Calibration(await ServerProcess.start({ file: 'calibration.mjs' }, pinning), isPatient)
    await calibration.forget()
    return calibration
  }

  /** Before a load: machines have faster and slower minutes, and what is compared is within one load. */
  async forget(): Promise<void> {
    this.#bestMs = Number.POSITIVE_INFINITY
    for (let spin = 0; spin < firstSpins; spin++) await this.slowness()
  }

  /** @returns by which factor the work takes longer than it did at best */
  async slowness(): Promise<number> {
    const times: number[] = []
    for (let spin = 0; spin < spinsEach; spin++) times.push(await this.#process.ask<number>('spin'))
    const middle = times.sort((a, b) => a - b)[Math.floor(spinsEach / 2)] as number
    this.#bestMs = Math.min(this.#bestMs, middle)
    return middle / this.#bestMs
  }

  /** Waits for a while when the machine is busy with something else. @returns as `slowness` */
  async whenQuiet(): Promise<number> {
    for (let look = 1; ; look++) {
      const slowness = await this.slowness()
      if (slowness <= slowFactor || look === quietLooks || !this.#isPatient) return slowness
      await pause(quietMs)
    }
  }

  stop(): Promise<void> {
    return this.#process.stop()
  }
}

/** @returns why a run should be doubted, in words */
export function disturbances(slowness: number, otherShare: number | null = null): string[] {
  const found: string[] = []
  if (slowness > slowFactor) found.push(`the machine was ${slowness.toFixed(2)} times slower than before`)
  if (otherShare !== null && otherShare > otherShareMost) {
    found.push(`others had ${Math.round(otherShare * 100)} % of the server's CPU`)
  }
  return found
}
