/** Not by `URL.canParse`: once optimized, that of Node 20 and 22 takes Latin-1 for UTF-8 and denies a name with an umlaut. */
export function parseUrl(text: string): URL | undefined {
  try {
    return new URL(text)
  } catch {
    return undefined
  }
}
