/** A secret that must be seen nowhere, in whatever spelling a log or an answer may have it. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { TestContext } from 'node:test'
import { eventLevels } from '../../lib/connection/events.ts'

/** What a secret looks like: as it is, in hex, as the byte list of a Buffer in JSON, percent-encoded, and in base64. */
export function spellingsOf(secret: string): readonly string[] {
  const bytes = Buffer.from(secret)
  const percent = [...bytes].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
  return [secret, bytes.toString('hex'), [...bytes].join(','), percent, percent.toUpperCase(), ...base64Of(bytes)]
}

/** Which of these secrets a text has, in any spelling. */
export function findSecrets(text: string, secrets: readonly string[]): readonly string[] {
  return secrets.filter((secret) => spellingsOf(secret).some((spelling) => text.includes(spelling)))
}

/** In the middle of a text base64 may begin at any of three places; its first and last characters then depend on it. */
function base64Of(bytes: Buffer): readonly string[] {
  return [0, 1, 2].map((before) => {
    const encoded = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64url')
    return encoded.slice(before === 0 ? 0 : before + 1, -2)
  })
}

/** Everything that is published on the diagnostics channels from here to the end of the test. */
export function recordChannels(t: TestContext): readonly unknown[] {
  const published: unknown[] = []
  const note = (message: unknown): void => void published.push(message)
  for (const event of Object.keys(eventLevels)) {
    subscribe(`fastify-ws-guard:${event}`, note)
    t.after(() => unsubscribe(`fastify-ws-guard:${event}`, note))
  }
  return published
}
