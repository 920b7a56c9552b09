/** Put on the 101 and on refusals unless `upgradeHeaders` says otherwise. */
export const defaultUpgradeHeaders: Readonly<Record<string, string>> = { 'x-content-type-options': 'nosniff' }
/** Over TLS also this: ask for wss:// from now on (RFC 6797). */
export const tlsUpgradeHeaders: Readonly<Record<string, string>> = {
  ...defaultUpgradeHeaders,
  'strict-transport-security': 'max-age=31536000; includeSubDomains'
}

export function upgradeHeadersFor(
  own: Readonly<Record<string, string>> | undefined,
  isSecure: boolean
): Readonly<Record<string, string>> {
  return own ?? (isSecure ? tlsUpgradeHeaders : defaultUpgradeHeaders)
}

/** The same as lines of a raw answer. */
export function headerLines(headers: Readonly<Record<string, string>>): string[] {
  return Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
}
