/**
 * This package by the path of its files: by its name it is not found from here, as the folder above is a package of its
 * own. Its build, or what BENCH_GUARD names: the `index` of another build, or, for a test, of the sources.
 */
const index = process.env.BENCH_GUARD ?? new URL('../../../dist/index.js', import.meta.url).href
const extension = index.slice(index.lastIndexOf('.'))

/** @param file without its extension, such as `messages/decode` */
export function ownFile(file) {
  return import(new URL(`${file}${extension}`, index).href)
}
