/** How numbers are written, for people. */
import type { Spread } from './rounds.ts'

export function number(value: number, digits: number): string {
  return value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** Two digits that matter, so that 0.17 and 4.7 are read the same way. */
export function factor(value: number): string {
  return value.toFixed(value < 10 ? 2 : 1)
}

export function ratio({ median, min, max }: Spread): string {
  return `${factor(median)}× [${factor(min)}–${factor(max)}]`
}
