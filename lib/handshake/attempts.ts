import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import rateLimit, { type FastifyRateLimitStoreCtor, normalizeIP, type RateLimitOptions } from '@fastify/rate-limit'
import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { printable } from '../connection/events.ts'
import { catchLate } from '../connection/promises.ts'
import type { AttemptsStore, Store } from '../limits/store.ts'

/** `limits.attempts`: handshakes per address, in the words of @fastify/rate-limit. */
export interface AttemptsOptions {
  readonly max: number
  readonly timeWindow: number | string
  readonly allowList?: RateLimitOptions['allowList']
  readonly keyGenerator?: (request: FastifyRequest) => string | number | Promise<string | number>
  readonly ipv6Subnet?: number
  /** Handshakes of everybody together within the window; no limit by default. */
  readonly globalMax?: number
}

/** @returns how long to wait in ms when the address has no attempt left */
export type Attempts = (request: FastifyRequest) => Promise<number | undefined>

/** IPv6 addresses are handed out as /48s: each may make so many times the attempts of one address (threat R1). */
export const widerSubnetFactor = 8
const widerSubnet = 48
/** Longer keys of a `keyGenerator` are stored as a hash. */
const maxKeyLength = 128

/**
 * Makes limiters on an instance of its own that never listens: the app's own registration of @fastify/rate-limit
 * neither charges us nor is charged by us.
 */
export class AttemptLimits {
  readonly #app: FastifyInstance
  readonly #store: Store
  readonly #made: { readonly options: AttemptsOptions; readonly attempts: Attempts }[] = []

  private constructor(app: FastifyInstance, store: Store) {
    this.#app = app
    this.#store = store
  }

  static async create(store: Store): Promise<AttemptLimits> {
    const app = fastify({ logger: false })
    // The store contract of @fastify/rate-limit is typed by a class of its own.
    await app.register(rateLimit, { global: false, store: catching(store) as FastifyRateLimitStoreCtor })
    await app.ready()
    return new AttemptLimits(app, store)
  }

  /** The limiter of one route; routes with the same options share it, so that each address has one allowance. */
  forRoute(options: AttemptsOptions): Attempts {
    const known = this.#made.find((made) => isSame(made.options, options))
    if (known !== undefined) return known.attempts
    const attempts = this.#make(options)
    this.#made.push({ options, attempts })
    return attempts
  }

  #make(options: AttemptsOptions): Attempts {
    const { globalMax, max, keyGenerator, allowList, ipv6Subnet, timeWindow } = options
    const shared = {
      timeWindow,
      keyGenerator: keyGenerator === undefined ? bySubnet(ipv6Subnet) : shortKeys(keyGenerator),
      ...(allowList !== undefined && { allowList: Array.isArray(allowList) ? byAddress(allowList) : allowList })
    }
    const limiters = [this.#limiter({ ...shared, max })]
    // A key of the developer's own says what counts as one client; an address is widened.
    if (keyGenerator === undefined) {
      const wider = { ...shared, max: max * widerSubnetFactor, keyGenerator: bySubnet(widerSubnet) }
      limiters.push(this.#limiter(wider, isIpv6))
    }
    if (globalMax !== undefined) {
      limiters.push(this.#limiter({ ...shared, max: globalMax, keyGenerator: () => 'all' }))
    }
    return async (request) => {
      for (const limiter of limiters) {
        const verdict = await limiter(request)
        if (verdict === 'allowed') return undefined
        if (verdict !== undefined) return verdict
      }
      return undefined
    }
  }

  async close(): Promise<void> {
    await this.#app.close()
    await this.#store.close()
  }

  #limiter(options: object, applies: (request: FastifyRequest) => boolean = () => true): Limiter {
    const limit = this.#app.createRateLimit(options)
    return async (request) => {
      if (!applies(request)) return undefined
      const result = await limit(request)
      if (result.isAllowed) return 'allowed'
      return result.isExceeded ? result.ttl : undefined
    }
  }
}

/** A store in JavaScript may answer by a promise, too: what it rejects with goes where errors go. */
function catching({ Attempts }: Store): new (options: object) => AttemptsStore {
  return class Catching implements AttemptsStore {
    readonly #attempts: AttemptsStore

    constructor(options: object, attempts: AttemptsStore = new Attempts(options)) {
      this.#attempts = attempts
    }

    incr(...call: Parameters<AttemptsStore['incr']>): void {
      catchLate(this.#attempts.incr(...call), call[1])
    }

    child(options: object): AttemptsStore {
      return new Catching(options, this.#attempts.child(options))
    }
  }
}

function isSame(a: AttemptsOptions, b: AttemptsOptions): boolean {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]) as Set<keyof AttemptsOptions>
  return [...names].every((name) => isDeepStrictEqual(a[name], b[name]))
}

/** `allowed`: on the allow list, so that no other limiter counts it either. */
type Limiter = (request: FastifyRequest) => Promise<number | 'allowed' | undefined>

/** A list may name addresses, which @fastify/rate-limit would compare with their subnet, or keys. */
function byAddress(allowList: readonly string[]): (request: FastifyRequest, key: string) => boolean {
  return (request, key) => allowList.includes(addressOf(request)) || allowList.includes(key)
}

/** A key that a client can make as long as it likes takes as much memory as any other. */
function shortKeys(
  keyGenerator: NonNullable<AttemptsOptions['keyGenerator']>
): NonNullable<AttemptsOptions['keyGenerator']> {
  return async (request) => {
    const key = String(await keyGenerator(request))
    return key.length <= maxKeyLength ? key : createHash('sha256').update(key).digest('base64url')
  }
}

function bySubnet(ipv6Subnet: number | undefined): (request: FastifyRequest) => string {
  return (request) => normalizeIP(addressOf(request), ipv6Subnet)
}

/** An IPv6 address with a zone takes less. What a proxy that is trusted passes on need be no address at all. */
const maxAddressLength = 64

/** On a unix socket there is no address; all that comes through it is one client unless `trustProxy` says more. */
export function addressOf(request: FastifyRequest): string {
  return printable(request.ip ?? 'unix').slice(0, maxAddressLength)
}

/** For the log: of an app whose `trustProxy` throws at what it is given nobody knows the address. */
export function shownAddress(request: FastifyRequest): string {
  try {
    return addressOf(request)
  } catch {
    return 'unknown'
  }
}

function isIpv6(request: FastifyRequest): boolean {
  return addressOf(request).includes(':')
}
