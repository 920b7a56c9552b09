/** What the guard says of its routes, and which of them a path belongs to. */
export interface RoutePosture {
  /** Fastify's pattern with its prefix, such as `/chat/:room`. */
  readonly path: string
  readonly origins: readonly string[] | 'same-origin' | false
  readonly hosts?: readonly string[] | undefined
}

/** The route that would serve `path` (its query is ignored): as in Fastify's router, static beats parameter beats `*`. */
export function findRoute(routes: readonly RoutePosture[], path: string): RoutePosture | undefined {
  const wanted = decode((path.split('?', 1) as [string])[0])
  let best: RoutePosture | undefined
  let bestRank = ''
  for (const route of routes) {
    const segments = segmentsOf(route.path)
    const rank = segments.map(rankOf).join('')
    if (!patternOf(segments).test(wanted)) continue
    if (best !== undefined && rank >= bestRank) continue
    best = route
    bestRank = rank
  }
  return best
}

function decode(path: string): string {
  try {
    return decodeURI(path)
  } catch {
    return path
  }
}

/** Parameters lose their expressions, which may hold a slash: `/:id(^\\d+$)` is `/:id` here. */
function segmentsOf(pattern: string): string[] {
  return pattern.replace(/(:[^/\-.(]+)\((?:[^()]|\([^()]*\))*\)/g, '$1').split('/')
}

function rankOf(segment: string): string {
  if (segment.includes('*')) return '3'
  if (!hasParameter(segment)) return '0'
  return /^:[^/\-.]+$/.test(segment) ? '2' : '1'
}

/** `::` is a colon that was escaped. */
function hasParameter(segment: string): boolean {
  return segment.replaceAll('::', '').includes(':')
}

/** A slash more or less at the end is forgiven: it would not change which origins are right. */
function patternOf(segments: readonly string[]): RegExp {
  const source = segments.map((segment, index) => {
    const slash = index === 0 ? '' : '/'
    if (segment.endsWith('?') && hasParameter(segment)) return `(?:${slash}[^/]*)?`
    return (
      slash +
      segment
        .split(/(::|:[^/\-.]+|\*)/)
        .map(expressionOf)
        .join('')
    )
  })
  return new RegExp(`^${source.join('').replace(/\/$/, '')}/?$`)
}

function expressionOf(part: string): string {
  if (part === '*') return '.*'
  if (part === '::') return ':'
  if (part.startsWith(':')) return '[^/]+?'
  return part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')
}
