/** What is sent to a contestant, in the files that the load generator reads: who connects, and the message. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { signJwt } from '../support/tokens.ts'
import type { Contestant } from './contestants.ts'
import type { LoadOptions } from './load-process.ts'

interface Messages {
  readonly secret: string
  readonly origin: string
  readonly messageOf: (bytes: number) => object
  readonly claimsOf: (user: number, lifetimeSeconds?: number) => object
}
const url = new URL('servers/messages.mjs', import.meta.url).href
const { secret, origin, messageOf, claimsOf } = (await import(url)) as Messages

/** Longer than any benchmark. */
const lifetimeSeconds = 86_400

export class Inputs {
  readonly #folder = mkdtempSync(join(tmpdir(), 'ws-guard-bench-'))
  readonly #written = new Set<string>()

  /** How a contestant is connected to; connections beyond so many `users` begin again with the first one. */
  connecting(contestant: Contestant, users: number): Pick<LoadOptions, 'headers' | 'tokens'> & Partial<LoadOptions> {
    const { name, prelude } = contestant
    const headers = this.#file('headers', () => `Origin: ${origin}\r\nAuthorization: Bearer %TOKEN%\r\n`)
    const options = { headers, tokens: this.#tokens(users) }
    if (prelude === undefined) return options
    const file = this.#file(`prelude-${name}`, () => prelude.text)
    return { ...options, prelude: file, preludeReplies: prelude.replies }
  }

  /** The frame that carries a message of so many bytes. */
  payload({ name, wrap }: Contestant, bytes: number): string {
    return this.#file(`payload-${name}-${bytes}`, () => wrap(JSON.stringify(messageOf(bytes))))
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #tokens(users: number): string {
    const tokenOf = (user: number): string => signJwt(JSON.stringify(claimsOf(user, lifetimeSeconds)), secret)
    return this.#file(`tokens-${users}`, () => Array.from({ length: users }, (_, user) => tokenOf(user)).join('\n'))
  }

  #file(name: string, content: () => string): string {
    const path = join(this.#folder, name)
    if (!this.#written.has(name)) writeFileSync(path, content())
    this.#written.add(name)
    return path
  }
}
