import { readdirSync } from 'node:fs'

/**
 * Runs the tests of some folders in this process, one after the other. node's runner gives each file that it is told a
 * process of its own, and starting 150 of them took longer than their tests. Every file still runs alone as well.
 */
export async function importTests(...folders: readonly string[]): Promise<void> {
  const files = folders.flatMap((folder) => {
    const url = new URL(`../${folder}/`, import.meta.url)
    return readdirSync(url)
      .filter((name) => name.endsWith('.test.ts'))
      .sort()
      .map((name) => new URL(name, url).href)
  })
  // As one module, whose imports are all there before the first test begins.
  const source = files.map((file) => `import ${JSON.stringify(file)}`).join('\n')
  await import(`data:text/javascript,${encodeURIComponent(source)}`)
}
