/** One fault per way to refuse a handshake. */
import type { Mutant } from './mutants.ts'

export const handshakeMutants: readonly Mutant[] = [
  {
    name: 'T1: plain ws:// is let in where TLS is required',
    file: 'handshake/checks.ts',
    find: 'if (settings.requireTls && !isSecure(request))',
    replace: 'if (settings.requireTls && false && !isSecure(request))',
    killedBy: ['handshake/transport-wire.test.ts']
  },
  {
    name: 'T3: a body on the upgrade is not looked for',
    file: 'handshake/request-shape.ts',
    find: "headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0",
    replace: "headers['transfer-encoding'] !== undefined",
    killedBy: ['handshake/request-shape.test.ts']
  },
  {
    name: 'T7: the answer does not say that the connection ends',
    file: 'handshake/refusal.ts',
    find: "const headers: Record<string, string> = { connection: 'close' }",
    replace: 'const headers: Record<string, string> = {}',
    killedBy: ['handshake/refusal-wire.test.ts']
  },
  {
    name: 'H1: every Origin is admitted',
    file: 'handshake/checks.ts',
    find: 'if (origins.admits({ origin, protocol: request.protocol, host })) return undefined',
    replace: 'if (origins.admits({ origin, protocol: request.protocol, host }) || origin) return undefined',
    killedBy: ['handshake/origin-wire.test.ts']
  },
  {
    name: 'H2: a suffix need not begin at a label',
    file: 'handshake/origin.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it stands there as it does here
    find: 'suffix: `.${host}` }',
    replace: 'suffix: host }',
    killedBy: ['handshake/origin.test.ts']
  },
  {
    name: 'H2: a second header of its kind is not seen',
    file: 'handshake/request-shape.ts',
    find: "if (seen.has(name)) return { reason: 'duplicate_header', detail: { header: name } }",
    replace: '',
    killedBy: ['handshake/request-wire.test.ts']
  },
  {
    name: 'H3: a missing Origin is no reason',
    file: 'handshake/checks.ts',
    find: "if (settings.missingOrigin === 'bearer-only' && isBearer && isRead) return undefined",
    replace: 'if (isBearer && isRead) return undefined',
    killedBy: ['handshake/origin-wire.test.ts']
  },
  {
    name: 'H4: any version of the protocol will do',
    file: 'handshake/request-shape.ts',
    find: "if (headers['sec-websocket-version'] !== '13') return { reason: 'version' }",
    replace: '',
    killedBy: ['handshake/request-wire.test.ts']
  },
  {
    name: 'H5: HTTP/1.0 is served',
    file: 'handshake/request-shape.ts',
    find: 'request.httpVersionMajor !== 1 || request.httpVersionMinor < 1',
    replace: 'request.httpVersionMajor !== 1',
    killedBy: ['handshake/request-wire.test.ts']
  },
  {
    name: 'H6: an upgrade may have any method',
    file: 'handshake/request-shape.ts',
    find: "if (request.method !== 'GET') return 'method'",
    replace: '',
    killedBy: ['handshake/request-wire.test.ts']
  },
  {
    name: 'H7: a path that is no websocket route is answered 101',
    file: 'handshake/checks.ts',
    find: "return { reason: request.is404 ? 'not_found' : 'not_a_websocket_route' }",
    replace: "return request.is404 ? { reason: 'not_found' } : undefined",
    killedBy: ['handshake/request-wire.test.ts']
  },
  {
    name: 'H8: the handshake has no deadline',
    file: 'handshake/upgrade-guard.ts',
    find: 'setTimeout(() => socket.destroy(), this.#state.deadlineMs())',
    replace: 'setTimeout(() => {}, this.#state.deadlineMs())',
    killedBy: ['handshake/upgrade-guard.test.ts']
  },
  {
    name: 'H8: an upgrade behind another request is handed on',
    file: 'handshake/upgrade-guard.ts',
    find: `    if ((socket as Owned)._httpMessage) {
      socket.destroy()
      return
    }`,
    replace: '',
    killedBy: ['handshake/leaks-servers.test.ts', 'handshake/leaks-edges.test.ts', 'handshake/upgrade-guard.test.ts']
  },
  {
    name: 'H10: the socket has no error listener',
    file: 'handshake/upgrade-guard.ts',
    find: "socket.on('error', destroy)",
    replace: '',
    killedBy: ['handshake/leaks-reset.test.ts', 'handshake/upgrade-guard.test.ts']
  },
  {
    name: 'H12: the first subprotocol offered is answered',
    file: 'handshake/request-shape.ts',
    find: 'const protocol = known.find((name) => offers.protocols.includes(name))',
    replace: 'const protocol = offers.protocols[0]',
    killedBy: ['handshake/subprotocol-wire.test.ts']
  },
  {
    name: 'A1: no credential is good enough',
    file: 'handshake/checks.ts',
    find: "if (!isAwaited) return { reason: 'no_credential' }",
    replace: 'if (!isAwaited) return undefined',
    killedBy: ['handshake/sources-wire.test.ts']
  },
  {
    name: 'A3: a token is good in the millisecond of its exp',
    file: 'handshake/claims.ts',
    find: 'exp * 1000 <= wallMs)',
    replace: 'exp * 1000 < wallMs)',
    killedBy: ['handshake/claims.test.ts']
  },
  {
    name: 'A7: of two credentials the first counts',
    file: 'handshake/credentials.ts',
    find: "if (found.length > 1) return { kind: 'ambiguous' }",
    replace: '',
    killedBy: ['handshake/credentials.test.ts']
  },
  {
    name: 'A9: handshakes are not counted',
    file: 'handshake/checks.ts',
    find: "if (retryAfterMs !== undefined) return { reason: 'attempts', retryAfterMs }",
    replace: '',
    killedBy: ['handshake/brute-force.test.ts']
  },
  {
    name: 'A9: a token may be longer by one byte',
    file: 'handshake/authenticate.ts',
    find: "if (token === '' || token.length > maxTokenBytes) return",
    replace: "if (token === '' || token.length > maxTokenBytes + 1) return",
    killedBy: ['handshake/brute-force.test.ts']
  },
  {
    name: 'A12: a store that is down lets in',
    file: 'handshake/checks.ts',
    find: 'throw new Unavailable(error)',
    replace: 'return undefined as T',
    killedBy: ['attack/back-ends.test.ts', 'handshake/pipeline.test.ts']
  },
  {
    name: 'A6: a ticket is not taken out when it is used',
    file: 'limits/memory-store.ts',
    find: '    this.#tickets.delete(hash)\n',
    replace: '',
    killedBy: ['handshake/tickets.test.ts', 'limits/memory-store.test.ts']
  },
  {
    name: 'Z1: what authorize says does not matter',
    file: 'handshake/checks.ts',
    find: '(await settings.authorize(upgrade.verified?.user, request)) !== true',
    replace: '(await settings.authorize(upgrade.verified?.user, request)) === null',
    killedBy: ['handshake/rights-wire.test.ts']
  },
  {
    name: 'Z4: a revoked user comes in',
    file: 'handshake/checks.ts',
    find: "if (isRefused !== false) return { reason: 'revoked' }",
    replace: '',
    killedBy: ['handshake/pipeline.test.ts', 'route/revocation.test.ts']
  },
  {
    name: 'P5: new handshakes are served while draining',
    file: 'handshake/upgrade-guard.ts',
    find: "this.#state.isDraining() ? 'draining' : checkUpgrade(request)",
    replace: 'checkUpgrade(request)',
    killedBy: ['handshake/upgrade-guard.test.ts', 'connection/drain.test.ts']
  },
  {
    name: 'P1: the token stays in the URL',
    file: 'handshake/upgrade-guard.ts',
    find: 'const secrets = takeSecretsOut(request, this.#state.secretNames)',
    replace: 'const secrets = takeSecretsOut({ ...request, url: request.url } as never, this.#state.secretNames)',
    killedBy: ['handshake/secrets.test.ts']
  }
]
