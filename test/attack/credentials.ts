/** Tokens with the claims that a test chooses, and what the log says became of who shows them. */
import { origin, secret } from '../support/app.ts'
import type { LogCapture, LogLine } from '../support/log-capture.ts'
import { type Claims, claims, signJwt } from '../support/tokens.ts'

export const revoked = { code: 4003, reason: 'revoked' }
export const unavailable = { code: 1013, reason: 'unavailable' }

/** NumericDate, from now. */
export const seconds = (ahead = 0): number => Math.floor(Date.now() / 1000) + ahead

/** A good token of alice's, some seconds old. */
export function tokenWith(more: Claims = {}): string {
  return signJwt(claims({ sub: 'alice', iat: seconds(-10), ...more }), secret)
}

/** The headers of a handshake; without a token for one that authenticates by message. */
export function bearer(token?: string): Record<string, string> {
  return { Origin: origin, ...(token !== undefined && { Authorization: `Bearer ${token}` }) }
}

/** What connections went through, in order: `ws.open`, `ws.close:revoked`, … */
export function eventsOf(logs: LogCapture, isMeant: (line: LogLine) => boolean = () => true): string[] {
  const told = logs.lines.filter((line) => line.event !== undefined && line.connectionId !== undefined && isMeant(line))
  return told.map(({ event, reason }) => (reason ? `${event}:${reason}` : String(event)))
}

/** Of a store whose network is down. */
export const networkDown = (): Error => Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
