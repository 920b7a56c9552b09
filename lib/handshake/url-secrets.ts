import type { IncomingMessage } from 'node:http'

/** Query parameters that carry a credential, taken out of the URL before anybody can log it (threats A6, P1). */
export interface UrlSecrets {
  readonly url: string
  readonly taken: ReadonlyMap<string, readonly string[]>
}

const none: ReadonlyMap<string, readonly string[]> = new Map()

/** Splits the named parameters off a URL; what stays keeps its spelling. */
export function takeSecrets(url: string, names: ReadonlySet<string>): UrlSecrets {
  const start = url.indexOf('?')
  if (start === -1) return { url, taken: none }
  const kept: string[] = []
  const taken = new Map<string, string[]>()
  for (const pair of url.slice(start + 1).split('&')) {
    const [[name, value] = ['', '']] = new URLSearchParams(pair)
    if (!names.has(name)) kept.push(pair)
    else taken.set(name, [...(taken.get(name) ?? []), value])
  }
  const query = kept.length === 0 ? '' : `?${kept.join('&')}`
  return { url: url.slice(0, start) + query, taken }
}

/** Does it on the raw request, before Fastify sees it. */
export function takeSecretsOut(request: IncomingMessage, names: ReadonlySet<string>): UrlSecrets['taken'] {
  const { url, taken } = takeSecrets(request.url ?? '', names)
  request.url = url
  return taken
}

/** The URL with what was taken out of it; as it came, unless the app's `rewriteUrl` has changed it since. */
export function withSecrets(
  url: string,
  upgrade: { readonly url: string; readonly secrets: UrlSecrets['taken'] }
): string {
  const names = new Set(upgrade.secrets.keys())
  if (names.size === 0 || takeSecrets(upgrade.url, names).url === url) return upgrade.url
  const pairs = new URLSearchParams()
  for (const [name, values] of upgrade.secrets) for (const value of values) pairs.append(name, value)
  return `${url}${url.includes('?') ? '&' : '?'}${pairs}`
}
