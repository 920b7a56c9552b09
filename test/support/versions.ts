/** The versions and ranges of test/platforms/versions.mjs, which is no TypeScript because every Node has to run it. */
interface Versions {
  readonly compare: (a: string, b: string) => number
  readonly floorOf: (range: string) => string
  readonly newest: (versions: readonly string[]) => string
}
const versions = (await import(new URL('../platforms/versions.mjs', import.meta.url).href)) as Versions

export const { compare, floorOf, newest } = versions
