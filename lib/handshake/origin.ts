import { isIP } from 'node:net'
import { OptionError } from '../errors.ts'

/** `origins`: exact origins and `https://*.example.com`, the hosts of `hosts`, or said explicitly: no check. */
export type OriginPolicy = readonly string[] | 'same-origin' | false

export interface OriginQuery {
  readonly origin: string | undefined
  /** `request.protocol`: `http` or `https`; some proxies report an upgrade as `ws` or `wss`. */
  readonly protocol: string
  /** The raw Host header; never X-Forwarded-Host. */
  readonly host: string | undefined
}

export interface CompiledOrigins {
  /** What the log shows next to a refused origin; `same-origin` lists each host with both schemes. */
  readonly expected: readonly string[]
  /** False for `origins: false`. */
  readonly checks: boolean
  /**
   * Whether a present Origin header passes (RFC 6455 section 10.2; threats H1, H2). Browsers send one canonical form,
   * so everything is compared exactly and nothing is parsed. A missing one is not admitted: see `missingOrigin`.
   */
  admits(query: OriginQuery): boolean
}

const exampleOrigin = 'https://app.example.com'
const schemes: ReadonlyMap<string, { readonly origin: string; readonly port: string }> = new Map([
  ['https', { origin: 'https://', port: ':443' }],
  ['wss', { origin: 'https://', port: ':443' }],
  ['http', { origin: 'http://', port: ':80' }],
  ['ws', { origin: 'http://', port: ':80' }]
])

/**
 * Checks `origins` and `hosts` and compiles them.
 * @param option the option's name in messages, such as `origins`
 * @throws OptionError naming the entry and its correct form
 */
export function compileOrigins(
  origins: OriginPolicy,
  hosts: readonly string[] | undefined,
  option: string
): CompiledOrigins {
  if (origins === 'same-origin') return compileSameOrigin(hosts, option)
  if (hosts !== undefined) {
    throw new OptionError(
      `${option}: hosts is only used with 'same-origin'; leave it out or set origins: 'same-origin'`
    )
  }
  if (origins === false) return { expected: [], checks: false, admits: () => true }
  if (!Array.isArray(origins) || origins.length === 0) {
    throw new OptionError(`${option} must be a list such as ['${exampleOrigin}'], 'same-origin', or false for no check`)
  }
  return compileList(origins, option)
}

function compileList(origins: readonly unknown[], option: string): CompiledOrigins {
  const exact = new Set<string>()
  const wildcards: Wildcard[] = []
  // A list may have holes, which `forEach` would leave out.
  Array.from(origins).forEach((entry, index) => {
    const name = `${option}[${index}]`
    if (typeof entry !== 'string') throw new OptionError(`${name} must be a string such as '${exampleOrigin}'`)
    if (entry.includes('*')) wildcards.push(compileWildcard(entry, name))
    else exact.add(checkOrigin(entry, name))
  })
  return {
    expected: Object.freeze([...new Set(origins as readonly string[])]),
    checks: true,
    admits: ({ origin }) =>
      origin !== undefined && (exact.has(origin) || wildcards.some((wildcard) => isBelow(origin, wildcard)))
  }
}

function checkOrigin(entry: string, name: string): string {
  const canonical = canonicalOrigin(entry)
  if (canonical === entry) return entry
  throw new OptionError(
    canonical === undefined
      ? `${name} must be an origin such as '${exampleOrigin}'`
      : `${name} must be written '${canonical}': scheme, host and port as browsers send them, nothing else`
  )
}

/** What a browser would send as the Origin of the page that the entry seems to mean. */
function canonicalOrigin(entry: string): string | undefined {
  if (entry === 'null') return undefined // what sandboxed frames send: never anyone's own
  const address = entry.trim().replace(/^ws(?=s?:)/i, 'http')
  const candidate = address.includes('://') ? address : `https://${address}`
  // Not `URL.canParse`: once optimized, that of Node 20 and 22 takes Latin-1 for UTF-8 and denies a name with an umlaut.
  try {
    const { protocol, origin } = new URL(candidate)
    return protocol === 'http:' || protocol === 'https:' ? origin : undefined
  } catch {
    return undefined
  }
}

interface Wildcard {
  /** `https://` */
  readonly scheme: string
  /** `.example.com:8443` */
  readonly suffix: string
}

/** `https://*.example.com[:port]`: one or more labels below. Public suffixes such as `co.uk` are not known here. */
function compileWildcard(entry: string, name: string): Wildcard {
  const [, scheme, base] = /^([a-z]+:\/\/)\*\.([^*]+)$/i.exec(entry.trim()) ?? []
  if (scheme === undefined || base === undefined) {
    throw new OptionError(`${name} may have one *, as the first label: 'https://*.example.com'`)
  }
  const canonical = canonicalOrigin(scheme + base)
  if (canonical === undefined) throw new OptionError(`${name} must be an origin such as 'https://*.example.com'`)
  const { protocol, hostname, host } = new URL(canonical)
  const labels = hostname.split('.')
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0 || labels.includes('')) {
    throw new OptionError(`${name}: there is nothing below ${hostname}; write a name such as 'https://*.example.com'`)
  }
  if (labels.length < 2 && hostname !== 'localhost') {
    throw new OptionError(`${name} would admit all of .${hostname}; write at least two labels: 'https://*.example.com'`)
  }
  const corrected = `${protocol}//*.${host}`
  if (corrected !== entry) {
    throw new OptionError(`${name} must be written '${corrected}': scheme, host and port, nothing else`)
  }
  return { scheme: `${protocol}//`, suffix: `.${host}` }
}

/** Whole labels, of what a canonical host name can have; no match can step out of the host part of an origin. */
const labelsPattern = /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/
const maxHostLength = 253

function isBelow(origin: string, { scheme, suffix }: Wildcard): boolean {
  if (!origin.startsWith(scheme) || !origin.endsWith(suffix)) return false
  const labels = origin.slice(scheme.length, -suffix.length)
  return labels.length <= maxHostLength && labelsPattern.test(labels)
}

function compileSameOrigin(hosts: readonly string[] | undefined, option: string): CompiledOrigins {
  if (!Array.isArray(hosts) || hosts.length === 0) {
    throw new OptionError(`${option}: 'same-origin' needs hosts, the names this app is reached by: ['app.example.com']`)
  }
  const known = new Set(Array.from(hosts, (host: unknown, index) => checkHost(host, `${option}: hosts[${index}]`)))
  return {
    expected: Object.freeze([...known].flatMap((host) => [`https://${host}`, `http://${host}`])),
    checks: true,
    admits: ({ origin, protocol, host }) => {
      const scheme = schemes.get(protocol)
      if (scheme === undefined || host === undefined) return false
      // A Host header may carry the scheme's own port, an Origin never does.
      const name = host.endsWith(scheme.port) ? host.slice(0, -scheme.port.length) : host
      return known.has(name) && origin === scheme.origin + name
    }
  }
}

function checkHost(host: unknown, name: string): string {
  const canonical = typeof host === 'string' ? canonicalOrigin(host) : undefined
  if (canonical === undefined || canonical.includes('*')) {
    throw new OptionError(`${name} must be a host such as 'app.example.com' or 'app.example.com:8443'`)
  }
  const bare = new URL(canonical).host.replace(/:(?:80|443)$/, '')
  if (bare !== host) throw new OptionError(`${name} must be written '${bare}': no scheme, path or default port`)
  return bare
}
