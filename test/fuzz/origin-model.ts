/** Which Origins a list admits, by what a browser's own parser makes of them. */

/** An entry of `origins` that is right: an origin as a browser prints it, or one with `*.` before its host. */
export function isRightEntry(entry: string): boolean {
  const [, scheme, base] = /^(https?:\/\/)\*\.([^*]+)$/.exec(entry) ?? []
  if (scheme === undefined || base === undefined) return !entry.includes('*') && isCanonical(entry)
  if (!isCanonical(scheme + base)) return false
  const { hostname } = new URL(scheme + base)
  // Nothing is below an address, and all of a top-level domain is nobody's.
  if (hostname.startsWith('[') || /^[0-9.]+$/.test(hostname)) return false
  const labels = hostname.split('.')
  return !labels.includes('') && (labels.length > 1 || hostname === 'localhost')
}

function isCanonical(origin: string): boolean {
  return /^https?:\/\//.test(origin) && parseUrl(origin)?.origin === origin
}

/** Not by `URL.canParse`: once optimized, that of Node 20 and 22 takes Latin-1 for UTF-8 and denies a name with an umlaut. */
function parseUrl(text: string): URL | undefined {
  try {
    return new URL(text)
  } catch {
    return undefined
  }
}

/** True when a browser may send this Origin and the list has it, or a name above it behind a `*`. */
export function isListed(origin: string, entries: readonly string[]): boolean {
  if (!entries.some((entry) => entry.includes('*'))) return entries.includes(origin)
  if (entries.includes(origin)) return !origin.includes('*')
  if (!isCanonical(origin)) return false
  const url = new URL(origin)
  const labels = url.hostname.split('.')
  return entries.some((entry) => {
    if (!entry.includes('*')) return false
    const wanted = new URL(entry.replace('*.', ''))
    const below = wanted.hostname.split('.')
    const own = labels.slice(0, -below.length)
    return (
      url.protocol === wanted.protocol &&
      url.port === wanted.port &&
      labels.slice(-below.length).join('.') === wanted.hostname &&
      own.length > 0 &&
      own.every((label) => label.length <= 63 && /^[a-z0-9_-]+$/.test(label)) &&
      own.join('.').length <= 253
    )
  })
}

/** The parser refuses Punycode that decodes to nothing; for the lookup it is a label as any other. */
export function withoutPunycode(origin: string): string {
  return origin.replace(/(?<=[/.])xn--/g, 'xn-0-')
}
