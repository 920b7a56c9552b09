/** Just as much of Semantic Versioning as the ranges of package.json need. */

/** @param {string} version such as 5.12.6; what follows a hyphen or a plus is left out */
function numbers(version) {
  const [, ...parts] = /^(\d+)\.(\d+)\.(\d+)(?:[-+].*)?$/.exec(version) ?? []
  if (parts.length === 0) throw new Error(`${version} is not a version`)
  return parts.map(Number)
}

/** The order of two releases: negative when the first is the older one. */
export function compare(a, b) {
  const [left, right] = [numbers(a), numbers(b)]
  const at = left.findIndex((number, index) => number !== right[index])
  return at === -1 ? 0 : left[at] - right[at]
}

/** The oldest version that a range lets in. Ranges of another kind than these would need a real parser. */
export function floorOf(range) {
  const [, ...parts] = /^(?:\^|~|>=)(\d+)(?:\.(\d+))?(?:\.(\d+))?(?: <\d+)?$/.exec(range) ?? []
  if (parts.length === 0) throw new Error(`${range} is not a range of one lower bound`)
  return parts.map((part) => part ?? '0').join('.')
}

/** The newest release of a list; those that are tried out before a release do not count. */
export function newest(versions) {
  const found = versions.filter((version) => !version.includes('-')).sort(compare)
  if (found.length === 0) throw new Error('there is no such release')
  return found.at(-1)
}
