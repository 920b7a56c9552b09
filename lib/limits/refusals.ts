import { ExpiringMap } from './expiring-map.ts'
import { type Identity, type Revocation, StoreFullError } from './store.ts'

export interface RefusalClocks {
  /** Ms, from a clock that never jumps: how long a revocation is kept. */
  readonly now: () => number
  /** Ms since the epoch: until when a block holds. */
  readonly wall: () => number
}

/** Who is not let in any more: revoked credentials and blocked subjects. In memory, bounded, nothing is forgotten early. */
export class Refusals {
  readonly #clocks: RefusalClocks
  readonly #revocations: ExpiringMap<number>
  readonly #blocks: ExpiringMap<true>

  constructor(clocks: RefusalClocks, maxKeys: number) {
    this.#clocks = clocks
    this.#revocations = new ExpiringMap(maxKeys)
    this.#blocks = new ExpiringMap(maxKeys)
  }

  /** The later `issuedBefore` and the longer keep hold. @throws StoreFullError */
  revoke(revocation: Revocation): void {
    const now = this.#clocks.now()
    const key = `${revocation.kind} ${revocation.value}`
    const known = this.#revocations.get(key, now)
    const issuedBefore = Math.max(revocation.issuedBefore, known?.value ?? Number.NEGATIVE_INFINITY)
    const endsAt = Math.max(now + revocation.keepMs, known?.endsAt ?? Number.NEGATIVE_INFINITY)
    if (!this.#revocations.set(key, issuedBefore, endsAt, now)) throw new StoreFullError('revocation')
  }

  /** The last call holds. @throws StoreFullError */
  block(subject: string, untilMs: number): void {
    if (!this.#blocks.set(subject, true, untilMs, this.#clocks.wall())) throw new StoreFullError('block')
  }

  unblock(subject: string): void {
    this.#blocks.delete(subject)
  }

  isRefused(identity: Identity): boolean {
    const { subject, sessionId, tokenId, issuedAt } = identity
    return (
      this.#blocks.get(subject, this.#clocks.wall()) !== undefined ||
      this.#isRevoked('sub', subject, issuedAt) ||
      this.#isRevoked('sid', sessionId, issuedAt) ||
      this.#isRevoked('jti', tokenId, issuedAt)
    )
  }

  /** Live entries by table. */
  sizes(): { readonly revocations: number; readonly blocks: number } {
    this.#revocations.sweep(this.#clocks.now())
    this.#blocks.sweep(this.#clocks.wall())
    return { revocations: this.#revocations.size, blocks: this.#blocks.size }
  }

  clear(): void {
    this.#revocations.clear()
    this.#blocks.clear()
  }

  #isRevoked(kind: Revocation['kind'], value: string | undefined, issuedAt = Number.NEGATIVE_INFINITY): boolean {
    if (value === undefined) return false
    const issuedBefore = this.#revocations.get(`${kind} ${value}`, this.#clocks.now())?.value
    if (issuedBefore === undefined) return false
    // Negated, so that a NaN is refused.
    return !(Math.floor(issuedAt / 1000) > Math.floor(issuedBefore / 1000))
  }
}
